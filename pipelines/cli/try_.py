"""`luthier try`: the same prompts to the base and to the tuned model, side by side."""

import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from infra.errors import LuthierError
from infra.launch.dialogue import Dialogue, Message, Told
from infra.launch.scratch import scratch
from pipelines.cli import screen, versions

Answers = dict[str, list[Told]]
Models = dict[str, versions.Loadable]


def try_(
    version: versions.Spec,
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help="one or more prompts")],
    max_new_tokens: Annotated[int, typer.Option(min=1, help="the longest answer, in tokens")] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token")] = 0.0,
    system: Annotated[str, typer.Option(help="a system message before each prompt")] = "",
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Ask the base model and the tuned one the same, each in its chat format, and show both answers."""
    found = versions.find(version)
    questions = [opening(system, prompt) for prompt in prompts]
    with scratch(found.platform.home / "work", f"try-{uuid.uuid4().hex}") as room:
        answers = _ask(found, _models(found, room), questions, max_new_tokens, temperature)
    if json:
        screen.as_json(_record(found, prompts, answers))
    else:
        _show(found, prompts, answers)


def opening(system: str, prompt: str = "") -> list[Message]:
    """The beginning of a conversation."""
    turns = [Message(role="system", content=system)] if system else []
    return [*turns, Message(role="user", content=prompt)] if prompt else turns


def _models(found: versions.Found, room: Path) -> Models:
    """Both sides, loaded with one tokenizer and, under an adapter, with one base: what differs is what was learned."""
    tuned = versions.tuned(found, room)
    if tuned.adapter is not None:
        return {"base": replace(tuned, adapter=None), "tuned": tuned}
    base = _base(found, room)
    return {**({"base": replace(tuned, model=base)} if base else {}), "tuned": tuned}


def _base(found: versions.Found, room: Path) -> Path | None:
    """The base's folder, if the store still has it whole, or the place that it refers to; else it is said."""
    weights = found.input("weights")
    if weights is not None:
        try:
            return versions.fetch(found.platform, weights, room / "base")
        except LuthierError as error:
            screen.note(str(error))
    screen.note("the base weights cannot be had any more; only the tuned model answers")
    return None


def _ask(
    found: versions.Found,
    models: Models,
    questions: list[list[Message]],
    max_new_tokens: int,
    temperature: float,
) -> Answers:
    log = found.platform.home / "logs" / f"try-{uuid.uuid4().hex}.log"
    answers: Answers = {}
    with Dialogue(log, found.platform.silence_s) as talk:
        for side, one in models.items():
            screen.progress(f"loading the {side} model …")
            talk.load(one.model, one.tokenizer, one.adapter, one.base)
            answers[side] = []
            for number, question in enumerate(questions, 1):
                screen.progress(f"{side}: prompt {number} of {len(questions)} …")
                answers[side].append(talk.answer(question, max_new_tokens, temperature))
    return answers


def _labels(found: versions.Found) -> dict[str, str]:
    return {"base": f"base: {found.base_name()}", "tuned": f"tuned: {found.version}"}


def _speed(told: Told) -> str:
    cut = ", cut at --max-new-tokens" if told.ended == "length" else ""
    return f"{told.tokens} tokens, {told.tokens_per_s:.1f} tokens/s{cut}"


def _show(found: versions.Found, prompts: list[str], answers: Answers) -> None:
    labels = _labels(found)
    if not sys.stdout.isatty():
        for number, prompt in enumerate(prompts):
            screen.say(f"prompt: {prompt}")
            for side, told in answers.items():
                screen.say(f"--- {labels[side]} ({_speed(told[number])})\n{told[number].text}")
            screen.say()
        return
    for number, prompt in enumerate(prompts):
        screen.heading(prompt)
        told = [side[number] for side in answers.values()]
        cells = [[one.text for one in told], [_speed(one) for one in told]]
        screen.table([labels[side] for side in answers], cells)


def _record(found: versions.Found, prompts: list[str], answers: Answers) -> dict[str, Any]:
    def one(told: Told) -> dict[str, Any]:
        figures = told.model_dump(include={"text", "tokens", "seconds", "ended"})
        return figures | {"tokens_per_s": round(told.tokens_per_s, 3)}

    return {
        "version": f"models:/{found.version.name}/{found.version.number}",
        "base": found.base_name() if "base" in answers else None,
        "answers": [
            {"prompt": prompt} | {side: one(told[number]) for side, told in answers.items()}
            for number, prompt in enumerate(prompts)
        ],
    }
