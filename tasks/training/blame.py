"""From a loss back to the rows that gave it: which step, which file, which line."""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from tasks.training.batches import Split, position, sequence_at
from tasks.training.judged_sequences import JudgedSequences
from tasks.training.places import Places
from tasks.training.sequences import Sequences

STEPS = 16  # that are remembered at most; a step takes some ten bytes a token
SHOWN = 6  # rows in a message; errors are short


@dataclass(frozen=True)
class Part:
    """What one micro-batch gave: the loss and weight of each learned token, and where it stands (all still on the device);
    and how many texts make a row."""

    step: int
    number: int
    losses: torch.Tensor
    weights: torch.Tensor
    learned: torch.Tensor
    positions: torch.Tensor
    texts: int


@dataclass(frozen=True)
class RowLoss:
    """The weighted mean loss of one row in one step."""

    step: int
    place: str
    loss: float

    @property
    def good(self) -> bool:
        return math.isfinite(self.loss)


class Blame:
    """The losses by row of this rank's newest steps. Nothing is computed before somebody asks."""

    def __init__(
        self, sequences: "Sequences | JudgedSequences", places: Places, seed: int, shape: Split, rank: int
    ) -> None:
        self._sequences, self._places = sequences, places
        self._seed, self._shape, self._rank = seed, shape, rank
        self._parts: deque[Part] = deque(maxlen=STEPS * shape.accumulation)
        self._step = self._number = 0

    def begin(self, step: int) -> None:
        """The micro-batches from now on belong to this step, counted from 1."""
        self._step, self._number = step, 0

    def note(
        self,
        losses: torch.Tensor,
        weights: torch.Tensor,
        learned: torch.Tensor,
        positions: torch.Tensor,
        texts: int = 1,
    ) -> None:
        """Keep what the next micro-batch gave: `learned` [batch, n − 1] says of which tokens, `positions` [batch, n].

        A row is `texts` texts: 2 in pairs, where both have one loss.
        """
        self._parts.append(Part(self._step, self._number, losses.detach(), weights, learned, positions, texts))
        self._number += 1

    def forget(self, until: int) -> None:
        """Steps up to this one are not asked for any more."""
        while self._parts and self._parts[0].step <= until:
            self._parts.popleft()

    def rows(self, since: int) -> list[RowLoss]:
        """Every row of every rank in the steps after `since` that are remembered; all ranks must ask at once."""
        own = [row for part in self._parts if part.step > since for row in self._of(part)]
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return own
        every: list[list[RowLoss]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(every, own)
        return [row for rows in every for row in rows]

    def _of(self, part: Part) -> list[RowLoss]:
        learned = part.learned.cpu().numpy()
        # A token's row is told by the positions, which restart; it is predicted from the place before it.
        number = (np.cumsum(part.positions.cpu().numpy() == 0, axis=1)[:, 1:] - 1) // part.texts
        line = np.broadcast_to(np.arange(len(learned))[:, None], learned.shape)
        which = np.stack([line[learned], number[learned]], axis=1)
        kinds, of = np.unique(which, axis=0, return_inverse=True)
        sums, weights = np.zeros(len(kinds)), np.zeros(len(kinds))
        with np.errstate(all="ignore"):
            weight = part.weights.double().cpu().numpy()
            np.add.at(sums, of.reshape(-1), part.losses.double().cpu().numpy() * weight)
            np.add.at(weights, of.reshape(-1), weight)
            means = sums / weights
        return [
            RowLoss(part.step, self._place(part, int(line), int(row)), float(mean))
            for (line, row), mean in zip(kinds, means, strict=True)
        ]

    def _place(self, part: Part, line: int, row: int) -> str:
        at = position(part.step, part.number, self._rank, line, self._shape)
        shard, begin, _ = self._sequences.places(sequence_at(len(self._sequences), self._seed, at))[row * part.texts]
        return self._places.of(shard, begin)


def worst(rows: list[RowLoss]) -> str:
    """The rows with the highest losses, for a message; those that are no number come first."""
    order = sorted(rows, key=lambda row: (row.good, -row.loss if row.good else 0.0))
    told = ", ".join(f"{row.place} ({row.loss:.3g})" for row in order[:SHOWN])
    return told + (f" and {len(order) - SHOWN} more" if len(order) > SHOWN else "")
