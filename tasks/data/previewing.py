"""The process that is asked for a preview: `python -m tasks.data.previewing`, a Question on its input."""

import sys
from collections.abc import Iterator
from itertools import chain, cycle
from pathlib import Path
from typing import TypeAlias

from infra.errors import LuthierError
from tasks.data import sources, templates
from tasks.data.config import DataConfig, TextConfig
from tasks.data.formats import read
from tasks.data.judged import verdict
from tasks.data.layouts import Shape
from tasks.data.preview import Answer, Question, Shown
from tasks.data.rows import BadRow, Chat, Found, Row, Text, sample, sequences
from tasks.data.samples import longest, parts, warnings
from tasks.data.shard import together
from tasks.data.templates import Template
from tasks.data.tokens import Encoder, load, without_torch

FILES = 4  # of a source, that are opened: some have to be fetched first
Drawn: TypeAlias = tuple[str, Found, TextConfig]  # a row with its place, and how it becomes tokens
Rows: TypeAlias = Iterator[Drawn]


def look(question: Question) -> Answer:
    """Rows of every source, each rendered and tokenised as the stage would."""
    config, shapes = question.config, list[Shape]()
    tokenizer = load(question.tokenizer)
    encoder, override = Encoder(tokenizer), templates.override(config, lambda: tokenizer)
    found = _drawn(_files(question, shapes), question.rows)
    rows = tuple(_shown(at, item, config, templates.of(text, override, tokenizer), encoder) for at, item, text in found)
    unused = sorted({name for shape in shapes for name in shape.unused})
    return Answer(rows=rows, unused_columns=tuple(unused), special=encoder.special)


def _drawn(files: list[Rows], rows: int) -> list[Drawn]:
    """The first rows of all files in turn, those of one file together."""
    taken: list[list[Drawn]] = [[] for _ in files]
    going = dict(enumerate(files))
    for number in cycle(range(len(files))):
        if not going or sum(map(len, taken)) == rows:
            break
        if number in going:
            found = next(going[number], None)
            if found is None:
                del going[number]
            else:
                taken[number].append(found)
    return list(chain.from_iterable(taken))


def _files(question: Question, shapes: list[Shape]) -> list[Rows]:
    """The rows of some files of each source, each read as far as it is asked."""
    made = []
    for number, source in enumerate(question.config.sources(validation=False)):
        text, room = question.config.text(source), question.scratch / "sources" / str(number)
        shapes.append(Shape.of(text))
        files = sources.of(source, validation=False)
        some = files[:: max(1, len(files) // FILES)][:FILES]
        made += [_rows(file, shapes[-1], text, room) for file in some]
    return made


def _rows(file: sources.Pinned, shape: Shape, text: TextConfig, room: Path) -> Rows:
    reading = read(sources.fetch(file, room), file.short, shape, file.kind)
    yield from ((reading.place(item.line), item, text) for item in reading)


def _shown(at: str, found: Found, config: DataConfig, template: Template, encoder: Encoder) -> Shown:
    if found.row is None:
        return Shown(place=at, reason=found.reason, sample=found.sample)
    rendered = together(template.render([(at, text) for text in sequences(found.row)]))
    if isinstance(rendered, BadRow):
        return Shown(place=at, reason=str(rendered), sample=sample(found.row.content()))
    texts, said = encoder.encode(rendered), verdict(found.row)
    fate = _fate(found.row, longest(texts), config)
    return Shown(
        place=at,
        chat=isinstance(sequences(found.row)[0], Chat),
        fate=fate,
        warnings=warnings(texts, fate, config.max_length),
        tokens=sum(len(text.ids) for text in texts),
        learned=sum(int(text.learned.sum()) for text in texts),
        parts=tuple(parts(texts, said, encoder, 0.0 if said else config.prompt_loss_weight)),
    )


def _fate(row: Row, length: int, config: DataConfig) -> str:
    if length <= config.max_length:
        return ""
    if config.overlong == "split" and not isinstance(row, Text):
        return "dropped"
    return {"drop": "dropped", "truncate": "cut", "split": "split"}[config.overlong]


def main() -> None:
    """One answer, as a line of JSON."""
    question = Question.model_validate_json(sys.stdin.read())
    try:
        answer = look(question)
    except LuthierError as error:
        answer = Answer(error=error.report())
    sys.stdout.write(answer.model_dump_json() + "\n")


if __name__ == "__main__":
    without_torch()
    main()
