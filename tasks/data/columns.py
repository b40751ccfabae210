"""Readers of Parquet and Arrow files, whole or by row groups and record batches; a file's claims are not believed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.errors import BadData
from tasks.data.padding import padded, unpadded
from tasks.data.reading import MAX_LINE, Part, Reading, grouped
from tasks.data.rows import Found

AT_ONCE = 16  # rows that are Python objects at once: as fast as a thousand, and 16 huge ones still fit
SAFE, DENSE = 8 * 2**20, 50  # bytes of a row group that need no second look; beyond, bytes unpacked of a packed one
UNPACKED = 256 * 2**20  # bytes that a row group denser than that may unpack to
VALUES = 2**25  # of one column in one row group: lists of nothing cost a file almost no byte
END = b"\xff\xff\xff\xff\0\0\0\0"  # of an Arrow stream (Arrow Columnar Format, IPC Streaming Format)


def group_parts(path: Path, name: str) -> list[Part]:
    """A Parquet file, cut between row groups."""
    with _readable(name, "Parquet"), _parquet_file(path) as file:
        about = file.metadata
        return grouped([about.row_group(at).total_byte_size for at in range(about.num_row_groups)])


def parquet(reading: Reading) -> Iterator[Found]:
    """The rows of some row groups."""
    number = 0
    with _readable(reading.name, "Parquet"), _parquet_file(reading.path) as file:
        if reading.part.start == 0:
            reading.shape.require(file.schema_arrow.names, reading.name)
        columns = padded(file.schema_arrow)
        for at in range(reading.part.start, reading.part.stop):
            about = file.metadata.row_group(at)
            batches = file.iter_batches(_at_once(about, reading.name), row_groups=[at], use_threads=False)
            for batch in batches:
                for value in _values(batch, batch.num_rows):
                    number += 1
                    yield _found(reading, number, value, columns)
                reading.done += batch.num_rows / max(1, about.num_rows)


def batch_parts(path: Path, name: str) -> list[Part]:
    """An Arrow file or stream, cut between record batches."""
    with _readable(name, "Arrow"), _Batches(path, name) as batches:
        return grouped([batch.nbytes for batch in batches.between(0, None)])


def arrow(reading: Reading) -> Iterator[Found]:
    """The rows of some record batches of an Arrow file, as feather is one, or stream, as `save_to_disk` writes it."""
    number = 0
    with _readable(reading.name, "Arrow"), _Batches(reading.path, reading.name) as batches:
        if reading.part.start == 0:
            reading.shape.require(batches.schema.names, reading.name)
        columns = padded(batches.schema)
        for batch in batches.between(reading.part.start, reading.part.stop):
            batch.validate(full=True)  # offsets that lead elsewhere would be followed
            for value in _values(batch, 1 if batches.shared and batch.nbytes > MAX_LINE else AT_ONCE):
                number += 1
                yield _found(reading, number, value, columns)
            reading.done += 1


class _Batches:
    """An open Arrow file or stream; nothing of it is read into memory before it is looked at."""

    def __init__(self, path: Path, name: str) -> None:
        import pyarrow.ipc  # noqa: PLC0415 - the other formats need no Arrow

        self._source = pyarrow.memory_map(str(path))
        head = self._source.read(6)
        self._source.seek(0)
        if head[:4] == b"FEA1":
            raise BadData(
                "feather version 1 is not read", place=name, remedy="write it anew: version 2 is an Arrow file"
            )
        if head == b"ARROW1":
            self._reader: Any = pyarrow.ipc.open_file(self._source)
        else:
            _require_end(path, name)
            self._reader = pyarrow.ipc.open_stream(self._source)
        self._is_stream = head != b"ARROW1"
        self.schema = self._reader.schema
        self.shared = any(_shares(field.type) for field in self.schema)

    def __enter__(self) -> "_Batches":
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def between(self, start: int, stop: int | None) -> Iterator[Any]:
        """The record batches of a range, which end where the file does."""
        if not self._is_stream:
            last = self._reader.num_record_batches
            yield from (self._reader.get_batch(at) for at in range(start, last if stop is None else min(stop, last)))
            return
        for at, batch in enumerate(self._reader):
            if at == stop:
                return
            if at >= start:
                yield batch


def _require_end(path: Path, name: str) -> None:
    """A stream that was cut between two batches looks whole but for its end."""
    with path.open("rb") as file:
        file.seek(-min(len(END), path.stat().st_size), 2)
        if file.read() != END:
            raise BadData(
                "the Arrow file cannot be read",
                place=name,
                value="its end is missing",
                remedy="check that it was written to its end, and its writer closed",
            )


def _shares(kind: Any) -> bool:
    """Whether values of this type, or of one inside it, may share their bytes, so that few bytes hold many values."""
    name = str(kind)
    return "dictionary<" in name or "view" in name or "run_end_encoded<" in name


def _at_once(about: Any, name: str) -> int:
    """How many rows of a row group may be read at once; BadData where it unpacks to far more than rows do."""
    columns = [about.column(at) for at in range(about.num_columns)]
    unpacked = sum(column.total_uncompressed_size for column in columns)
    packed = max(1, sum(column.total_compressed_size for column in columns))
    values = max((column.num_values for column in columns), default=0)
    dense = unpacked > DENSE * packed
    if values > VALUES or (dense and unpacked > UNPACKED):
        raise BadData(
            "a row group unpacks to far more than rows do",
            place=name,
            value=f"{unpacked:,} bytes and {values:,} values of {packed:,} bytes",
            remedy="write it anew, with smaller row groups",
        )
    return 1 if dense and unpacked > SAFE else AT_ONCE


def _values(batch: Any, rows: int) -> Iterator[Any]:
    """The rows of a batch as Python objects; in place of one that cannot be such an object, a str says why."""
    for start in range(0, batch.num_rows, rows):
        some = batch.slice(start, rows)
        if some.nbytes <= MAX_LINE:
            try:
                yield from some.to_pylist()
                continue
            except UnicodeDecodeError:
                pass  # one of them is to blame
        for at in range(some.num_rows):
            yield _value(some.slice(at, 1))


def _value(row: Any) -> Any:
    if row.nbytes > MAX_LINE:
        return f"the row is larger than {MAX_LINE >> 20} MB"
    try:
        return row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return f"is not UTF-8 (byte {error.start}: {error.reason})"


def _found(reading: Reading, number: int, value: Any, columns: list[str]) -> Found:
    reading.lines = number
    if isinstance(value, str):
        return Found(number, reason=value)
    value.update((column, unpadded(value[column])) for column in columns)
    return reading.found(number, value)


def _parquet_file(path: Path) -> Any:
    import pyarrow.parquet  # noqa: PLC0415 - the other formats need no Arrow

    return pyarrow.parquet.ParquetFile(path, buffer_size=2**20)  # pages come one by one and not with their whole column


@contextmanager
def _readable(name: str, kind: str) -> Iterator[None]:
    import pyarrow  # noqa: PLC0415 - the other formats need no Arrow

    try:
        yield
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        raise BadData(
            f"the {kind} file cannot be read",
            place=name,
            value=error,
            remedy="check that it was written to its end",
        ) from None
