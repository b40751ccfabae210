"""`make bench-recovery`: what kills, faults, transfers and reruns cost; one JSON line a figure.

    python -m tests.benchmarks.recovery [FIGURE …]

Each figure comes from the proof or the benchmark that owns it, run as a process of its own; `R1 P10` runs only these.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from infra.launch.lifeline import end, started_by
from tests.benchmarks.figures import KEPT, note

ROOT = Path(__file__).parents[2]
DEADLINE_S = 4 * 3600.0  # for the owner of one figure; each of its tests has its own
PROOF = ["-m", "pytest", "-s", "-m", "proof"]  # what they note of their progress is seen
OWNERS = {
    "R1": [*PROOF, "tests/faults/test_kills.py"],
    "R2": [*PROOF, "tests/faults/test_training_kills.py"],
    "R3": [*PROOF, "tests/faults/test_duplicates.py"],
    "R4": [*PROOF, "tests/faults/test_flips.py"],
    "R5": [*PROOF, "tests/faults/test_weather.py"],
    "R6": [*PROOF, "tests/faults/test_detection.py"],
    "R10": [*PROOF, "tests/faults/test_soak.py"],
    "P9": ["-m", "tests.benchmarks.checkpoints"],
    "P10": ["-m", "tests.benchmarks.transfer"],
    "P12": ["-m", "tests.benchmarks.again"],
}


def main(wanted: list[str]) -> int:
    """Run the owners of the figures that are wanted, all where none is named; how many of them failed."""
    failed, begin, names = 0, time.monotonic(), wanted or [*OWNERS]
    for number, name in enumerate(names):
        _progress(number, names, time.monotonic() - begin)
        with tempfile.TemporaryDirectory() as room:
            lines = Path(room) / "figures"
            status, tail = _run(OWNERS[name], lines)
            said = lines.read_text(encoding="utf-8") if lines.exists() else ""
        print(said, end="", flush=True)  # noqa: T201
        _keep(said)
        if status:
            failed += 1
            note(f"{name}: exit status {status}\n{tail}")
    return failed


def _run(command: list[str], lines: Path) -> tuple[int | str, str]:
    """How one ended, and the end of what it said; one that is over its time does not keep the others from theirs."""
    variables = os.environ | {KEPT: str(lines)}
    with subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            end([*started_by(process.pid), psutil.Process(process.pid)], grace_s=20)
            return f"none after {DEADLINE_S:.0f} s", ""
        return process.returncode, said[-3000:]


def _progress(done: int, names: list[str], took_s: float) -> None:
    left = f", about {took_s / done * (len(names) - done) / 60:.0f} min left" if done else ""
    note(f"{names[done]} ({done + 1} of {len(names)}{left})")


def _keep(lines: str) -> None:
    if kept := os.environ.get(KEPT):
        with Path(kept).open("a", encoding="utf-8") as file:
            file.write(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
