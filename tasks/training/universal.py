"""A checkpoint of some number of ranks made into one for any number: DeepSpeed's universal form, optimizer included."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from infra.errors import Crashed

FORM = "universal"
SLOWEST = 2**20  # bytes a second; a conversion that is slower hangs


def convert(source: Path, target: Path) -> None:
    """Write a checkpoint's universal form, in a process of its own; Crashed where DeepSpeed cannot.

    Random states stay behind, as they belong to ranks.
    """
    (states,) = source.glob("global_step*")
    size = sum(path.stat().st_size for path in states.rglob("*"))
    made = target / f"{states.name}_{FORM}"
    made.mkdir(parents=True)
    command = [sys.executable, "-m", "tasks.training.to_universal", str(states), str(made)]
    # No GPU: this moves bytes.
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    try:
        subprocess.run(
            command,
            check=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=600 + size / SLOWEST,
        )
    except subprocess.CalledProcessError as error:
        raise Crashed(
            "DeepSpeed could not convert a checkpoint for another number of processes",
            place=source.name,
            value=error.stderr.decode(errors="replace").strip()[-600:],
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Crashed(
            "converting a checkpoint for another number of processes did not end",
            place=source.name,
            value=error.timeout,
        ) from error
    for path in source.iterdir():
        if path.is_file() and not path.name.startswith(("rng_state", "latest")):
            shutil.copy2(path, target / path.name)
    (target / f"latest_{FORM}").write_text(made.name)
