"""Judged answers as columns: what a shard tells of a pair or a label beside its row, and what a side makes of them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from infra.errors import BadData
from tasks.data.rows import Labelled, Preference, Row

Ints = NDArray[np.int64]
Kind = Literal["", "pairs", "labels"]  # of a whole dataset
NOTHING, PAIR, DESIRABLE, UNDESIRABLE = range(4)  # verdicts
# The tokens of a pair lie one behind the other: those of the chosen text are `chosen` tokens, `learned` of which are an
# answer's, and the first of an answer of the rejected text stands at `first` of its own. Zeros where there is no pair.
JUDGED = np.dtype([("verdict", "u1"), ("chosen", "<u4"), ("learned", "<u4"), ("first", "<u4")])


def verdict(row: Row) -> int:
    """What people said of a row."""
    if isinstance(row, Preference):
        return PAIR
    return (DESIRABLE if row.label else UNDESIRABLE) if isinstance(row, Labelled) else NOTHING


def kind(judged: NDArray[np.void]) -> Kind:
    """What the rows of a dataset are; BadData with the counts where they are of several kinds."""
    counts = np.bincount(judged["verdict"], minlength=4)
    found: dict[Kind, int] = {
        "": int(counts[NOTHING]),
        "pairs": int(counts[PAIR]),
        "labels": int(counts[DESIRABLE] + counts[UNDESIRABLE]),
    }
    held = [name for name, count in found.items() if count]
    if len(held) > 1:
        raise BadData(
            "the rows are of several kinds, and a training takes one of them",
            place="data.train_files",
            value=f"{found['pairs']} pairs, {found['labels']} answers with a label, {found['']} other rows",
            remedy="give each kind a recipe of its own: pairs train with dpo, labels with kto, others with sft",
        )
    return held[0] if held else ""


@dataclass(frozen=True)
class Texts:
    """Of each row its texts, [rows, 2]: their tokens, those of them that are learned, and the first that is. The second
    is that of a pair, and has zeros for other rows."""

    length: Ints
    learned: Ints
    first: Ints

    @classmethod
    def of(cls, rows: NDArray[np.void], judged: NDArray[np.void] | None) -> "Texts":
        """Of rows (ROW) and what is judged of them (JUDGED)."""
        whole = {name: rows[name].astype(np.int64) for name in ("length", "learned", "first")}
        nothing = np.zeros(len(rows), np.int64)
        if judged is None:
            return cls(*(np.stack([whole[name], nothing], axis=1) for name in whole))
        pairs = judged["verdict"] == PAIR

        def halves(name: str, chosen: str) -> Ints:
            first = np.where(pairs, judged[chosen].astype(np.int64), whole[name])
            return np.stack([first, whole[name] - first], axis=1)

        first = np.stack([whole["first"], np.where(pairs, judged["first"].astype(np.int64), nothing)], axis=1)
        return cls(halves("length", "chosen"), halves("learned", "learned"), first)

    def cut(self, limit: int) -> "Texts":
        """The same where no text goes beyond `limit` tokens. Of a text that is cut no more is learned than lies between
        its first learned token and the cut: all of that, but for a conversation whose next question lies before it."""
        return Texts(
            np.minimum(self.length, limit),
            np.minimum(self.learned, np.maximum(0, limit - self.first)),
            self.first,
        )


def strangers(order: NDArray[np.uint64], asked: NDArray[np.uint64]) -> Ints:
    """For each row another whose answer is to another prompt, each answer once. Rows that ask the same stand together,
    else the hashes decide, and the stranger is as far behind as the largest such group is long; where that is more than
    half of all rows, some answers are to the same prompt.
    """
    by = np.lexsort((order, asked))
    found = np.empty(len(by), np.int64)
    largest = np.unique(asked, return_counts=True)[1].max(initial=1)
    found[by] = np.roll(by, -max(1, min(largest, len(by) // 2)))
    return found
