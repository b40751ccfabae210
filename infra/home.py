"""What a node keeps for itself below LUTHIER_HOME and need not: nothing here is anybody's result."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from infra.frozen import Frozen
from infra.launch import scratch
from infra.storage.cache import Cache


class Leftover(Frozen):
    """Something below the home that may go, and what it takes."""

    path: Path
    reason: str
    bytes: int


def leftovers(home: Path, cache: Cache, cutoff: float) -> Iterator[Leftover]:
    """Folders of processes that are gone, logs last written before `cutoff`, and what the cache has over its limit."""
    for folder in scratch.sweep(home / "work", remove=False):
        yield Leftover(path=folder, reason="its process is gone", bytes=_bytes(folder))
    for log in _old_logs(home, cutoff):
        yield Leftover(path=log, reason="an old log", bytes=_bytes(log))
    if over := cache.spare():
        yield Leftover(path=cache.root, reason="over LUTHIER_CACHE_BYTES, least recently used", bytes=over)


def tidy(home: Path, cache: Cache, cutoff: float) -> None:
    """Remove all of that."""
    scratch.sweep(home / "work")
    for log in _old_logs(home, cutoff):
        log.unlink(missing_ok=True)
    cache.trim()


def _old_logs(home: Path, cutoff: float) -> list[Path]:
    return [log for log in sorted((home / "logs").glob("*.log")) if log.stat().st_mtime < cutoff]


def _bytes(path: Path) -> int:
    """What a file or a folder takes; of files that are linked elsewhere too, nothing is freed."""
    total = 0
    for file in [path, *path.rglob("*")]:
        with contextlib.suppress(FileNotFoundError):
            stat = file.lstat()
            total += stat.st_size if file.is_file() and stat.st_nlink == 1 else 0
    return total
