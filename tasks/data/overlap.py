"""Which training rows hold questions of the evaluation: rows are read as for training, and compared by runs of words."""

import gc
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter

from infra.errors import Lost
from infra.launch.work import Summary, Work, main
from infra.storage.objects import sha256_of
from tasks.data import sources, stage
from tasks.data.config import OverlapConfig
from tasks.data.formats import read
from tasks.data.layouts import Shape
from tasks.data.ngrams import Index, Shared, fold
from tasks.data.overlap_report import SHOWN, Hit, Overlap, TaskOverlap, save
from tasks.data.reading import Reading
from tasks.data.rows import BadRow, Row, fingerprint
from tasks.data.texts import texts

BATCH_CHARACTERS = 2**20


@dataclass(frozen=True)
class Question:
    """One document of an evaluation, as the artifact `questions` has it."""

    task: str
    doc_id: int
    doc_hash: str
    text: str
    targets: list[str]
    choices: list[str]


@dataclass
class Hits:
    """What rows share with questions, which are known by their number. Of several files one after the other: `+=`."""

    rows: int = 0
    prints: set[int] = field(default_factory=set)
    rows_of: Counter[str] = field(default_factory=Counter)
    questions: set[int] = field(default_factory=set)
    answered: set[int] = field(default_factory=set)
    shown: list[Hit] = field(default_factory=list)

    def note(self, place: str, words: bytes, shared: list[Shared], searched: "Searched") -> None:
        """Count in one row, whose folded words are given, and what it shares."""
        self.rows_of.update({searched.questions[one.question].task for one in shared})
        for one in shared:
            question, answered = searched.questions[one.question], searched.answered(one.question, b" %b " % words)
            self.questions.add(one.question)
            if answered:
                self.answered.add(one.question)
            if len(self.shown) < SHOWN:
                shown = Hit(
                    place=place, task=question.task, doc_id=question.doc_id, text=one.words[:300], answered=answered
                )
                self.shown.append(shown)

    def __iadd__(self, other: "Hits") -> "Hits":
        self.rows += other.rows
        self.prints |= other.prints
        self.rows_of += other.rows_of
        self.questions |= other.questions
        self.answered |= other.answered
        self.shown = (self.shown + other.shown)[:SHOWN]
        return self


class Searched:
    """Questions with what rows are compared with."""

    def __init__(self, questions: list[Question], ngram: int) -> None:
        self.questions = questions
        self.index = Index([one.text for one in questions], [one.task for one in questions], ngram)
        self._said = [[_spaced(target) for target in one.targets] for one in questions]
        self._asked = [_spaced(one.text) for one in questions]

    def answered(self, number: int, row: bytes) -> bool:
        """Whether the row holds an answer too; one that stands in the question itself tells nothing."""
        asked = self._asked[number]
        return any(said.strip() and said in row and said not in asked for said in self._said[number])


def hits(reading: Reading, searched: Searched) -> Iterator[tuple[float, Hits]]:
    """The share of the part that is read and what the rows since then share, a batch at a time."""
    for batch in _batches(reading):
        yield reading.share, _compared(batch, searched)


def _batches(reading: Reading) -> Iterator[list[tuple[str, Row]]]:
    batch: list[tuple[str, Row]] = []
    size = 0
    for item in reading:
        if item.row is not None:
            batch.append((reading.place(item.line), item.row))
            size += item.row.size()
        if size >= BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    yield batch


def _compared(batch: list[tuple[str, Row]], searched: Searched) -> Hits:
    made = Hits(rows=len(batch))
    folded = [fold("\n".join(texts(row))) for _, row in batch]
    for number, group in groupby(searched.index.shared(folded), attrgetter("text")):
        place, row = batch[number]
        try:
            made.prints.add(fingerprint(row))
        except BadRow:
            continue  # it is not trained on, and counted as bad where that is decided
        made.note(place, b" ".join(folded[number].split()), list(group), searched)
    return made


def _spaced(text: str) -> bytes:
    return b" %b " % b" ".join(fold(text).split())


def work(job: Work[OverlapConfig]) -> Summary:
    """Fill overlap.json, overlap.md and rows.npy: the hashes (uint64, sorted) of the rows that hold a question."""
    job.beat("reading the questions")
    lines = (job.inputs["questions"] / "questions.jsonl").read_text(encoding="utf-8").split("\n")
    searched = Searched([Question(**json.loads(line)) for line in lines if line], job.config.decontamination_ngram)
    gc.freeze()  # the questions stay: without this, collections that look them through take a fifth of the time
    found, begun = Hits(), time.monotonic()
    for share, more in _read_all(job, searched):
        found += more
        eta = (time.monotonic() - begun) * (1 / share - 1) if share else None
        job.beat("comparing", int(100 * share), 100, eta, rows=found.rows)
    if stage.compared(job.config, job.receipt("questions")).key != job.spec.key:
        raise Lost(
            "the source files changed while they were read", place="data.train_files", remedy="run it once they rest"
        )
    overlap = _overlap(found, searched, job.config.decontamination_ngram)
    save(job.out, overlap, found.prints)
    return {
        "rows": found.rows,
        "rows_hit": len(found.prints),
        "rows_sha256": sha256_of(job.out / "rows.npy")[1],
        "questions": len(searched.questions),
        "questions_hit": len(found.questions),
        "answers_hit": len(found.answered),
    }


def _read_all(job: Work[OverlapConfig], searched: Searched) -> Iterator[tuple[float, Hits]]:
    files = [(source, file) for source in job.config.sources for file in sources.of(source, validation=False)]
    for number, (source, file) in enumerate(files):
        with sources.local(file, job.scratch / "sources") as path:
            for share, found in hits(read(path, file.short, Shape.of(source), file.kind), searched):
                yield (number + share) / len(files), found


def _overlap(found: Hits, searched: Searched, ngram: int) -> Overlap:
    def per_task(numbers: Iterable[int]) -> Counter[str]:
        return Counter(searched.questions[number].task for number in numbers)

    asked, sought = per_task(range(len(searched.questions))), per_task(searched.index.searched.tolist())
    hit, answered = per_task(found.questions), per_task(found.answered)
    tasks = [
        TaskOverlap(
            task=task,
            questions=asked[task],
            searched=sought[task],
            hit=hit[task],
            answered=answered[task],
            rows=found.rows_of[task],
        )
        for task in sorted(asked)
    ]
    return Overlap(ngram=ngram, rows=found.rows, rows_hit=len(found.prints), tasks=tasks, hits=found.shown)


if __name__ == "__main__":
    main(OverlapConfig, work)
