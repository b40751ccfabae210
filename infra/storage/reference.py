"""Weights that an artifact refers to instead of holding them: where they lie, and what each file of them must be.

The record is the file reference.json of the artifact. On a node the folder that is made of the artifact has the weights
in it all the same, so that whoever loads them need not know.
"""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import BadModel, Corrupt
from infra.frozen import Frozen, canonical
from infra.storage.objects import sha256_of
from infra.storage.receipt import FileEntry
from infra.storage.repository import Repository, require_whole

if TYPE_CHECKING:
    from infra.storage.cache import Cache

NAME = "reference.json"


class Reference(Frozen):
    """Files of `hub` (organisation/name at the commit `revision`), or of `bucket` (s3://bucket/folder, whose listing had
    the hash `revision`)."""

    hub: str = ""
    bucket: str = ""
    revision: str
    files: list[FileEntry]


def write(folder: Path, reference: Reference) -> None:
    """Put the record into an artifact that is being made."""
    (folder / NAME).write_bytes(canonical(reference.model_dump(mode="json")) + b"\n")


def resolve(folder: Path, cache: "Cache") -> None:
    """Lay the weights that a folder's record refers to beside it, every one checked; nothing where there is no record.

    A hub's come through the hub's own cache (HF_HOME) and are linked there; a bucket's through the node's. Raises Corrupt
    where a file is not what it was, BadModel or StoreRefused where there is no access, Unreachable where nobody answers.
    """
    record = folder / NAME
    if not record.exists():
        return
    reference = Reference.model_validate_json(record.read_bytes())
    if reference.hub:
        _from_hub(reference, folder, cache)
    else:
        _from_bucket(reference, folder, cache)


def _from_hub(reference: Reference, folder: Path, cache: "Cache") -> None:
    repository = Repository("model", reference.hub, BadModel, "base.model_name_or_path")
    for file in reference.files:
        path = repository.download(reference.revision, file.path).resolve()
        _check_once(path, file, cache.root / "checked" / file.sha256)
        target = folder / file.path
        target.unlink(missing_ok=True)
        target.symlink_to(path)  # 140 GB are neither copied nor, on another disk, linked otherwise


def _check_once(path: Path, file: FileEntry, mark: Path) -> None:
    """Hash a file of the hub's cache when it is first met or has changed: every stage of a run comes by here."""
    stat = path.stat()
    met = f"{stat.st_dev} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
    if mark.exists() and mark.read_text() == met:
        return
    require_whole(path, file.sha256)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(met)


def _from_bucket(reference: Reference, folder: Path, cache: "Cache") -> None:
    from infra.storage.s3 import S3Objects  # noqa: PLC0415 - a local store needs no S3 client

    bucket = S3Objects(reference.bucket)
    cache.require_space(reference.files)
    for file in reference.files:
        actual = cache.take(file, partial(bucket.blocks, file.path), folder / file.path)
        if actual != file.sha256:
            raise Corrupt(
                "a file in the bucket is not the one that was pinned",
                place=f"{reference.bucket}/{file.path}",
                value=f"sha256 {actual}, expected {file.sha256}",
                remedy="put it back; or run again with what is there now, which is another base",
            )


def differing(reference: Reference) -> Iterator[tuple[FileEntry, str]]:
    """The files that are not what they were, each with its hash now or, in words, why it has none.

    A bucket's are read. Of a hub's commit it is asked what it holds, and read is what of it lies on this machine: nothing
    is fetched. Raises as `resolve` does where nobody answers.
    """
    found = _in_hub(reference) if reference.hub else _in_bucket(reference)
    for file, actual in found:
        if actual != file.sha256:
            yield file, actual


def _in_bucket(reference: Reference) -> Iterator[tuple[FileEntry, str]]:
    from infra.storage.s3 import S3Objects  # noqa: PLC0415 - as above

    bucket = S3Objects(reference.bucket)
    for file in reference.files:
        sha = hashlib.sha256()
        try:
            for block in bucket.blocks(file.path):
                sha.update(block)
        except (FileNotFoundError, Corrupt):
            yield file, "missing"
            continue
        yield file, sha.hexdigest()


def _in_hub(reference: Reference) -> Iterator[tuple[FileEntry, str]]:
    repository = Repository("model", reference.hub, BadModel, "base.model_name_or_path")
    known = repository.files(reference.revision, deep=True)
    for file in reference.files:
        told, here = known.get(file.path), repository.here(reference.revision, file.path)
        if told is None:
            yield file, "missing"
        elif told.lfs and told.lfs.sha256 != file.sha256:
            yield file, str(told.lfs.sha256)
        elif here is not None:
            yield file, sha256_of(here)[1]
