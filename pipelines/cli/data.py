"""`luthier data …`: what training will see of the rows."""

import sys
import uuid
from typing import Annotated

import typer

from infra import settings
from infra.launch.scratch import scratch
from pipelines import recipe as recipes
from pipelines.cli import screen
from tasks.base import stage as base
from tasks.data import preview as previews
from tasks.data.preview import Answer, Part, Question, Shown

app = typer.Typer(help="Look at what training will see of the rows.", no_args_is_help=True)
MOST = 2000  # characters of a part that are shown; its middle is left out


@app.command("preview")
def preview(
    recipe: Annotated[str, typer.Argument(help="path of a recipe, or the name of a shipped one: quickstart")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, max=1000, help="how many, from the first file on")] = 5,
    set_: Annotated[list[str] | None, typer.Option("--set", help="change a field: data.max_length=512")] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show rows as text and tokens, with what is learned of them, before anything is trained.

    Green is learned, dim is prompt (weight prompt_loss_weight), and special tokens are shown as they are written. In a
    pipe, what is learned stands between ⟦ and ⟧.
    """
    plan = recipes.load(recipe, recipes.parse_assignments(set_ or []))
    platform = settings.load().platform()
    screen.progress("pinning the tokenizer …")
    tokenizer = base.tokenizer(plan.base, platform)
    with scratch(platform.home / "work", f"preview-{uuid.uuid4().hex}") as room:
        folder = platform.cache.materialise(platform.store, tokenizer, room / "tokenizer")
        answer = previews.ask(Question(config=plan.data, tokenizer=folder, rows=rows, scratch=room))
    if json:
        screen.as_json(answer.model_dump(mode="json", exclude={"error"}))
    else:
        _tell(answer, plan.data.max_length)
        _compare(answer, plan.evaluate.apply_chat_template)


def _tell(answer: Answer, max_length: int) -> None:
    for row in answer.rows:
        screen.heading(f"{row.place}  {_about(row, max_length)}")
        screen.styled([(_short(part), _style(part)) for part in row.parts])
    if answer.unused_columns:
        screen.note(f"\ncolumns that are not used: {', '.join(answer.unused_columns)}")


def _compare(answer: Answer, asked_as_chat: bool) -> None:
    """Say so where the model is trained on one kind of text and asked in another."""
    kinds = {row.chat for row in answer.rows if row.parts}
    if kinds and asked_as_chat not in kinds:
        rows, asks = ("conversations", "without") if True in kinds else ("plain text", "through")
        remedy = f"set evaluate.apply_chat_template: {str(not asked_as_chat).lower()}, or give rows of the other kind"
        screen.note(f"\nthese rows are {rows}, but the evaluation asks {asks} the chat template: {remedy}")


def _about(row: Shown, max_length: int) -> str:
    if row.reason:
        return f"cannot be used: {row.reason}"
    fate = f"; {row.fate}, as max_length is {max_length}" if row.fate else ""
    return f"{row.tokens} tokens, {row.learned} of them learned{fate}"


def _short(part: Part) -> str:
    text = part.text
    if len(text) > MOST:
        text = f"{text[: MOST // 2]} … {len(text) - MOST} characters … {text[-MOST // 2 :]}"
    return text if sys.stdout.isatty() or part.weight < 1 else f"⟦{text}⟧"


def _style(part: Part) -> str:
    return "green" if part.weight == 1 else "dim"
