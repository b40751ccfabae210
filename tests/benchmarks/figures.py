"""How every benchmark measures, and says what it measured: one JSON line a figure."""

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

KEPT = "FIGURES"  # the variable that names a file for the lines


def figure(name: str, value: float, *, target: float | None = None, better: str, unit: str, n: int) -> None:
    """Print one figure; `better` is higher or lower, `n` the number of measurements behind the value.

    Without a target it is only reported. Where FIGURES names a file, the line is added to it too.
    """
    line = {"figure": name, "value": float(f"{value:.4g}"), "target": target, "better": better, "unit": unit, "n": n}
    print(json.dumps(line), flush=True)  # noqa: T201
    if kept := os.environ.get(KEPT):
        with Path(kept).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def note(text: str) -> None:
    """What lies behind a figure, for people: on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def cpu(work: Callable[[], object]) -> float:
    """CPU-seconds of this process, its threads, and the processes that it started and that have ended."""
    start = _used()
    work()
    return _used() - start


def _used() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
