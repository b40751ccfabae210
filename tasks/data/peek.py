"""What the rows of a recipe are, as far as the first row of a file tells: a look that costs nothing."""

from pathlib import Path

from tasks.data.config import DataConfig
from tasks.data.layouts import Shape
from tasks.data.rows import BadRow, Labelled, Preference, Row, decoded

LINE = 2**20  # bytes of a first line; a longer one tells nothing
LINES = (".jsonl", ".ndjson")


def kinds(config: DataConfig) -> dict[str, str]:
    """By file, pairs, labels, or nothing where rows are not judged; of every source the first file of lines that lies
    here. Where such a row cannot be read, the stage says so."""
    found = {}
    for source in (*config.sources(validation=False), *config.sources(validation=True)):
        path = next((Path(name) for name in source.files if name.endswith(LINES) and Path(name).is_file()), None)
        row = None if path is None else _first(path, Shape.of(config.text(source)))
        if row is not None:
            found[str(path)] = kind(row)
    return found


def kind(row: Row) -> str:
    """What a row is, as train.objective asks for it."""
    return "pairs" if isinstance(row, Preference) else "labels" if isinstance(row, Labelled) else ""


def _first(path: Path, shape: Shape) -> Row | None:
    with path.open("rb") as file:
        line = file.readline(LINE)
    try:
        return shape.parse(decoded(line.decode(errors="replace"), "the first line"))
    except BadRow:
        return None
