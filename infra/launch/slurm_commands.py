"""Slurm's commands, with their errors as ours."""

import logging
import os
import re
import subprocess
import time
from collections.abc import Sequence

from infra.errors import BadRecipe, Lost, LuthierError, Refused, Unreachable

log = logging.getLogger(__name__)

COMMAND_S = 60.0
OUTAGE_S = 300.0  # how long slurmctld may be away while something is asked of it that has to be
_PAUSE_S = 2.0
_AWAY = (
    "unable to contact",
    "connection refused",
    "timed out",
    "connection failure",
    "zero bytes",
    "communication",
    "try again",
    "munge",
    "temporarily",
)
_WRONG = {  # what sbatch says: the field that is wrong, and what shows which values there are
    "account": ("account", "`sacctmgr show associations user=$USER` lists your accounts and their partitions"),
    "partition": ("partition", "`sinfo --summarize` lists the partitions"),
    "qos": ("qos", "`sacctmgr show qos` lists them"),
    "time limit": ("time", "`scontrol show partition` has MaxTime; training goes on in the next job"),
    "generic resource": ("gres or gpus_per_node", "`sinfo --Format=NodeList,Gres` shows what nodes have"),
    "feature": ("constraint", "`sinfo --Format=NodeList,Features` shows what nodes have"),
    "memory specification": ("mem", "`sinfo --Format=NodeList,Memory` shows what nodes have"),
    "node configuration": ("gres, mem, cpus_per_task or constraint", "`scontrol show node` shows what nodes have"),
    "node count": ("nodes", "`sinfo --summarize` shows how many a partition has"),
}
_LIMITS = "violates accounting/qos policy"
GONE = "GONE"
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
TO_LEAVE = {"TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL"}  # the place went away, and training goes on elsewhere
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "OUT_OF_MEMORY", "DEADLINE", "REVOKED", GONE} | TO_LEAVE
NEVER = {
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "PartitionConfig",
    "BadConstraints",
    "InvalidAccount",
    "InvalidQOS",
}
NODE_LOST = re.compile("^srun: error: .*(missing step on node|node failure)", re.IGNORECASE | re.MULTILINE)


def ask(command: Sequence[str], given: str = "") -> str:
    """What a command says, once. Unreachable where slurmctld is away; else Refused or BadRecipe with what is wrong."""
    try:
        done = subprocess.run(
            command,
            input=given,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            errors="replace",
        )
    except FileNotFoundError:
        raise BadRecipe(
            f"there is no {command[0]} here",
            place="LUTHIER_PROFILE, launcher: slurm",
            remedy="run the flow where Slurm's commands are, as on a login node",
        ) from None
    except subprocess.TimeoutExpired:
        raise _away(command[0], f"no answer in {COMMAND_S:.0f} s") from None
    if done.returncode != 0:
        raise _error(command[0], done.stderr.strip())
    return done.stdout


def environment() -> dict[str, str]:
    """This process's environment without what would speak for options, or is of a job that the flow itself runs in."""
    told = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SCANCEL_", "SINFO_")
    return {name: value for name, value in os.environ.items() if name == "SLURM_CONF" or not name.startswith(told)}


def patiently(command: Sequence[str], given: str = "", deadline_s: float = OUTAGE_S) -> str:
    """The same, again and again while slurmctld is away, until the deadline. Not for sbatch, which would submit twice."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            return ask(command, given)
        except Unreachable as error:
            if time.monotonic() > end:
                raise
            log.warning("%s: slurmctld is away: %s", command[0], error.value)
            time.sleep(_PAUSE_S)


def submit(script: str, name: str, deadline_s: float = OUTAGE_S) -> str:
    """The id of the job that a script became. Where the answer was lost, the job is found by its name."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            return ask(["sbatch", "--parsable"], script).strip().partition(";")[0]
        except Unreachable as error:
            log.warning("sbatch: slurmctld is away: %s", error.value)
            time.sleep(_PAUSE_S)
            if found := named(name, max(0.0, end - time.monotonic())):
                return found[name]
            if time.monotonic() > end:
                raise


def named(prefix: str, deadline_s: float = OUTAGE_S) -> dict[str, str]:
    """This user's jobs that are not over and whose names begin so: their ids by name."""
    listed = patiently(["squeue", "--me", "--noheader", "--format=%i|%j"], deadline_s=deadline_s)
    jobs = (line.partition("|") for line in listed.splitlines())
    return {name: number for number, _, name in jobs if name.startswith(prefix)}


def state(number: str) -> tuple[str, str]:
    """A job's state and, where it waits, the reason; GONE where slurmctld has forgotten it."""
    try:
        said = ask(["squeue", f"--jobs={number}", "--states=all", "--noheader", "--format=%T|%r"])
    except Refused as error:
        if "invalid job id" in error.value.lower():
            return GONE, ""
        raise
    first, _, reason = said.strip().partition("|")
    return first or GONE, reason


def _error(command: str, said: str) -> LuthierError:
    low = said.lower()
    if any(sign in low for sign in _AWAY):
        return _away(command, said)
    if _LIMITS in low:
        remedy = "`squeue --me` has your jobs; `sacctmgr show associations user=$USER` has your limits"
        return Lost("Slurm takes no such job of yours for now", place=command, value=said, remedy=remedy)
    for sign, (field, remedy) in _WRONG.items():
        if sign in low:
            return BadRecipe("Slurm refused the job", place=f"resources.{field}", value=said, remedy=remedy)
    return Refused(f"{command} refused", place=command, value=said, remedy="its words are above")


def _away(command: str, said: str) -> Unreachable:
    return Unreachable(
        "slurmctld does not answer", place=command, value=said, remedy="`scontrol ping` says if it is up"
    )
