"""Writes docs/proof.md from lines of figures: `python -m tests.benchmarks.proof FIGURES.jsonl`.

A figure that was not taken anew keeps its row, with the date on which it was taken.
"""

import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "proof.md"
HEAD = """\
# Proofs

What fails is made to fail, and what is promised is measured. `make proof` runs the long forms and writes this page;
`python -m tests.benchmarks.recovery R3` runs one. Short forms of all of them run in `make test-all`.

| figure | is | value | target | taken |
|---|---|---|---|---|
"""
MEANS = {
    "R1": "SIGKILL at named points of every stage: the rerun finishes, nothing torn, nothing done twice",
    "R2": "training killed and resumed: losses and adapter are those of a run without a break",
    "R3": "eight equal runs at once, replies lost: one record, one version, one alias",
    "R4": "flipped bits and cuts in artifacts, records and checkpoints that are found",
    "R5": "a run in bad weather with an outage of a minute: what it takes beyond the outage",
    "R6": "until a flow's processes are gone, and until one that hangs is found out",
    "R10": "runs through faults that a seed drew, n of them: steps by hand, and how much of the CPU time was needed",
    "P9": "training waits for a checkpoint",
    "P10": "transfer to and from S3: megabytes a CPU-second beside others, memory",
    "P12": "the same run again, beside the first",
}


def main(path: Path) -> None:
    """Rewrite the page with the figures of this machine, today."""
    taken = f"{datetime.now(UTC):%Y-%m-%d}, {_machine()}"
    rows = _known()
    for line in path.read_text(encoding="utf-8").splitlines():
        rows[json.loads(line)["figure"]] = _row(json.loads(line), taken)
    PAGE.write_text(HEAD + "".join(rows[name] for name in sorted(rows, key=_order)), encoding="utf-8")


def _row(found: dict[str, Any], taken: str) -> str:
    name, target = str(found["figure"]), found["target"]
    sign = "≥" if found["better"] == "higher" else "≤"
    wanted = "–" if target is None else f"{sign} {target:g}"
    what = MEANS.get(re.split(r"[._]", name)[0], "")
    return f"| {name} | {what} | {_value(found)} | {wanted} | {taken} |\n"


def _value(found: dict[str, Any]) -> str:
    """A share of many trials as these trials, anything else with its unit."""
    if found["better"] == "higher" and found["unit"] == "share":
        return f"{round(found['value'] * found['n'])} of {found['n']}"
    return f"{found['value']:g} {found['unit']}, n = {found['n']}"


def _known() -> dict[str, str]:
    lines = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| figure")]
    return {line.split(" | ")[0].removeprefix("| "): line + "\n" for line in rows}


def _order(name: str) -> tuple[str, int, str]:
    whole, _, part = name.partition(".")
    letters = whole.rstrip("0123456789").partition("_")[0]
    digits = "".join(letter for letter in whole if letter.isdigit())
    return letters, int(digits or 0), part


def _machine() -> str:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} CPU cores, {gigabytes:.0f} GB, {_gpus() or 'no'} GPU"


def _gpus() -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
