"""The batch script of a stage: text from values, and nothing secret in it."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from infra.launch.elsewhere import setup
from infra.launch.profile import Profile
from infra.launch.resources import Resources

OPTIONS = ("partition", "account", "qos", "gres", "gpus_per_node", "cpus_per_task", "mem", "time", "constraint")


@dataclass(frozen=True)
class Batch:
    """A job to be: its name, its folder on the nodes, and what runs on each of them."""

    name: str
    folder: Path
    python: str
    module: str
    spec: str
    home: str
    resources: Resources


def script(batch: Batch, profile: Profile) -> str:
    """What sbatch is given.

    The script outlives SIGTERM, so that it can pass on the one before the end of the job's time, and note how it ended.
    """
    lines = [*_head(batch, profile), "", *_begin(batch), *setup(profile), "", _srun(batch), *_END]
    return "\n".join(lines) + "\n"


def _head(batch: Batch, profile: Profile) -> list[str]:
    told = {
        "job-name": batch.name,
        "nodes": batch.resources.nodes,
        "ntasks-per-node": 1,
        **{name.replace("_", "-"): getattr(batch.resources, name) for name in OPTIONS},
        "output": batch.folder / "batch.log",
        "open-mode": "append",
        "chdir": batch.folder,
        "export": "NONE",
        "signal": f"B:TERM@{profile.grace_s}",
    }
    flags = ["requeue", *(["exclusive"] if batch.resources.exclusive else [])]
    options = [f"#SBATCH --{name}={value}" for name, value in told.items() if value is not None]
    shell = "#!/bin/bash -l" if profile.modules else "#!/bin/bash"  # a login shell knows `module`
    return [shell, *options, *(f"#SBATCH --{flag}" for flag in flags)]


def _begin(batch: Batch) -> list[str]:
    return [
        f"cd {shlex.quote(str(batch.folder))} && rm -f ended || exit 1",
        'echo "${SLURM_RESTART_COUNT:-0} $(date +%s)" > started.half && mv started.half started',
        "export SLURM_EXPORT_ENV=ALL",
        """trap 'timeout 4 scancel --signal=TERM "$SLURM_JOB_ID" &' TERM  # to the steps; after 5 s it would try a requeued job again""",
    ]


_END = [
    "srun=$!",
    'wait "$srun"; status=$?',
    'while kill -0 "$srun" 2> /dev/null; do wait "$srun"; status=$?; done',
    'echo "${SLURM_RESTART_COUNT:-0} $status" > ended.half && mv ended.half ended',
    'exit "$status"',
]


def _srun(batch: Batch) -> str:
    # srun does not take this one over from sbatch (since Slurm 22.05).
    cores = f" --cpus-per-task={batch.resources.cpus_per_task}" if batch.resources.cpus_per_task else ""
    output = f"{shlex.quote(str(batch.folder))}/%n.log"
    options = f"--kill-on-bad-exit=1 --input=none --open-mode=append --output={output}"
    return f"srun {options}{cores} /bin/bash -c {shlex.quote(chr(10).join(['', *_task(batch), '']))} &"


def _task(batch: Batch) -> list[str]:
    command = f"{batch.python} -m {shlex.quote(batch.module)} {shlex.quote(batch.spec)}"
    return [
        f". {shlex.quote(str(batch.folder / 'environment'))} || exit 1",
        'at=$(scontrol --oneliner show node "$SLURMD_NODENAME"); at=${at#* NodeAddr=}',
        "export LUTHIER_NODE=$SLURM_NODEID LUTHIER_NODES=$SLURM_JOB_NUM_NODES LUTHIER_HOST=${at%% *}",
        "export LUTHIER_RESTART=${SLURM_RESTART_COUNT:-0}",
        f'export LUTHIER_HOME="{batch.home}/$SLURMD_NODENAME"',
        f"exec {command}",
    ]
