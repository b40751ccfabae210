"""The real stage on many rows: how much memory its processes take together, and how much faster two of them are."""

import os
import resource
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import psutil

from infra.storage.receipt import Receipt
from tasks.data import stage
from tasks.data.config import DataConfig
from tests import jobs
from tests.benchmarks import material
from tests.benchmarks.figures import figure, note

ROWS = (10_000, 100_000, 1_000_000)
WORDS = 34  # with the template some 60 tokens
EVERY_S = 0.1
MIB = 2**20


PAIRS = 3


class Ran(NamedTuple):
    """One run of the stage."""

    seconds: float
    computed: float  # seconds of computing in all processes
    peak: int = 0  # bytes


def main(tokenizer: Path, root: Path) -> None:
    """P6.rss_growth and P6.speedup_2, with what lies behind them on stderr.

    Rows come as two sources, so that both of two processes are at work at any size. What one process takes alone is
    reported beside it: the index over all rows is then the larger part.
    """
    on = jobs.platform(root / "given")
    receipt = jobs.keep(on, "tokenizer", tokenizer)
    for name, processes, target in (("P6.rss_growth", 2, 1.1), ("P6.rss_growth_alone", 1, None)):
        peaks = [_run(rows, processes, root, receipt, watched=True).peak for rows in ROWS]
        figure(name, peaks[-1] / peaks[0], target=target, better="lower", unit="ratio", n=1)
    # Nobody watches these: looking at the memory of processes that use both cores would take a part of them.
    pairs = [(_run(ROWS[-1], 1, root, receipt), _run(ROWS[-1], 2, root, receipt)) for _ in range(PAIRS)]
    faster = statistics.median(alone.seconds / both.seconds for alone, both in pairs)
    figure("P6.speedup_2", faster, target=1.8, better="higher", unit="ratio", n=PAIRS)
    # What the second process costs: without it, two would be twice as fast but for what only one can do.
    dearer = statistics.median(both.computed / alone.computed for alone, both in pairs)
    figure("P6.computed_by_2", dearer, better="lower", unit="ratio", n=PAIRS)


def _run(rows: int, processes: int, root: Path, tokenizer: Receipt, watched: bool = False) -> Ran:
    paths = [root / f"{rows}-{half}.jsonl" for half in range(2)]
    for half, path in enumerate(paths):
        if not path.exists():
            material.chats(rows // 2, path, WORDS, half * rows)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        home = Path(folder)
        shutil.copytree(root / "given" / "store", home / "store")
        config = DataConfig(train_files=[str(path) for path in paths], num_proc=processes)
        # One process is one core's: its tokenizer would use them all.
        with Watch() if watched else nullcontext() as watch, on_cores(processes):
            start, before = time.perf_counter(), _computed()
            made = stage.run(config, tokenizer, jobs.platform(home))
            ran = Ran(time.perf_counter() - start, _computed() - before, watch.peak if watch else 0)
        assert made.summary["rows"] == rows
    memory = f"{ran.peak / MIB:.0f} MiB, " if watched else ""
    note(f"{rows:>9,} rows, {processes} processes: {memory}{ran.seconds:.1f} s, {ran.computed:.1f} s of computing")
    return ran


def _computed() -> float:
    """Seconds of computing of all processes below this one that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """This process and what it starts have so many cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Watch:
    """The most memory that all processes below this one take at any time: their proportional set sizes, so that what
    they share counts once."""

    def __init__(self) -> None:
        self.peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(EVERY_S):
            below = psutil.Process().children(recursive=True)
            self.peak = max(self.peak, sum(map(_taken, below)))


def _taken(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:  # it is just ending
        return 0
