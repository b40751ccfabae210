"""The process that is asked for a preview: `python -m tasks.data.previewing`, a Question on its input."""

import sys
from collections.abc import Iterator
from itertools import islice

import numpy as np

from infra.errors import LuthierError
from tasks.data import sources
from tasks.data.config import DataConfig
from tasks.data.formats import read
from tasks.data.layouts import Shape
from tasks.data.preview import Answer, Part, Question, Shown
from tasks.data.rows import BadRow, Chat, Found, Row, Text
from tasks.data.spool import weights
from tasks.data.templates import Template
from tasks.data.tokens import Encoder, Tokens, load


def look(question: Question) -> Answer:
    """The first rows of the training files, each rendered and tokenised as the stage would."""
    config, shape = question.config, Shape(question.config.format, question.config.columns)
    tokenizer = load(question.tokenizer)
    override = config.chat_template and sources.text(config.chat_template, "data.chat_template")
    template, encoder = Template(tokenizer, override), Encoder(tokenizer)
    rows = tuple(_shown(found, config, template, encoder) for found in islice(_found(question, shape), question.rows))
    return Answer(rows=rows, unused_columns=tuple(sorted(shape.unused)))


def _found(question: Question, shape: Shape) -> Iterator[Found]:
    names = question.config.train_files
    for name, path in sources.fetched(names, "data.train_files", question.scratch / "sources"):
        yield from read(path, name, shape)


def _shown(found: Found, config: DataConfig, template: Template, encoder: Encoder) -> Shown:
    if found.row is None:
        return Shown(place=found.place, reason=found.reason)
    (text,) = template.render([(found.place, found.row)])
    if isinstance(text, BadRow):
        return Shown(place=found.place, reason=str(text))
    (tokens,) = encoder.encode([text])
    return Shown(
        place=found.place,
        chat=isinstance(found.row, Chat),
        fate=_fate(found.row, len(tokens.ids), config),
        tokens=len(tokens.ids),
        learned=int(tokens.learned.sum()),
        parts=tuple(_parts(tokens, encoder, config.prompt_loss_weight)),
    )


def _fate(row: Row, length: int, config: DataConfig) -> str:
    if length <= config.max_length:
        return ""
    if config.overlong == "split" and not isinstance(row, Text):
        return "dropped"
    return {"drop": "dropped", "truncate": "cut", "split": "split"}[config.overlong]


def _parts(tokens: Tokens, encoder: Encoder, prompt: float) -> Iterator[Part]:
    weighed = weights(tokens, prompt)
    edges = np.flatnonzero(np.diff(weighed)) + 1
    for ids, same in zip(np.split(tokens.ids, edges), np.split(weighed, edges), strict=True):
        yield Part(text=encoder.text(ids), weight=float(same[0]))


def main() -> None:
    """One answer, as a line of JSON."""
    question = Question.model_validate_json(sys.stdin.read())
    try:
        answer = look(question)
    except LuthierError as error:
        answer = Answer(error=error.report())
    sys.stdout.write(answer.model_dump_json() + "\n")


if __name__ == "__main__":
    main()
