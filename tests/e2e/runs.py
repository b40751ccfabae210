"""A training in a process of its own, to be killed, told to leave, and started again on the same store."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

RUN = """
import json, sys
from pathlib import Path
from tests.e2e.training import bench, losses
made = bench(Path(sys.argv[1]), judged=sys.argv[3])
receipt = made.train(**json.loads(sys.argv[2]))
told = {"content": receipt.content_sha256, "losses": losses(made, receipt).tolist(), "summary": receipt.summary}
print(json.dumps(told))
"""
# A rate at which an optimizer that begins anew would show.
FIELDS = {
    "learning_rate": 5e-3,
    "max_steps": 160,
    "save_steps": 5,
    "deepspeed": "zero2",
    "num_processes": 2,
    "train_batch_size": 4,
}


@dataclass(frozen=True)
class Told:
    """What a training that came to its end says of itself."""

    content: str
    losses: list[float]
    summary: dict[str, Any]


def started(root: Path, judged: str = "", **fields: Any) -> subprocess.Popen[str]:
    """A training below `root`, whose store it makes or finds; judged: pairs or labels."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(root), json.dumps(FIELDS | fields), judged],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def ended(run: subprocess.Popen[str], seconds: float = 500) -> Told:
    """Wait for its end."""
    try:
        said, _ = run.communicate(timeout=seconds)
    finally:
        run.kill()
    assert run.returncode == 0
    return Told(**json.loads(said))


def kill(run: subprocess.Popen[str]) -> None:
    """kill -9 of the flow, and see that nothing that it started is left."""
    below = psutil.Process(run.pid).children(recursive=True)
    assert len(below) >= 3  # worker, torchrun, ranks
    run.kill()
    run.communicate(timeout=10)
    _, alive = psutil.wait_procs(below, timeout=40)
    assert alive == []


def commits(root: Path) -> list[Path]:
    """The commit records of checkpoints, oldest first."""
    return sorted((root / "store" / "stages" / "training").glob("*/checkpoints/*/COMMIT.json"))


def wait_until(condition: Callable[[], object], run: subprocess.Popen[str], seconds: float = 500) -> None:
    """Look again and again, while the run goes on; it is ended where that was in vain."""
    end = time.monotonic() + seconds
    while not condition():
        if run.poll() is not None or time.monotonic() > end:
            run.kill()
            raise AssertionError(f"waited in vain; exit status {run.wait()}")
        time.sleep(0.05)
