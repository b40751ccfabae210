"""Programs of our own environment, run to their end as a person would run them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
_LEADS = ("LUTHIER_", "PREFECT_", "AWS_", "MLFLOW_")


def plain() -> dict[str, str]:
    """The environment of a shell that leads to no server, with our commands on its path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LEADS)}
    return {**kept, "PATH": f"{BIN}:{kept['PATH']}", "HF_HUB_OFFLINE": "1"}


def run(command: list[str], environment: Mapping[str, str], timeout_s: float, status: int = 0, cwd: Path = ROOT) -> str:
    """All that it says, standard error last, once it has ended with that exit status."""
    done = subprocess.run(
        command,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == status, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout + done.stderr
