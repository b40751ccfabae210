"""How verbs show things: tables on a terminal, plain aligned text in a pipe, and nothing that could steer either."""

import json
import sys
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from infra.printable import clean, line

WIDE = 10_000  # columns of a pipe: a line is a row, whatever it holds


def table(head: Iterable[str], rows: Iterable[Iterable[str]], fold: Collection[str] | None = None) -> None:
    """Rows under a head; on a terminal they are folded to its width, only in the columns `fold` where it is given."""
    terminal = sys.stdout.isatty()
    made = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=False, collapse_padding=True)
    for name in head:
        whole = fold is not None and name not in fold
        made.add_column(name, no_wrap=whole, min_width=None if whole or fold is None else 12)
    for row in rows:
        made.add_row(*(Text(clean(cell), overflow="fold") for cell in row))
    drawn(made)


def drawn(made: Table | Tree) -> None:
    """Something of rich's, whose texts are clean; a pipe gets it without colours and unfolded."""
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    with console.capture() as shown:
        console.print(made)
    typer.echo("\n".join(row.rstrip() for row in shown.get().splitlines()))  # with rich's own colours


def say(text: str = "") -> None:
    """A text on standard output, without what could steer the terminal."""
    typer.echo(clean(text))


def styled(parts: Iterable[tuple[str, str]]) -> None:
    """Pieces of one text, each in a style of rich's, which a pipe does not get."""
    text = Text()
    for piece, style in parts:
        text.append(clean(piece), style=style)
    text.rstrip()
    if text:
        Console(highlight=False, soft_wrap=True).print(text)


def pairs(values: Mapping[str, object], indent: str = "  ") -> None:
    """Names and values, one to a line, the values below each other."""
    width = max((len(line(name)) for name in values), default=0)
    for name, value in values.items():
        say(f"{indent}{line(name).ljust(width)}  {line(figure(value))}")


def heading(text: str) -> None:
    """The name of a part, after an empty line."""
    say()
    typer.secho(clean(text), bold=True)


def note(text: str) -> None:
    """A remark beside the result: on standard error, so that a pipe gets only the result."""
    typer.secho(clean(text), err=True, dim=True)


def progress(text: str) -> None:
    """A remark that only somebody who waits wants to see."""
    if sys.stderr.isatty():
        note(text)


def as_json(value: object) -> None:
    """The result for a machine; every character that is not ASCII is escaped, control characters among them."""
    say(json.dumps(value, indent=2))


def stack(parts: Iterable[str], mark: str) -> str:
    """The parts of a cell, below each other on a terminal; a pipe's row is one line, and there the mark is between."""
    return ("\n" if sys.stdout.isatty() else mark).join(parts)


def when(milliseconds: int) -> str:
    """A moment in this machine's time zone, to the minute."""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def figure(value: object) -> str:
    """A number in at most four digits, a dash for none."""
    if isinstance(value, list | tuple):
        return ", ".join(figure(item) for item in value) or "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value in (None, "") else clean(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
