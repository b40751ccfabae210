"""What quality checks cost: the scan of clean rows, signatures, and the search for near copies. Prints JSON lines.

`python -m tests.benchmarks.quality`; the search runs over signatures on disk, in which every tenth row is a near copy.
"""

import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from tasks.data import similar
from tasks.data.rows import Chat
from tasks.data.sensitive import scan
from tests.benchmarks.data import ROWS, cpu, rows
from tests.benchmarks.figures import figure

TIMES = 7


def main() -> None:
    chats = [Chat(row["messages"]) for row in rows()]
    texts = [" ".join(message["content"] for message in row.messages) for row in chats]
    for name, work in (
        ("quality.scan_us_a_row", lambda: [scan(row) for row in chats]),
        ("quality.signature_us_a_row", lambda: similar.signatures(texts)),
    ):
        seconds = statistics.median(cpu(work) for _ in range(TIMES))
        figure(name, 1e6 * seconds / ROWS, target=9 if "scan" in name else 50, better="lower", unit="µs", n=TIMES)
    with tempfile.TemporaryDirectory() as folder:
        for count in (10_000, 100_000, 1_000_000):
            _search(Path(folder) / "signatures.npy", count)


def _search(path: Path, count: int) -> None:
    copied = _write(path, count)
    found = np.load(path, mmap_mode="r")
    before, watch = _own_memory(), _Watch()
    start = time.perf_counter()
    first = similar.copies(found, 0.8)
    seconds = time.perf_counter() - start
    grown = watch.peak() - before
    figure(f"quality.copies_s_{count}", seconds, target=count / 20_000, better="lower", unit="s", n=1)
    figure(f"quality.copies_bytes_a_row_{count}", grown / count, target=100, better="lower", unit="bytes", n=1)
    figure(
        f"quality.copies_recall_{count}", (first[copied] >= 0).mean(), target=0.99, better="higher", unit="share", n=1
    )


def _write(path: Path, count: int) -> np.ndarray:
    """Signatures of rows, of which every tenth agrees with an earlier one in nine places of ten; the numbers of those."""
    made = np.lib.format.open_memmap(path, "w+", np.uint32, (count, similar.PLACES))
    chance = np.random.default_rng(0)
    for first in range(0, count, 10_000):
        made[first : first + 10_000] = chance.integers(0, 2**32 - 1, (10_000, similar.PLACES), dtype=np.uint32)
    copied = np.arange(9, count, 10)
    for part in np.array_split(copied, max(1, count // 10_000)):
        values = np.array(made[part - 1 - chance.integers(0, 8, len(part))])
        changed = chance.random(values.shape) < 0.1
        values[changed] = chance.integers(0, 2**32 - 1, int(changed.sum()), dtype=np.uint32)
        made[part] = values
    made.flush()
    return copied


class _Watch(threading.Thread):
    """The most memory that this process has of its own; pages of files do not count."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._most, self._done = _own_memory(), threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.wait(0.005):
            self._most = max(self._most, _own_memory())

    def peak(self) -> int:
        self._done.set()
        self.join()
        return self._most


def _own_memory() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
