"""What lies in a store and since when, page by page: for those who look at all of it."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from infra.storage.objects import LocalObjects, Objects

if TYPE_CHECKING:
    from infra.storage.s3 import S3Objects

_LISTED = {"ContinuationToken": "NextContinuationToken"}
_UPLOADED = {"KeyMarker": "NextKeyMarker", "UploadIdMarker": "NextUploadIdMarker"}


class Seen(NamedTuple):
    """An object, and when it was written last by the store's own clock (seconds since 1970)."""

    key: str
    size: int
    changed: float


class Unfinished(NamedTuple):
    """An upload that was begun and not ended; `id` is what the store calls it."""

    key: str
    id: str
    begun: float


def now(objects: Objects) -> float:
    """Seconds since 1970 by the store's clock, which need not be this machine's."""
    return _folders(objects) if isinstance(objects, LocalObjects) else _s3(objects).clock().timestamp()


def _folders(objects: LocalObjects) -> float:
    """The time that the file system, perhaps another machine's, gives to what is written now."""
    objects.root.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=objects.root, prefix=".part-") as probe:
        probe.write(b"now")
        probe.flush()
        return os.fstat(probe.fileno()).st_mtime


def seen(objects: Objects, prefix: str) -> Iterator[Seen]:
    """All objects whose key starts with `prefix`, in bounded memory."""
    if not isinstance(objects, LocalObjects):
        client = _s3(objects)
        for item in _pages(client, "list_objects_v2", "Contents", _LISTED, prefix):
            yield Seen(item["Key"].removeprefix(client.prefix), int(item["Size"]), item["LastModified"].timestamp())
        return
    for path, stat in _files(objects, prefix):
        if not path.name.startswith("."):
            yield Seen(path.relative_to(objects.root).as_posix(), stat.st_size, stat.st_mtime)


def unfinished(objects: Objects) -> Iterator[Unfinished]:
    """Uploads below this root that were begun and not ended; on a folder, temporary files that were left. StoreRefused
    where the server does not let them be listed."""
    if not isinstance(objects, LocalObjects):
        client = _s3(objects)
        for item in _pages(client, "list_multipart_uploads", "Uploads", _UPLOADED, ""):
            if str(item["Key"]).startswith(client.prefix):  # not every server heeds the prefix
                key = str(item["Key"]).removeprefix(client.prefix)
                yield Unfinished(key, str(item["UploadId"]), item["Initiated"].timestamp())
        return
    for path, stat in _files(objects, ""):
        if path.name.startswith(".part-"):
            at = path.relative_to(objects.root).as_posix()
            yield Unfinished(at, at, stat.st_mtime)


def abort(objects: Objects, upload: Unfinished) -> None:
    """End an upload; one that is over by now is fine."""
    if isinstance(objects, LocalObjects):
        objects.delete(upload.key)
    else:
        client = _s3(objects)
        client._abort(client.prefix + upload.key, upload.id)


def _s3(objects: Objects) -> "S3Objects":
    return cast("S3Objects", objects)


def _pages(
    client: "S3Objects", method: str, field: str, tokens: Mapping[str, str], prefix: str
) -> Iterator[dict[str, Any]]:
    more: dict[str, str] = {}
    while True:
        page = client._call(method, Prefix=client.prefix + prefix, **more)
        yield from page.get(field) or []
        if not page.get("IsTruncated"):
            return
        more = {name: page[token] for name, token in tokens.items() if page.get(token)}


def _files(objects: LocalObjects, prefix: str) -> Iterator[tuple[Path, os.stat_result]]:
    folder, _, start = prefix.rpartition("/")
    top = objects.root / folder
    for parent, folders, names in os.walk(top):
        inside = Path(parent) != top
        folders[:] = sorted(name for name in folders if inside or name.startswith(start))
        for name in sorted(names):
            if inside or name.startswith(start):
                path = Path(parent) / name
                try:
                    yield path, path.stat()
                except FileNotFoundError:  # deleted since its folder was read
                    continue
