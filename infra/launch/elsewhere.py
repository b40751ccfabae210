"""What launchers share whose workers run on other machines: a job's name, and what goes with it."""

import shlex
import sys
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


def require_visible(store: str, shared: Path | None) -> None:
    """BadRecipe where the store is a folder that is not in what all machines mount."""
    folder = store.removeprefix("file://")
    if store.startswith("file://") and not (shared and Path(folder).is_relative_to(shared)):
        there = f"a folder in {shared}" if shared else "name LUTHIER_SHARED_ROOT, which all mount, and a folder in it"
        raise BadRecipe(
            "the nodes cannot see the store", place="LUTHIER_STORE", value=store, remedy=f"set it to s3://…, or {there}"
        )
