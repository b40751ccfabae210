"""The page that says how much of the evaluation stands in the training rows."""

import json
from pathlib import Path

import numpy as np

from infra.frozen import Frozen
from infra.printable import line

SHOWN = 50  # pairs of a row and a question that the report names


class Hit(Frozen):
    """A row and a question that share `text` (folded words); `answered` where the row holds an answer too."""

    place: str
    task: str
    doc_id: int
    text: str
    answered: bool


class TaskOverlap(Frozen):
    """Of one task: its questions, those that could be searched for, those found, with their answers; rows with any."""

    task: str
    questions: int
    searched: int
    hit: int
    answered: int
    rows: int


class Overlap(Frozen):
    """All figures; `rows` were compared, `rows_hit` of them hold a question. `hits` are the first in reading order."""

    ngram: int
    rows: int
    rows_hit: int
    tasks: list[TaskOverlap]
    hits: list[Hit]

    def markdown(self) -> str:
        """The page, for people."""
        table = "".join(
            f"| {_inline(one.task)} | {one.questions:,} | {one.searched:,} | {one.hit:,} "
            f"| {one.hit / max(one.questions, 1):.1%} | {one.answered:,} | {one.rows:,} |\n"
            for one in self.tasks
        )
        return (
            "# Evaluation questions in the training rows\n\n"
            f"{self.rows_hit:,} of {self.rows:,} rows hold {self.ngram} words in a row of a question that the evaluation "
            "asks, or the whole of a shorter question.\n\n"
            "| task | questions | searched | found | | with the answer | rows |\n|---|---:|---:|---:|---:|---:|---:|\n"
            f"{table}\n"
            "- Not searched for: questions of fewer than 5 words, of numbers alone, or with nothing but words that many "
            "questions of the task share.\n"
            "- With the answer: the row holds a right answer as well, and the question does not hold it itself.\n"
            + ("- `data.decontamination: drop` leaves these rows out.\n" if self.rows_hit else "")
            + self._places()
        )

    def _places(self) -> str:
        if not self.hits:
            return ""
        title = "## Where" + (f" (the first {SHOWN})" if len(self.hits) == SHOWN else "")
        lines = [
            f"- `{_inline(hit.place)}` holds {_inline(hit.task)} {hit.doc_id}{' and its answer' if hit.answered else ''}: "
            f"“{_inline(hit.text)}”\n"
            for hit in self.hits
        ]
        return f"\n{title}\n\n" + "".join(lines)


def save(folder: Path, overlap: Overlap, prints: set[int]) -> None:
    """overlap.json, overlap.md, and rows.npy: the hashes (uint64, sorted) of the rows that hold a question."""
    text = json.dumps(overlap.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    (folder / "overlap.json").write_text(text, encoding="utf-8")
    (folder / "overlap.md").write_text(overlap.markdown(), encoding="utf-8")
    np.save(folder / "rows.npy", np.array(sorted(prints), dtype=np.uint64))


def _inline(text: str) -> str:
    return line(text).replace("`", "'").replace("<", "&lt;").replace("|", "\\|")
