"""What launchers share whose workers run on other machines: a job's name, and what goes with it."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.errors import BadRecipe
from infra.launch.profile import Profile, passed

OWN = {
    "LUTHIER_LAUNCHER": "local",
    "PYTHONSAFEPATH": "1",
    "PYTHONUNBUFFERED": "1",
    "OMP_WAIT_POLICY": "passive",
}


def job_name(stage: str = "", key: str = "", attempt: str = "") -> str:
    """What a job is called, so that a later flow finds it; what all names begin with where no stage is given."""
    return f"luthier.{stage}.{key[:16]}.{attempt}" if stage else "luthier."


def named_by(spec: str) -> str:
    """The name of the job whose workers read that spec."""
    _, stage, key, attempt, _ = spec.split("/")
    return job_name(stage, key, attempt)


def environment(told: dict[str, str], profile: Profile) -> dict[str, str]:
    """A worker's variables: ours of this process, the site's, and what the stage says."""
    return passed(told, profile) | OWN


def exports(variables: dict[str, str]) -> str:
    """Variables as bash reads them."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


def setup(profile: Profile) -> list[str]:
    """The site's lines of bash before a worker."""
    return [*(f"module load {shlex.quote(name)}" for name in profile.modules), *profile.setup]


def python(profile: Profile) -> str:
    """How Python is started over there, as bash reads it."""
    told = profile.python or ("python" if profile.container else sys.executable)
    return f"{profile.container} {told}".strip()


def require_visible(environment: Mapping[str, str], shared: Path | None, mounts: bool = True) -> None:
    """BadRecipe where what all stages share is in a folder that is not in what all machines mount, where they mount any."""
    for name, kind, remedy in (
        ("LUTHIER_STORE", "file://", "set it to s3://…"),
        ("MLFLOW_TRACKING_URI", "sqlite:///", "name a server, as http://mlflow:5000"),
    ):
        address = environment.get(name, "")
        if address.startswith(kind) and not (shared and Path(address.removeprefix(kind)).is_relative_to(shared)):
            there = f", or to a folder in {shared}" if shared else ", or name LUTHIER_SHARED_ROOT, which all mount"
            told = remedy + (there if mounts else "")
            raise BadRecipe("the nodes cannot see this folder", place=name, value=address, remedy=told)
