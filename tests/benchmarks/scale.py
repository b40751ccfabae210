"""The real stage on many rows: how much memory its processes take together, and how much faster two of them are."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


class Ran(NamedTuple):
    """One run of the stage."""

    seconds: float
    peak: int  # bytes
    computed: float  # seconds of computing in all processes
    longest: float  # of these, in the stage's own process and the busiest of its pool, which wait for each other


def main(tokenizer: Path, root: Path) -> None:
    """P6.rss_growth and P6.speedup_2, with what lies behind them on stderr.

    Rows come as two sources, so that both of two processes are at work at any size. What one process takes alone is
    reported beside it: the index over all rows is then the larger part.
    """
    on = jobs.platform(root / "given")
    receipt = jobs.keep(on, "tokenizer", tokenizer)
    both = {rows: _run(rows, 2, root, receipt) for rows in ROWS}
    alone = {rows: _run(rows, 1, root, receipt) for rows in ROWS}
    for name, runs in (("P6.rss_growth", both), ("P6.rss_growth_alone", alone)):
        growth = runs[ROWS[-1]].peak / runs[ROWS[0]].peak
        figure(name, growth, target=1.1 if runs is both else None, better="lower", unit="ratio", n=1)
    pairs = [(alone[ROWS[-1]], both[ROWS[-1]])]
    pairs.append((_run(ROWS[-1], 1, root, receipt), _run(ROWS[-1], 2, root, receipt)))
    # Wall time, which whatever else runs on the machine can only make worse: the best pair counts.
    best = max(one.seconds / two.seconds for one, two in pairs)
    figure("P6.speedup_2", best, target=1.8, better="higher", unit="ratio", n=len(pairs))
    # The same by computing time, where other work keeps the cores busy: what two could reach with a core each.
    reach = max(one.computed / two.longest for one, two in pairs)
    figure("P6.speedup_2_computed", reach, target=1.8, better="higher", unit="ratio", n=len(pairs))


def _run(rows: int, processes: int, root: Path, tokenizer: Receipt) -> Ran:
    paths = [root / f"{rows}-{half}.jsonl" for half in range(2)]
    for half, path in enumerate(paths):
        if not path.exists():
            material.chats(rows // 2, path, WORDS, half * rows)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        home = Path(folder)
        shutil.copytree(root / "given" / "store", home / "store")
        config = DataConfig(train_files=[str(path) for path in paths], num_proc=processes)
        # One process is one core's: its tokenizer would use them all.
        with Watch() as watch, on_cores(processes):
            start = time.perf_counter()
            made = stage.run(config, tokenizer, jobs.platform(home))
            seconds = time.perf_counter() - start
        assert made.summary["rows"] == rows
    longest = watch.longest()
    note(
        f"{rows:>9,} rows, {processes} processes: {watch.peak / MIB:5.0f} MiB, {seconds:5.1f} s; "
        f"computed {watch.computed():.1f} s, {longest:.1f} s of them one after the other"
    )
    return Ran(seconds, watch.peak, watch.computed(), longest)


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
        self._computed: dict[int, float] = {}  # by process, the stage's own first
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def computed(self) -> float:
        """Seconds of computing in all of them, as last seen."""
        return sum(self._computed.values())

    def longest(self) -> float:
        """Of the first that was started, and of the busiest that it started."""
        own, *pool = self._computed.values()
        return own + max(pool, default=0.0)

    def _look(self) -> None:
        while not self._ended.wait(EVERY_S):
            below = psutil.Process().children(recursive=True)
            self.peak = max(self.peak, sum(map(_taken, below)))
            for process in below:
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    self._computed[process.pid] = times.user + times.system


def _taken(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:  # it is just ending
        return 0
