"""Judged data as the model reads it: packed texts, which of them each token belongs to, and what the reference says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tasks.training.sequences import Piece, Sequence, Sequences, collate


@dataclass(frozen=True)
class Texts:
    """One packed sequence of m texts: `number` (int64) says of each token which of them it is in, [n]; `reference`
    (float32) has the log-probability of each under the model that the training started from, [m]."""

    sequence: Sequence
    number: npt.NDArray[np.int64]
    reference: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judged:
    """A sequence of answers; `desirable` [m] says which of them are, in pairs the first of each. Answers with a label
    come with as many strangers: their prompts with the answers to others."""

    texts: Texts
    desirable: npt.NDArray[np.bool_]
    strangers: Texts | None


class JudgedSequences:
    """One side of a judged data set, by index. Without `reference`, a folder, what it says is 0."""

    def __init__(self, folder: Path, shards: list[Path], reference: Path | None) -> None:
        self._plain = Sequences(folder, shards, 0.0)
        labels, strangers = folder / "labels.npy", folder / "strangers.npy"
        self._labels = np.load(labels) if labels.exists() else None
        self._strangers = np.load(strangers, mmap_mode="r") if strangers.exists() else None
        self._reference = None if reference is None else np.load(reference / f"{folder.name}.npy")

    def __len__(self) -> int:
        return len(self._plain)

    @property
    def shape(self) -> tuple[int, int]:
        """Of what the reference says: texts, and 2 where each has a stranger."""
        return self._plain.pieces, 1 if self._strangers is None else 2

    def rows(self, index: int) -> npt.NDArray[np.int64]:
        """The numbers of the texts in a sequence."""
        return self._plain.rows(index)

    def places(self, index: int) -> list[tuple[int, int, int]]:
        """Shard, first token and number of tokens of each text of a sequence."""
        return self._plain.places(index)

    def __getitem__(self, index: int) -> Judged:
        rows = self.rows(index)
        pieces = [self._plain.piece(row) for row in rows.tolist()]
        desirable = np.arange(len(rows)) % 2 == 0 if self._labels is None else self._labels[rows] > 0
        return Judged(self._texts(pieces, rows, 0), desirable, self._others(rows))

    def _others(self, rows: npt.NDArray[np.int64]) -> Texts | None:
        if self._strangers is None:
            return None
        made = []
        for row in rows.tolist():
            halves = [self._plain.at(*place.tolist()) for place in self._strangers[row]]
            made.append(joined(halves))
        return self._texts(made, rows, 1)

    def _texts(self, pieces: list[Piece], rows: npt.NDArray[np.int64], column: int) -> Texts:
        said = np.zeros(len(rows), np.float32) if self._reference is None else self._reference[rows, column]
        counts = [len(tokens) for tokens, _ in pieces]
        return Texts(Sequence.of(pieces), np.repeat(np.arange(len(pieces)), counts), said)


def joined(pieces: list[Piece]) -> Piece:
    """Pieces that are one text; nothing predicts its first token."""
    tokens = np.concatenate([tokens for tokens, _ in pieces])
    weights = np.concatenate([weights for _, weights in pieces])
    weights[:1] = 0
    return tokens, weights


def collate_judged(batch: list[Judged]) -> dict[str, Any]:
    """Sequences → tensors as `collate` makes them, with `number` [batch, longest] counted through the batch, and
    `reference` and `desirable` [texts]; the same of strangers below `strangers`."""
    made = _together([item.texts for item in batch])
    made["desirable"] = torch.from_numpy(np.concatenate([item.desirable for item in batch]))
    strangers = [item.strangers for item in batch if item.strangers is not None]
    return made | ({"strangers": _together(strangers)} if strangers else {})


def _together(batch: list[Texts]) -> dict[str, Any]:
    made: dict[str, Any] = collate([item.sequence for item in batch])
    longest, before = made["input_ids"].shape[1], 0
    numbers = []
    for item in batch:
        numbers.append(np.pad(item.number + before, (0, longest - len(item.number))))
        before += len(item.reference)
    made["number"] = torch.from_numpy(np.stack(numbers))
    made["reference"] = torch.from_numpy(np.concatenate([item.reference for item in batch]))
    return made
