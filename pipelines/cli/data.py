"""`luthier data …`: what training will see of the rows."""

import uuid
from pathlib import Path
from typing import Annotated

import typer

from infra import settings
from infra.launch.scratch import scratch
from infra.printable import line
from pipelines import recipe as recipes
from pipelines.cli import announce, datasets, diff, screen
from tasks.base import stage as base
from tasks.data import preview as previews
from tasks.data import preview_page
from tasks.data.preview import Answer, Part, Question

app = typer.Typer(help="Look at what training will see of the rows.", no_args_is_help=True)
app.command("diff")(diff.diff)
app.command("announce")(announce.announce)
MOST = 2000  # characters of a part that are shown; its middle is left out


@app.command("preview")
def preview(
    recipe: Annotated[str, typer.Argument(help="path of a recipe, or the name of a shipped one: quickstart")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, max=1000, help="how many, from every source")] = 20,
    set_: Annotated[list[str] | None, typer.Option("--set", help="change a field: data.max_length=512")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="write a page to this file")] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show rows as text and tokens, with what is learned of them, before anything is trained.

    Green is learned, dim is prompt (weight prompt_loss_weight), and special tokens are shown as they are written. In a
    pipe, what is learned stands between ⟦ and ⟧. Answers that people rejected are red, in a pipe between ⟦- and -⟧.
    """
    plan = recipes.load(recipe, recipes.parse_assignments(set_ or []))
    platform = settings.load().platform()
    screen.progress("pinning the tokenizer …")
    tokenizer = base.tokenizer(plan.base, platform)
    with scratch(platform.home / "work", f"preview-{uuid.uuid4().hex}") as room:
        folder = platform.cache.materialise(platform.store, tokenizer, room / "tokenizer")
        answer = previews.ask(Question(config=plan.data, tokenizer=folder, rows=rows, scratch=room))
    if html is not None:
        html.write_text(preview_page.page(answer, plan.data.max_length), encoding="utf-8")
        screen.note(f"the page is {html}")
    if json:
        screen.as_json(answer.model_dump(mode="json", exclude={"error"}) | {"totals": answer.totals().model_dump()})
    elif html is None:
        _tell(answer, plan.data.max_length)
        _compare(answer, plan.evaluate.apply_chat_template)


@app.command("report")
def report(
    what: Annotated[str, typer.Argument(help="a recipe, a dataset's key, or a version: name@champion")],
    to: Annotated[Path, typer.Option("--to", help="the file to write")] = Path("report.html"),
) -> None:
    """Fetch the page about a dataset: its figures, and rows with what is learned of them."""
    store = settings.load().platform().store
    to.write_bytes(store.read(datasets.find(what), "report.html"))
    screen.say(f"the page is {to}")


def _tell(answer: Answer, max_length: int) -> None:
    for row in answer.rows:
        screen.heading(f"{row.place}  {preview_page.about(row, max_length)}")
        for warning in row.warnings:
            screen.note(f"look at it: {warning}")
        if row.reason and row.sample:
            screen.say(_short(Part(text=row.sample, weight=0)))
        screen.styled([(_short(part), _style(part)) for part in row.parts])
    screen.heading("Altogether")
    for name, told in preview_page.totals_of(answer):
        screen.say(f"  {name:<14}  {line(told)}")
    if answer.unused_columns:
        screen.note(f"\ncolumns that are not used: {', '.join(answer.unused_columns)}")


def _compare(answer: Answer, asked_as_chat: bool) -> None:
    """Say so where the model is trained on one kind of text and asked in another."""
    kinds = {row.chat for row in answer.rows if row.parts}
    if kinds and asked_as_chat not in kinds:
        rows, asks = ("conversations", "without") if True in kinds else ("plain text", "through")
        remedy = f"set evaluate.apply_chat_template: {str(not asked_as_chat).lower()}, or give rows of the other kind"
        screen.note(f"\nthese rows are {rows}, but the evaluation asks {asks} the chat template: {remedy}")


def _short(part: Part) -> str:
    text = part.text
    if len(text) > MOST:
        text = f"{text[: MOST // 2]} … {len(text) - MOST} characters … {text[-MOST // 2 :]}"
    return diff.bracketed(part, text)


def _style(part: Part) -> str:
    if part.rejected:
        return "red strike"
    return "green underline" if part.learned else "dim"
