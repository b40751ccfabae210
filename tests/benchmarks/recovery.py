"""`make bench-recovery`: what kills, faults, transfers and reruns cost; one JSON line a figure.

    python -m tests.benchmarks.recovery [FIGURE …]

Each figure comes from the proof or the benchmark that owns it, run as a process of its own; `R1 P10` runs only these.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.figures import KEPT, note

ROOT = Path(__file__).parents[2]
PROOF = ["-m", "pytest", "-m", "proof"]
OWNERS = {
    "R1": [*PROOF, "tests/faults/test_kills.py"],
    "R2": [*PROOF, "tests/faults/test_training_kills.py"],
    "R3": [*PROOF, "tests/faults/test_duplicates.py"],
    "R4": [*PROOF, "tests/faults/test_flips.py"],
    "R5": [*PROOF, "tests/faults/test_weather.py"],
    "R6": [*PROOF, "tests/faults/test_detection.py"],
    "P9": ["-m", "tests.benchmarks.checkpoints"],
    "P10": ["-m", "tests.benchmarks.transfer"],
    "P12": ["-m", "tests.benchmarks.again"],
}


def main(wanted: list[str]) -> int:
    """Run the owners of the figures that are wanted, all where none is named; how many of them failed."""
    failed = 0
    for name in wanted or OWNERS:
        with tempfile.TemporaryDirectory() as room:
            lines = Path(room) / "figures"
            done = subprocess.run(
                [sys.executable, *OWNERS[name]],
                check=False,
                cwd=ROOT,
                env=os.environ | {KEPT: str(lines)},
                stdout=subprocess.PIPE,
                text=True,
            )
            said = lines.read_text(encoding="utf-8") if lines.exists() else ""
        print(said, end="", flush=True)  # noqa: T201
        _keep(said)
        if done.returncode:
            failed += 1
            note(f"{name}: exit status {done.returncode}\n{done.stdout[-3000:]}")
    return failed


def _keep(lines: str) -> None:
    if kept := os.environ.get(KEPT):
        with Path(kept).open("a", encoding="utf-8") as file:
            file.write(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
