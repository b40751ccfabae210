"""A cluster with Slurm: is it there, does it take our jobs, and does each node have and see what workers need?"""

import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from infra.doctor.finding import Finding, bad, guarded, note, ok, warn
from infra.doctor.judging import judged
from infra.errors import LuthierError
from infra.launch import elsewhere
from infra.launch import slurm_commands as commands
from infra.launch.profile import Profile, passed
from infra.launch.profile import load as load_profile
from infra.launch.resources import Resources
from infra.launch.slurm import SlurmLauncher
from infra.launch.slurm_script import OPTIONS
from infra.settings import Settings
from infra.storage.store import open_objects

NEEDED = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo")
PATIENCE_S = 60  # somebody waits, and the queue may be long
LOOK = "infra.doctor.node"


def slurm(own: Settings) -> Iterator[Finding]:
    """The commands, slurmctld, the partition and the account, and one look at what a stage gets of nodes."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        yield bad("slurm", f"no {', '.join(missing)} here", "run flows where Slurm's commands are, as on a login node")
        return
    yield guarded("slurm", _slurm)
    try:
        profile = load_profile(own.profile)
        root = SlurmLauncher(profile, own.shared_root or profile.shared_root).root
    except LuthierError as error:
        yield bad("slurm profile", f"{error.what}; {error.place}", error.remedy)
        return
    asked = profile.asked("training", Resources())
    yield guarded("slurm job", lambda: _accepted(asked))
    yield from _nodes(own, profile, root, asked)


def _slurm() -> Finding:
    said = commands.ask(["sinfo", "--noheader", "--format=%P %a %D nodes %T"]).splitlines()
    return ok("slurm", "; ".join(said[:6])) if said else warn("slurm", "no partition is yours to see", "ask its admins")


def _options(asked: Resources) -> list[str]:
    told = {name.replace("_", "-"): getattr(asked, name) for name in OPTIONS}
    return [f"--{name}={value}" for name, value in told.items() if value is not None] + [f"--nodes={asked.nodes}"]


def _accepted(asked: Resources) -> Finding:
    """Ask sbatch whether it would take the job; nothing is submitted."""
    commands.ask(["sbatch", "--test-only", *_options(asked)], "#!/bin/bash\nexit 0\n")
    said = " ".join(_options(asked))
    return ok("slurm job", f"partition, account and limits allow {said}")


def _nodes(own: Settings, profile: Profile, root: Path, asked: Resources) -> Iterator[Finding]:
    """Have every node say what it has and sees, through srun with a deadline."""
    name = f"doctor-{uuid.uuid4().hex}"
    folder, key = root / name, f"probe/{uuid.uuid4().hex}"
    objects = open_objects(own.root(), min(own.store_deadline_s, 20.0))
    try:
        folder.mkdir(parents=True, mode=0o700)
        (folder / "environment").touch(mode=0o600)
        told = {"LUTHIER_STORE": own.root()} | passed({}, profile)
        (folder / "environment").write_text(elsewhere.exports(told))
        objects.create(key, key.encode())
        said, wrong = _look(profile, asked, folder, name, key)
    except LuthierError as error:
        yield bad("slurm nodes", f"{error.what}; {error.value}", error.remedy)
        return
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        objects.delete(key)
    if not said:
        yield _silent(wrong)
    for line in said:
        told = json.loads(line)
        yield judged(f"slurm {told['host']}", told, key)


def _look(profile: Profile, asked: Resources, folder: Path, name: str, key: str) -> tuple[list[str], str]:
    look = f"exec {elsewhere.python(profile)} -m {LOOK} {key} {folder}"
    lines = [*elsewhere.setup(profile), f". {folder}/environment", look]
    limits = ["--time=5", f"--immediate={PATIENCE_S}", "--ntasks-per-node=1", "--export=NONE", f"--job-name={name}"]
    options = [option for option in _options(asked) if not option.startswith("--time=")]
    command = ["srun", *options, *limits, "/bin/bash", "-c", "\n".join(lines)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 2,
            check=False,
            cwd="/",
            env=commands.environment(),
        )
    except subprocess.TimeoutExpired:
        commands.patiently(["scancel", "--me", f"--name={name}"], deadline_s=PATIENCE_S)
        return [], f"no answer in {PATIENCE_S * 2} s"
    return [line for line in done.stdout.splitlines() if line.startswith('{"host"')], done.stderr.strip()[-400:]


def _silent(wrong: str) -> Finding:
    if "immediate" in wrong.lower() or "unable to allocate" in wrong.lower():
        return note("slurm nodes", f"none was free within {PATIENCE_S} s, so none was looked at")
    remedy = "profile: python is the path of Python on the nodes, LUTHIER_SHARED_ROOT what all mount; setup has to work"
    return bad("slurm nodes", f"no node could say anything: {wrong}", remedy)
