"""The stack's addresses and credentials as a file for the shell, and for `luthier` itself."""

import os
import shlex
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from infra.stack import private

LEADS = ("LUTHIER_STORE", "PREFECT_API_URL", "MLFLOW_TRACKING_URI")


def write(path: Path, variables: Mapping[str, str]) -> None:
    """A file of mode 0600 that `set -a; . path; set +a` takes."""
    lines = ["# Where the running stack is. To use it in a shell:  set -a; . this-file; set +a"]
    private.write(
        path, "\n".join([*lines, *(f"{name}={shlex.quote(value)}" for name, value in variables.items())]) + "\n"
    )


def read(path: Path) -> dict[str, str]:
    """The variables of such a file; empty where there is none."""
    if not path.exists():
        return {}
    words = shlex.split(path.read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words)


def adopt(path: Path, into: MutableMapping[str, str] = os.environ) -> bool:
    """Use the stack of that file, unless the environment leads somewhere itself; whether it is used."""
    found = read(path)
    if not found or any(into.get(name) for name in LEADS):
        return False
    into.update(found)
    return True
