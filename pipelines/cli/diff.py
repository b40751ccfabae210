"""`luthier data diff`: what changed between two datasets."""

import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer

from infra import settings
from infra.launch.scratch import scratch
from infra.printable import line
from pipelines.cli import datasets, screen
from tasks.data import changes as asking
from tasks.data import diff_page
from tasks.data.changes import Changes, Example, Question
from tasks.data.markup import percent
from tasks.data.preview import Part, Shown

MOST = 600  # characters of a row that are shown
MARKS = {"removed": "−", "added": "+", "changed": "~"}


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="a recipe, a dataset's key, or a version: name@champion")],
    after: Annotated[str, typer.Argument(metavar="B", help="the same of the other")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, max=1000, help="examples of each kind")] = 10,
    html: Annotated[Path | None, typer.Option("--html", help="write a page to this file")] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Tell which rows left, came and are another now, and how lengths and sources drifted.

    Rows are compared by their content, in what is kept: rows to train on, and held-out ones. Both datasets must have
    been made; their sources may be gone. In a pipe, what is learned stands between ⟦ and ⟧, and what people rejected
    between ⟦- and -⟧.
    """
    pair = [datasets.find(what) for what in (before, after)]
    platform = settings.load().platform()
    screen.progress("comparing …")
    with scratch(platform.home / "work", f"diff-{uuid.uuid4().hex}") as room:
        told = asking.ask(Question(before=pair[0], after=pair[1], rows=rows, scratch=room))
    if html is not None:
        html.write_text(diff_page.page(told, before, after), encoding="utf-8")
        screen.note(f"the page is {html}")
    if json:
        screen.as_json(told.model_dump(mode="json"))
    elif html is None:
        _tell(told)


def _tell(told: Changes) -> None:
    screen.say(f"{told.same:,} rows are the same; {told.changed:,} changed, {told.removed:,} left, {told.added:,} came")
    if told.now_held_out or told.now_trained_on:
        screen.say(
            f"of the same, {told.now_held_out:,} are held out now, and {told.now_trained_on:,} are trained on now"
        )
    screen.heading("Amounts")
    screen.table(["", "before", "after"], diff_page.counts(told))
    screen.heading("Lengths in tokens")
    old, new = told.before.quantiles, told.after.quantiles
    shares = dict.fromkeys([*old, *new])
    screen.table(
        ["of the rows", *map(percent, shares)], [[name, *_lengths(side, shares)] for name, side in _sides(told)]
    )
    screen.say(diff_page.drifted(told))
    screen.heading("Sources")
    screen.table(
        ["file", "rows before", "after", "of the tokens before", "after"],
        [
            [at.name, f"{at.rows[0]:,}", f"{at.rows[1]:,}", f"{at.share[0]:.1%}", f"{at.share[1]:.1%}"]
            for at in told.sources[:20]
        ],
    )
    if told.settings:
        screen.heading("Settings")
        screen.pairs({name: f"{old} → {new}" for name, (old, new) in told.settings.items()})
    for kind, title in diff_page.KINDS.items():
        _examples(title, MARKS[kind], told.examples.get(kind, ()))


def _sides(told: Changes) -> list[tuple[str, dict[str, int]]]:
    return [("before", told.before.quantiles), ("after", told.after.quantiles)]


def _lengths(side: dict[str, int], shares: dict[str, None]) -> list[str]:
    return [f"{side[at]:,}" if at in side else "–" for at in shares]


def _examples(title: str, mark: str, examples: tuple[Example, ...]) -> None:
    if not examples:
        return
    screen.heading(f"Rows {title}")
    for example in examples:
        places = [side.place for side in (example.before, example.after) if side is not None]
        screen.say(f"{mark} {line(' → '.join(dict.fromkeys(places)))}")
        for sign, style, side in (("  − ", "red", example.before), ("  + ", "green", example.after)):
            if side is not None:
                screen.styled([(sign, style), *_text(side)])


def _text(row: Shown) -> list[tuple[str, str]]:
    told, left = [], MOST
    for part in row.parts:
        style = "dim" if not part.learned else "bold strike" if part.rejected else "bold"
        told.append((" ".join(bracketed(part, part.text)[:left].split()) + " ", style))
        left -= min(left, len(part.text))
    return told


def bracketed(part: Part, text: str) -> str:
    """What is to be seen of a part; in brackets where it is learned and there is no colour."""
    if sys.stdout.isatty() or not part.learned:
        return text
    return f"⟦-{text}-⟧" if part.rejected else f"⟦{text}⟧"
