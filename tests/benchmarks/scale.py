"""The real stage on many rows: how much memory its processes take together, and how much faster two of them are."""

import shutil
import tempfile
import threading
import time
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


def _run(rows: int, processes: int, root: Path, tokenizer: Receipt) -> Ran:
    paths = [root / f"{rows}-{half}.jsonl" for half in range(2)]
    for half, path in enumerate(paths):
        if not path.exists():
            material.chats(rows // 2, path, WORDS, half * rows)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        home = Path(folder)
        shutil.copytree(root / "given" / "store", home / "store")
        config = DataConfig(train_files=[str(path) for path in paths], num_proc=processes)
        with Watch() as watch:
            start = time.perf_counter()
            made = stage.run(config, tokenizer, jobs.platform(home))
            seconds = time.perf_counter() - start
        assert made.summary["rows"] == rows
    note(f"{rows:>9,} rows, {processes} processes: {watch.peak / MIB:5.0f} MiB, {seconds:5.1f} s")
    return Ran(seconds, watch.peak)


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
            self.peak = max(self.peak, sum(map(_taken, psutil.Process().children(recursive=True))))


def _taken(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:  # it is just ending
        return 0
