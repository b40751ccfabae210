"""Files that leave the store for good: a folder that is there whole, or not at all."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from infra.errors import Corrupt, Lost, Refused
from infra.storage.objects import file_blocks
from infra.storage.receipt import FileEntry


@contextlib.contextmanager
def new_folder(target: Path, need: int) -> Iterator[Path]:
    """A folder to fill, which becomes `target` when the block ends well, and vanishes when it does not.

    Refused where `target` has anything in it, before the block and after it; Lost where its disk has no `need` bytes.
    What calls that were killed have left beside it is removed.
    """
    target = target.absolute()
    folder = target.parent / f".{target.name}.part-{uuid.uuid4().hex}"
    try:
        with _held(target, folder, need):
            yield folder
            _require_free(target)
            os.replace(folder, target)
    except OSError as error:
        raise Lost(
            "the folder cannot be written", place=str(target), value=error, remedy="name one where you may write"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # after os.replace there is none


@contextlib.contextmanager
def _held(target: Path, folder: Path, need: int) -> Iterator[None]:
    """Make the folder beside the target, and hold a lock on it that tells other calls that we live."""
    _require_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target)
    _require_space(target.parent, need)
    folder.mkdir()
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # the kernel frees it, however we end
        yield
    finally:
        os.close(held)


def copy(source: Path, file: FileEntry, target: Path) -> None:
    """Copy a file, hashed on the way; Corrupt where it is not what its manifest says."""
    target.parent.mkdir(parents=True, exist_ok=True)
    sha = hashlib.sha256()
    with target.open("xb") as out:
        for block in file_blocks(source):
            sha.update(block)
            out.write(block)
    if sha.hexdigest() != file.sha256:
        raise Corrupt(
            "a file in this machine's cache is not what was committed",
            place=str(source),
            value=f"sha256 {sha.hexdigest()}, expected {file.sha256}",
            remedy="remove the folder `cache` in LUTHIER_HOME; it is filled again from the store",
        )


def _require_free(target: Path) -> None:
    empty = target.is_dir() and not target.is_symlink() and not any(target.iterdir())
    if os.path.lexists(target) and not empty:
        raise Refused(
            "there is something at the target already",
            place=str(target),
            remedy="name a folder that does not exist or is empty; nothing is ever overwritten",
        )


def _require_space(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if need > free:
        raise Lost(
            "the disk is too small for the model",
            place=str(folder),
            value=f"{need:,} bytes needed, {free:,} free",
            remedy="free some space, or name a folder on a larger disk",
        )


def _sweep(target: Path) -> None:
    for left in target.parent.glob(f".{target.name}.part-*"):
        held = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # its owner is at work
            continue
        finally:
            os.close(held)
        shutil.rmtree(left, ignore_errors=True)
