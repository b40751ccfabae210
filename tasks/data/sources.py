"""The files that a recipe names: found, pinned by content, brought to this machine."""

import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pydantic import JsonValue

from infra.errors import BadData, BadRecipe
from infra.storage import sources
from infra.storage.objects import BLOCK
from tasks.data.config import DataConfig

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".txt")
UNPACKED, RATIO = 2**30, 200  # bytes that any .gz may unpack to, and times its size beyond that; text packs to a tenth


def files(names: list[str], field: str) -> list[str]:
    """Every file that the names of one field mean, in order; BadRecipe where one is missing or of an unknown kind."""
    found = [file for name in names for file in sources.expand(name, field)]
    for file in found:
        if suffix(file) not in SUFFIXES:
            raise BadRecipe(
                "this kind of file is not known",
                place=field,
                value=file,
                remedy=f"rows come as {', '.join(SUFFIXES)}, or one of these with .gz behind; name the files by a glob if others lie beside them",
            )
    return found


def material(config: DataConfig) -> dict[str, JsonValue]:
    """What the key needs of the sources: their contents and kinds, not their names."""
    made: dict[str, JsonValue] = {"train": _pin(files(config.train_files, "data.train_files"))}
    if config.validation_files is not None:
        made["validation"] = _pin(files(config.validation_files, "data.validation_files"))
    if config.chat_template is not None:
        made["chat_template"] = sources.pin(sources.expand(config.chat_template, "data.chat_template"))
    return made


def fetched(names: list[str], field: str, scratch: Path) -> Iterator[tuple[str, Path]]:
    """Each file of a field with the name that reports use, lying on this machine as its reader wants it.

    What lies on s3:// or is packed is copied to `scratch`, and removed once it was used.
    """
    found = files(names, field)
    for number, (file, short) in enumerate(zip(found, _short(found), strict=True)):
        if not file.startswith("s3://") and not _packed(file):
            yield short, Path(file)
            continue
        scratch.mkdir(parents=True, exist_ok=True)
        copy = scratch / f"{number}{suffix(file)}"
        with copy.open("wb") as target:
            target.writelines(_unpacked(file, short) if _packed(file) else sources.blocks(file))
        yield short, copy
        copy.unlink()


def _packed(file: str) -> bool:
    return file.lower().endswith(".gz")


def _unpacked(file: str, short: str) -> Iterator[bytes]:
    """The content of a .gz file, in one or several members, in bounded blocks; BadData where it is damaged or a bomb."""
    read, made, member = 0, 0, zlib.decompressobj(wbits=31)
    try:
        for block in sources.blocks(file):
            read += len(block)
            while block:
                if member.eof:
                    member = zlib.decompressobj(wbits=31)
                yield (data := member.decompress(block, BLOCK))
                made += len(data)
                block = member.unconsumed_tail or member.unused_data  # noqa: PLW2901
                if made > UNPACKED + RATIO * read:
                    raise BadData(
                        "the file unpacks to far more than rows do", place=short, value=f"over {made:,} bytes"
                    )
    except zlib.error as error:
        raise BadData("the file is no whole .gz", place=short, value=error, remedy="pack it again") from None
    if not member.eof:
        raise BadData("the file is no whole .gz", place=short, value="its end is missing", remedy="pack it again")


def text(name: str, field: str) -> str:
    """A small text file; BadRecipe where it is not UTF-8."""
    data = b"".join(block for file in sources.expand(name, field) for block in sources.blocks(file))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadRecipe(
            "the file is not UTF-8 text", place=field, value=f"{name}: {error}", remedy="save it as UTF-8"
        ) from None


def suffix(file: str) -> str:
    """The lower-case ending that says how to read a file, packed or not."""
    return PurePosixPath(file.lower().removesuffix(".gz")).suffix


def _pin(found: list[str]) -> JsonValue:
    return {"content": sources.pin(found), "kinds": [suffix(file) for file in found]}


def _short(found: list[str]) -> list[str]:
    # Reports go into the artifact, so they show no folder of this machine unless two names would be the same.
    names = [PurePosixPath(file) for file in found]
    bare = [name.name for name in names]
    return bare if len(set(bare)) == len(set(found)) else ["/".join(name.parts[-2:]) for name in names]
