"""Readers of JSONL, JSON, CSV, Parquet and plain text: every row with its place, one at a time, none trusted."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.errors import BadData
from tasks.data.layouts import Shape
from tasks.data.rows import BadRow, Found

MAX_LINE = 32 * 2**20  # bytes; a line is held in memory whole
MAX_JSON = 512 * 2**20  # bytes; a JSON list too, and as Python objects takes some ten times its size


def read(path: Path, name: str, shape: Shape) -> Iterator[Found]:
    """The rows of one file in order; places are `name:line`, in JSON and Parquet `name:row`, counted from 1.

    Rows that cannot be used come with a reason. BadData where the file as a whole cannot be read, has columns that
    are not known, or has no rows.
    """
    empty = True
    for found in _READERS[path.suffix.lower()](path, name, shape):
        empty = False
        yield found
    if empty:
        raise BadData("the file has no rows", place=name, remedy="remove it from the recipe, or fill it")


def _jsonl(path: Path, name: str, shape: Shape) -> Iterator[Found]:
    size, first = path.stat().st_size, True
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            place, share = f"{name}:{number}", file.tell() / size
            if len(line) > MAX_LINE:
                _skip_line(file, line)
                yield Found(place, share, reason=f"the line is longer than {MAX_LINE >> 20} MB")
                continue
            if not line.strip():
                continue
            try:
                value = json.loads(line.rstrip(b"\r\n").decode("utf-8-sig" if number == 1 else "utf-8"))
            except (ValueError, RecursionError) as error:
                yield Found(place, share, reason=_not_json(error))
                continue
            if first and isinstance(value, dict):
                shape.require(list(value), place)
                first = False
            yield _found(shape, value, place, share)


def _json(path: Path, name: str, shape: Shape) -> Iterator[Found]:
    if path.stat().st_size > MAX_JSON:
        raise BadData(
            f"a JSON list of more than {MAX_JSON >> 20} MB does not fit into memory",
            place=name,
            remedy="write one object a line, as .jsonl",
        )
    try:
        values = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise BadData(_not_json(error), place=name + line, remedy="a .json file holds one list of rows") from None
    if not isinstance(values, list):
        raise BadData(
            "the file holds no list of rows",
            place=name,
            value=type(values).__name__,
            remedy="write a list of objects, or one object a line as .jsonl",
        )
    if values and isinstance(values[0], dict):
        shape.require(list(values[0]), f"{name}:1")
    for number, value in enumerate(values, 1):
        yield _found(shape, value, f"{name}:{number}", number / len(values))


def _csv(path: Path, name: str, shape: Shape) -> Iterator[Found]:
    size, line = path.stat().st_size, 1
    csv.field_size_limit(MAX_LINE)
    with path.open("rb") as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        try:
            columns = next(reader, [])
            if columns:
                shape.require(columns, f"{name}:1")
            line = reader.line_num + 1
            for cells in reader:
                place, line = f"{name}:{line}", reader.line_num + 1
                if cells:
                    yield _from_cells(shape, columns, cells, place, file.tell() / size)
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadData(
                "the CSV cannot be read",
                place=f"{name}:{line}",
                value=error,
                remedy="save it as UTF-8 with a header line, quoting fields that hold commas, quotes or line breaks",
            ) from None


def _parquet(path: Path, name: str, shape: Shape) -> Iterator[Found]:
    import pyarrow  # noqa: PLC0415 - the other formats need no Arrow
    import pyarrow.parquet  # noqa: PLC0415

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            shape.require(file.schema_arrow.names, name)
            total, number = file.metadata.num_rows, 0
            for batch in file.iter_batches(batch_size=1024):
                for value in batch.to_pylist():
                    number += 1
                    yield _found(shape, value, f"{name}:{number}", number / total)
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        raise BadData(
            "the Parquet file cannot be read", place=name, value=error, remedy="check that it was written to its end"
        ) from None


def _txt(path: Path, name: str, shape: Shape) -> Iterator[Found]:
    """One document a file."""
    if path.stat().st_size > MAX_JSON:
        raise BadData(
            f"a document of more than {MAX_JSON >> 20} MB does not fit into memory",
            place=name,
            remedy='cut it into documents, one {"text": …} a line, as .jsonl',
        )
    shape.require(["text"], name)
    if data := path.read_bytes():
        try:
            yield _found(shape, {"text": data.decode("utf-8-sig")}, name, 1.0)
        except UnicodeDecodeError as error:
            yield Found(name, 1.0, reason=_not_json(error))


_READERS: dict[str, Callable[[Path, str, Shape], Iterator[Found]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
    ".txt": _txt,
}


def _found(shape: Shape, value: object, place: str, share: float) -> Found:
    try:
        return Found(place, share, shape.parse(value))
    except BadRow as error:
        return Found(place, share, reason=str(error))


def _from_cells(shape: Shape, columns: list[str], cells: list[str], place: str, share: float) -> Found:
    if len(cells) != len(columns):
        return Found(place, share, reason=f"has {len(cells)} fields, the header has {len(columns)}")
    try:
        value = shape.decoded(dict(zip(columns, cells, strict=True)))
    except (ValueError, RecursionError) as error:
        return Found(place, share, reason=f"a cell {_not_json(error)}")
    return _found(shape, value, place, share)


def _not_json(error: ValueError | RecursionError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 (byte {error.start}: {error.reason})"
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON ({error.msg} at column {error.colno})"
    return f"is not JSON ({error})"


def _skip_line(file: io.BufferedReader, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE)
