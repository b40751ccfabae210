"""The files that a recipe names: found, pinned by content, brought to this machine."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import JsonValue

from infra.errors import BadData, BadRecipe, Corrupt, Lost
from infra.storage import hub_files, snapshots, sources
from infra.storage.objects import file_blocks, sha256_of
from infra.storage.receipt import Origin
from infra.storage.sources import Listed
from tasks.data import named
from tasks.data.config import DataConfig, Source
from tasks.data.packed import unpacked

log = logging.getLogger(__name__)

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".txt", ".md")
PACKED = (".gz", ".zst")
_COLUMNS = (".parquet", ".arrow", ".feather")  # packed inside, where they are
DOCUMENTS = (".txt", ".md")
_BESIDE_ARROW = ("dataset_info.json", "state.json", "dataset_dict.json")  # what datasets' save_to_disk writes too
_ABOUT = ("readme", "license", "licence", "notice", "copying", "citation", "changelog")  # and .md or .txt, or neither


@dataclass(frozen=True)
class Pinned:
    """A source file and what it holds; `short` is the name that reports use, `kind` the suffix that says how to read it."""

    file: Listed
    short: str
    sha256: str
    kind: str

    @property
    def uri(self) -> str:
        """The path or s3:// name."""
        return self.file.uri

    @property
    def size(self) -> int:
        """Bytes as it lies there, packed or not."""
        return self.file.size


def files(names: list[str], field: str) -> list[Listed]:
    """Every file that the names of one field mean, in order; BadRecipe where one is missing or of an unknown kind.

    In folders, globs and prefixes, pages about the rows (README.md, LICENSE) and what lies beside Arrow files are not rows.
    """
    found = [file for name in names for file in _meant(name, field)]
    for file in found:
        if not _is_known(file.uri):
            raise BadRecipe(
                "this kind of file is not known",
                place=field,
                value=file.uri,
                remedy=f"rows come as {', '.join(SUFFIXES)}, or one of the texts among these with .gz or .zst behind; name the files by a glob if others lie beside them",
            )
    return found


def _meant(name: str, field: str) -> list[Listed]:
    found = sources.listed(name, field)
    if [file.uri for file in found] == [name]:
        return found
    arrow = any(suffix(file.uri) == ".arrow" for file in found)
    kept = [file for file in found if not _beside(PurePosixPath(file.uri), arrow)]
    if name.startswith("hf://"):
        kept = _rows_of_a_repository(name, kept, field)
    if len(kept) < len(found):
        left = sorted({file.uri for file in found} - {file.uri for file in kept})
        log.info("%s: %d files are about the rows and hold none: %s", field, len(left), ", ".join(left[:5]))
    return kept or found


def _rows_of_a_repository(name: str, found: list[Listed], field: str) -> list[Listed]:
    """Where a data set is named without a path: the files of known kinds in its folder data, else in its top folder;
    documents only where there is nothing else. BadData where there are none: its loading script is not run.
    """
    repo_id, _, path = hub_files.split(name, field)
    if path:
        return found
    inside = {file.uri.removeprefix("hf://datasets/").split("/", 2)[2]: file for file in found if _is_known(file.uri)}
    some = {at: file for at, file in inside.items() if at.startswith("data/")}
    some = some or {at: file for at, file in inside.items() if "/" not in at}
    chosen = [file for at, file in some.items() if suffix(at) not in DOCUMENTS] or list(some.values())
    if not chosen:
        raise BadData(
            "the data set has no files of rows in data/ or in its top folder, and a loading script is not run",
            place=field,
            value=f"{name}: {', '.join(file.uri.rpartition('/')[2] for file in found)[:300]}",
            remedy=f"name a path or glob: {name}/train/*.jsonl; the hub may have made Parquet of it: hf://datasets/{repo_id}@refs/convert/parquet/default/train",
        )
    log.info("%s: %s means %s; a path or glob behind it chooses", field, name, ", ".join(file.uri for file in chosen))
    return chosen


def _is_known(file: str) -> bool:
    return suffix(file) in SUFFIXES and not (_packing(file) and suffix(file) in _COLUMNS)


def _beside(path: PurePosixPath, arrow: bool) -> bool:
    about = path.stem.lower() in _ABOUT and path.suffix.lower() in ("", ".md", ".txt")
    return about or path.name == "dataset_infos.json" or (arrow and path.name in _BESIDE_ARROW)


def pinned(names: list[str], field: str) -> list[Pinned]:
    """The files of one field with the hash of each. Costs a listing; only files that are new or changed are read."""
    found = files(names, field)
    hashes = snapshots.sha256(found)
    return [Pinned(*item, suffix(item[0].uri)) for item in zip(found, _short(found), hashes, strict=True)]


def at_commit(config: DataConfig) -> DataConfig:
    """The section with data sets on a hub at the commit that their branch means now, so that a worker reads the same."""
    return config.model_copy(
        update={
            "train_files": _at_commit(config.train_files, "data.train_files"),
            "validation_files": config.validation_files
            and _at_commit(config.validation_files, "data.validation_files"),
        }
    )


def _at_commit(entries: list[str | Source], field: str) -> list[str | Source]:
    def pin(name: str) -> str:
        return hub_files.at_commit(name, field) if name.startswith(hub_files.SCHEME) else name

    return [
        pin(entry)
        if isinstance(entry, str)
        else entry.model_copy(update={"files": [pin(name) for name in entry.files]})
        for entry in entries
    ]


