"""Private folders of this machine's processes: gone afterwards, and those of processes that were killed too."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


@contextlib.contextmanager
def scratch(root: Path, name: str) -> Iterator[Path]:
    """An empty folder below `root`, removed at the end; those of processes that were killed are removed on the way."""
    root.mkdir(parents=True, exist_ok=True)
    sweep(root)
    lock = root / f"{name}.lock"
    with FileLock(lock):  # freed by the kernel, however we end
        try:
            lock.with_suffix("").mkdir()
            yield lock.with_suffix("")
        finally:
            _remove(lock)


def sweep(root: Path, remove: bool = True) -> list[Path]:
    """The folders below `root` whose processes are gone; they are removed, unless they are only to be told."""
    found = []
    for lock in root.glob("*.lock"):
        with contextlib.suppress(Timeout), FileLock(lock, timeout=0):
            found.append(lock.with_suffix(""))
            if remove:
                _remove(lock)
    return found


def _remove(lock: Path) -> None:
    folder = lock.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        lock.unlink(missing_ok=True)
