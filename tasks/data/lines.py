"""Readers of text: JSONL, JSON lists, CSV, TSV and documents. None holds more than one row."""

import codecs
import csv
import io
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from infra.errors import BadData
from tasks.data.reading import MAX_LINE, Part, Reading, step
from tasks.data.rows import Found, sample

MAX_DOCUMENT = 64 * 2**20  # bytes; as characters of four bytes each it is four times that
MANY = 2**20  # bytes of a line from which on its objects are counted before they are made
MAX_OBJECTS = 2**21  # lists and objects in one line; each takes some 80 bytes
BUFFER = 2**20  # bytes

_BOM = codecs.BOM_UTF8
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def line_parts(path: Path, _name: str) -> list[Part]:
    """A file of lines, cut where lines end: a line belongs to the part in which it starts."""
    size = path.stat().st_size
    edges = [0]
    with path.open("rb") as file:
        for nominal in range(step(size), size, step(size)):
            if nominal < edges[-1]:
                continue  # one line spans several parts
            file.seek(nominal - 1)
            while (piece := file.readline(BUFFER)) and not piece.endswith(b"\n"):
                continue
            if file.tell() > edges[-1]:
                edges.append(file.tell())
    if edges[-1] < size or len(edges) == 1:
        edges.append(size)
    return [Part(a, b, size) for a, b in pairwise(edges)]


def jsonl(reading: Reading) -> Iterator[Found]:
    """One JSON value a line; a line that holds none is a bad row."""
    part, number, unseen = reading.part, 0, reading.part.start == 0
    at, stop = part.start, part.stop
    with reading.path.open("rb", buffering=BUFFER) as file:
        file.seek(at)
        while at < stop and (line := file.readline(MAX_LINE + 1)):
            number += 1
            at += len(line)
            reading.lines, reading.done = number, at - part.start
            if len(line) > MAX_LINE:
                at += _skip_line(file, line)
                reading.done = at - part.start
                yield Found(number, reason=f"the line is longer than {MAX_LINE >> 20} MB", sample=sample(line))
                continue
            try:
                value = _value(line)
            except (ValueError, RecursionError) as error:
                if line.strip():
                    yield Found(number, reason=not_json(error), sample=sample(line))
                continue
            if unseen and isinstance(value, dict):
                reading.shape.require(list(value), f"{reading.name}:{number}")
                unseen = False
            yield reading.found(number, value, line)


def _value(line: bytes) -> Any:
    """The value in a line. What orjson refuses (half characters, NaN, a byte order mark) the slower parser decides."""
    if len(line) > MANY and line.count(b"[") + line.count(b"{") > MAX_OBJECTS:
        raise ValueError("it holds too many lists and objects")
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return json.loads(line.removeprefix(_BOM).rstrip(b"\r\n").decode())


def json_list(reading: Reading) -> Iterator[Found]:
    """The rows of one JSON list of any length."""
    number = 0
    with reading.path.open("rb") as file:
        for value in _Elements(file, reading):
            number += 1
            if number == 1 and isinstance(value, dict):
                reading.shape.require(list(value), f"{reading.name}:1")
            reading.lines, reading.done = number, file.tell()
            yield reading.found(number, value)