def material(config: DataConfig) -> dict[str, JsonValue]:
    """What the key needs of the sources: their contents and kinds, not their names."""
    made: dict[str, JsonValue] = {
        side: contents(given, validation)
        for side, validation in (("train", False), ("validation", True))
        if (given := config.sources(validation))
    }
    if config.chat_template is not None:
        made["chat_template"] = sources.pin(_template(config.chat_template))
    return made


def check(config: DataConfig) -> None:
    """Refuse names that mean no file, or files of no known kind. They are listed, and not read."""
    for validation in (True, False):
        for source in config.sources(validation):
            files(source.files, _field(validation))
    if config.chat_template is not None:
        _template(config.chat_template)


def _template(name: str) -> list[str]:
    """The file of a chat template; BadRecipe tells which ship where there is none."""
    try:
        return sources.expand(named.path(name), "data.chat_template")
    except BadRecipe as error:
        remedy = f"{error.remedy}; the names of those that ship are {', '.join(named.NAMES)}"
        raise BadRecipe(error.what, place=error.place, value=error.value, remedy=remedy) from None


def contents(given: list[Source], validation: bool) -> JsonValue:
    """What some sources hold, and how they are read."""
    return [
        {"files": [[file.sha256, file.kind] for file in of(source, validation)], **source.material()}
        for source in given
    ]


def of(source: Source, validation: bool) -> list[Pinned]:
    """The files of a source of either side."""
    return pinned(source.files, _field(validation))


def _field(validation: bool) -> str:
    return f"data.{'validation' if validation else 'train'}_files"


@contextmanager
def local(file: Pinned, scratch: Path) -> Iterator[Path]:
    """The file on this machine, as `fetch` has it; a copy is removed once it was used."""
    path = fetch(file, scratch)
    try:
        yield path
        require_unchanged(file.file)
    finally:
        if path.parent == scratch:
            path.unlink(missing_ok=True)


def origins(config: DataConfig) -> list[Origin]:
    """Every source file of both sides, with what it holds."""
    found = [file for side in (False, True) for source in config.sources(side) for file in of(source, side)]
    return [Origin(uri=file.uri, size=file.size, sha256=file.sha256) for file in found]


def fetch(file: Pinned, scratch: Path) -> Path:
    """The file on this machine as its reader wants it: a copy in `scratch` where it lies elsewhere or is packed.

    Lost where it is not, or is no longer, what was pinned: its hash is taken of the bytes that come.
    """
    path = None if _packing(file.uri) else sources.fetched(file.uri, file.file.stamp)
    if path is not None:
        _require(file, sha256_of(path)[1])
        return path
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / f"{file.sha256[:16]}{file.kind}"
    if not path.exists():
        try:
            _copy(file, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path


def part_sha256(path: Path, start: int, stop: int) -> str:
    """The sha256 (hex) of a range of a file's bytes."""
    hashed = hashlib.sha256()
    for block in file_blocks(path, start=start, stop=stop):
        hashed.update(block)
    return hashed.hexdigest()


def require_unchanged(file: Listed) -> None:
    """Lost where a file on this machine is no longer what a listing said of it."""
    if "://" not in file.uri and sources.stamped(Path(file.uri)) != file:
        raise _changed(file.uri)


def _copy(file: Pinned, path: Path) -> None:
    hashed = hashlib.sha256()

    def blocks() -> Iterator[bytes]:
        for block in sources.blocks(file.uri, file.file.stamp):
            hashed.update(block)
            yield block

    packing = _packing(file.uri)
    try:
        with path.open("wb") as target:
            target.writelines(unpacked(blocks(), packing, file.short) if packing else blocks())
    except (Corrupt, FileNotFoundError):
        raise _changed(file.uri) from None
    _require(file, hashed.hexdigest())


def _require(file: Pinned, found: str) -> None:
    if found != file.sha256:
        snapshots.forget(file.file)
        raise _changed(file.uri)


def _changed(uri: str) -> Lost:
    return Lost("a source file changed while it was read", place=uri, remedy="run it once it rests")


def text(name: str, field: str) -> str:
    """A small text file, or the chat template of that name; BadRecipe where it is not UTF-8."""
    data = b"".join(block for file in sources.expand(named.path(name), field) for block in sources.blocks(file))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadRecipe(
            "the file is not UTF-8 text", place=field, value=f"{name}: {error}", remedy="save it as UTF-8"
        ) from None


def suffix(file: str) -> str:
    """The lower-case ending that says how to read a file, packed or not."""
    return PurePosixPath(file.lower().removesuffix(_packing(file))).suffix


def _packing(file: str) -> str:
    """The lower-case ending that says how a file is packed, empty where it is not."""
    return next((packing for packing in PACKED if file.lower().endswith(packing)), "")


def _short(found: list[Listed]) -> list[str]:
    # Reports go into the artifact, so they show no folder of this machine unless two names would be the same.
    names = [PurePosixPath(file.uri) for file in found]
    bare = [name.name for name in names]
    return (
        bare if len(set(bare)) == len({file.uri for file in found}) else ["/".join(name.parts[-2:]) for name in names]
    )
