"""A base model in a bucket: pinned by the ETags of its files, and fetched file by file."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from infra.errors import BadModel
from infra.frozen import digest
from infra.storage.receipt import FileEntry
from infra.storage.reference import Reference
from infra.storage.s3 import S3Objects
from tasks.base import origin

Entries = dict[str, tuple[int, str]]  # size and ETag by name


def revision(uri: str, wanted: str | None) -> str:
    """One hash over names and ETags of the files there; BadModel where no model is, or another than is wanted."""
    return _pin(uri, _entries(uri), wanted)


def fetch(uri: str, at: str, folder: Path, *, wanted: Callable[[str], bool], on_file: origin.OnFile) -> Path:
    """The folder, filled with the files whose names are wanted, if all is as it was pinned.

    Calls `on_file(name, number, count)` before each file. BadModel or Corrupt where something changed meanwhile.
    """
    entries = _entries(uri)
    _pin(uri, entries, at)
    names = [name for name in sorted(entries) if wanted(name)]
    folder.mkdir()
    bucket = S3Objects(uri)
    for number, name in enumerate(names):
        on_file(name, number, len(names))
        with (folder / name).open("wb") as file:
            file.writelines(bucket.blocks(name, entries[name][1]))
    return folder


def refer(uri: str, at: str, folder: Path, on_file: origin.OnFile) -> Reference:
    """The files of weights that the texts in `folder` ask for. Each is read once for its sha256, and kept nowhere.

    Calls `on_file(name, number, count)` before each. BadModel where one is missing or something has changed.
    """
    entries = _entries(uri)
    _pin(uri, entries, at)
    bucket, names, files = S3Objects(uri), origin.shard_names(folder), []
    for number, name in enumerate(names):
        if name not in entries:
            raise BadModel("a file with weights is missing", place=uri, value=name)
        on_file(name, number, len(names))
        bytes_, etag = entries[name]
        sha = hashlib.sha256()
        for block in bucket.blocks(name, etag):
            sha.update(block)
        files.append(FileEntry(path=name, size=bytes_, sha256=sha.hexdigest()))
    return Reference(bucket=uri, revision=at, files=files)


def size(uri: str) -> int:
    """Bytes of all the files there."""
    return sum(bytes_ for bytes_, _ in _entries(uri).values())


def _entries(uri: str) -> Entries:
    """Folders inside are not the model's."""
    there = {name: entry for name, entry in S3Objects(uri).entries("").items() if "/" not in name}
    if "config.json" not in there:
        raise BadModel(
            "there is no model in Hugging Face layout",
            place=origin.PLACE,
            value=f"{uri}: {', '.join(sorted(there))[:200] or 'nothing is there'}",
            remedy="name the prefix that holds config.json and *.safetensors",
        )
    return there


def _pin(uri: str, entries: Entries, wanted: str | None) -> str:
    found = digest([[name, etag] for name, (_, etag) in sorted(entries.items())])
    if wanted not in (None, found):
        raise BadModel(
            "the files in the bucket are not those that were pinned",
            place=f"base.revision, {uri}",
            value=f"{wanted}, found {found}",
            remedy="put the files back, or take what is found as base.revision; without one, what is there is pinned",
        )
    return found