class _Elements:
    """The elements of a JSON list, decoded one at a time from a window of the file."""

    def __init__(self, file: io.BufferedReader, reading: Reading) -> None:
        self._file, self._reading = file, reading
        self._decode = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._line, self._ended = "", 0, 1, False

    def __iter__(self) -> Iterator[Any]:
        if self._next() != "[":
            raise (
                BadData(
                    "the file holds no list of rows",
                    place=self._reading.name,
                    value=self._text[self._at : self._at + 40],
                    remedy="write a list of objects, or one object a line as .jsonl",
                )
                if self._text[self._at :].strip()
                else self._wrong("it is empty")
            )
        self._at += 1
        if self._next() != "]":
            yield self._element()
            while (sign := self._next()) == ",":
                self._at += 1
                self._next()
                yield self._element()
            if sign != "]":
                raise self._wrong("Expecting ',' delimiter" if sign else "its end is missing")
        self._at += 1
        if self._next():
            raise self._wrong("there is more behind the list")

    def _next(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            end = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches nothing too
            self._line += self._text.count("\n", self._at, end)
            self._at = end
            if end < len(self._text):
                return self._text[end]
            if not self._more(BUFFER):
                return ""

    def _element(self) -> Any:
        wanted = BUFFER
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended:  # a number might go on
                    self._line += self._text.count("\n", self._at, end)
                    self._at = end
                    return value
            except RecursionError as error:
                raise self._wrong(str(error)) from None
            except json.JSONDecodeError as error:
                if self._ended:
                    self._line += self._text.count("\n", self._at, error.pos)
                    raise self._wrong(error.msg) from None
            if len(self._text) - self._at > MAX_LINE:
                raise self._wrong(f"a row is longer than {MAX_LINE >> 20} MB, or its end is missing")
            self._more(wanted)
            wanted *= 2  # a long row is tried a few times and not once a block

    def _more(self, size: int) -> bool:
        """Whether there was more of the file."""
        data = self._file.read(size)
        self._ended = not data
        try:
            text = self._decode.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise self._wrong(not_json(error)) from None
        self._text, self._at = self._text[self._at :] + text, 0
        return not self._ended

    def _wrong(self, why: str) -> BadData:
        return BadData(
            why if why.startswith("is not") else f"is not JSON ({why})",
            place=f"{self._reading.name}:{self._line}",
            remedy="a .json file holds one list of rows",
        )


def cells(reading: Reading) -> Iterator[Found]:
    """CSV, or TSV by the file's name; a row's line is the one in which it starts."""
    csv.field_size_limit(MAX_LINE)
    delimiter = "\t" if reading.kind == ".tsv" else ","
    with reading.path.open("rb") as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        lines = _Lines(text)
        reader = csv.reader(iter(lines), strict=True, delimiter=delimiter)
        try:
            columns = next(reader, [])
            if columns:
                reading.shape.require(columns, f"{reading.name}:1")
            reading.lines = reader.line_num
            for found in reader:
                line, lines.held = reading.lines + 1, 0
                reading.lines, reading.done = reader.line_num, file.tell()
                if found:
                    yield _from_cells(reading, columns, found, line)
        except (csv.Error, UnicodeDecodeError) as error:
            line = _undecodable(reading.path) if isinstance(error, UnicodeDecodeError) else reading.lines + 1
            raise BadData(
                "the CSV cannot be read",
                place=f"{reading.name}:{line}",
                value=error,
                remedy="save it as UTF-8 with a header line, quoting fields that hold commas, quotes or line breaks",
            ) from None


def _undecodable(path: Path) -> int:
    """The first line that is not UTF-8. Text is decoded in blocks, so that many lines may wait behind it."""
    decoder, number = codecs.getincrementaldecoder("utf-8")(), 1
    with path.open("rb") as file:
        while piece := file.readline(BUFFER):
            try:
                decoder.decode(piece)
            except UnicodeDecodeError:
                break
            number += piece.endswith(b"\n")
    return number


class _Lines:
    """The lines of a text; csv.Error where one, or the row that goes on over many, is longer than a row may be."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text, self.held = text, 0

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(MAX_LINE + 1):
            self.held += len(line)
            if self.held > MAX_LINE:
                raise csv.Error(f"a row is longer than {MAX_LINE >> 20} MB; is a quote left open?")
            if "\0" in line:
                raise csv.Error("it holds NUL bytes, so it is no text in UTF-8")
            yield line


def _from_cells(reading: Reading, columns: list[str], found: list[str], line: int) -> Found:
    if len(found) != len(columns):
        return Found(line, reason=f"has {len(found)} fields, the header has {len(columns)}", sample=sample(found))
    try:
        value = reading.shape.decoded(dict(zip(columns, found, strict=True)))
    except (ValueError, RecursionError) as error:
        return Found(line, reason=f"a cell {not_json(error)}", sample=sample(found))
    return reading.found(line, value)


def document(reading: Reading) -> Iterator[Found]:
    """One document a file."""
    if reading.path.stat().st_size > MAX_DOCUMENT:
        raise BadData(
            f"a document of more than {MAX_DOCUMENT >> 20} MB does not fit into memory",
            place=reading.name,
            remedy='cut it into documents, one {"text": …} a line, as .jsonl',
        )
    reading.shape.require(["text"], reading.name)
    if data := reading.path.read_bytes():
        reading.lines, reading.done = 1, len(data)
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            yield Found(1, reason=not_json(error), sample=sample(data))
            return
        if "\0" in text:
            yield Found(1, reason="holds NUL bytes: is it text?", sample=sample(data))
        else:
            yield reading.found(1, {"text": text}, data)


def not_json(error: ValueError | RecursionError) -> str:
    """What a row is not, for people."""
    if isinstance(error, UnicodeDecodeError):
        return f"is not UTF-8 (byte {error.start}: {error.reason})"
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON ({error.msg} at column {error.colno})"
    return f"is not JSON ({error})"


def _skip_line(file: BinaryIO, line: bytes) -> int:
    skipped = 0
    while line and not line.endswith(b"\n"):
        line = file.readline(BUFFER)
        skipped += len(line)
    return skipped
