"""Prepared data as the model reads it: memory-mapped shards of tokens, and one padded batch of packed sequences."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True)
class Sequence:
    """One packed sequence of n tokens: `input_ids`, `position_ids` (int64) and `loss_weights` (float32), each [n].

    Positions restart at every row, which is what isolates the rows of a sequence from each other in attention.
    """

    input_ids: npt.NDArray[np.int64]
    position_ids: npt.NDArray[np.int64]
    loss_weights: npt.NDArray[np.float32]

    @classmethod
    def of(cls, pieces: "list[Piece]") -> "Sequence":
        """Tokens and weights of rows, one behind the other."""
        return cls(
            np.concatenate([tokens for tokens, _ in pieces]).astype(np.int64),
            np.concatenate([np.arange(len(tokens)) for tokens, _ in pieces]),
            np.concatenate([weights for _, weights in pieces]),
        )


Piece = tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]


class Sequences:
    """One side of a prepared data set, by index: `folder` says which pieces of which shards a sequence is made of."""

    def __init__(self, folder: Path, shards: list[Path], prompt_loss_weight: float) -> None:
        self._prompt = np.float32(prompt_loss_weight)
        self._tokens = [_mapped(shard / "tokens.bin", "<u4") for shard in shards]
        self._weights = [_mapped(shard / "weights.bin", "<f2") for shard in shards]
        self._pieces = np.load(folder / "pieces.npy", mmap_mode="r")
        with np.load(folder / "bins.npz") as bins:
            self._rows, self._starts = bins["rows"], bins["starts"]

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> Sequence:
        return Sequence.of([self.piece(row) for row in self.rows(index).tolist()])

    @property
    def pieces(self) -> int:
        """How many pieces of rows there are."""
        return len(self._pieces)

    def rows(self, index: int) -> npt.NDArray[np.int64]:
        """The numbers of the pieces in a sequence."""
        found: npt.NDArray[np.int64] = self._rows[self._starts[index] : self._starts[index + 1]]
        return found

    def places(self, index: int) -> list[tuple[int, int, int]]:
        """What a sequence is made of, in order: shard, first token, number of tokens."""
        return [tuple(self._pieces[row].tolist()) for row in self.rows(index)]

    def piece(self, number: int) -> Piece:
        """A row's tokens and weights, or those of a piece of it."""
        tokens, weights = self.at(*self._pieces[number].tolist())
        weights[:1] = 0  # nothing comes before it, so nothing predicts it
        return tokens, weights

    def at(self, shard: int, begin: int, length: int) -> Piece:
        """The tokens at a place and their weights."""
        weights = self._weights[shard][begin : begin + length].astype(np.float32)
        weights[weights < 0] = self._prompt
        return self._tokens[shard][begin : begin + length], weights


def _mapped(path: Path, dtype: str) -> npt.NDArray[Any]:
    # An empty file cannot be mapped: a shard of which no row could be used has one.
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype)


def collate(batch: list[Sequence]) -> dict[str, torch.Tensor]:
    """Sequences → [batch, longest] tensors. Padding has weight 0 and position 0, so it neither counts nor is seen.

    There is no attention mask on purpose: with one, transformers ignores the restarting positions and rows see each
    other.
    """
    longest = max(len(sequence.input_ids) for sequence in batch)

    def stack(name: str) -> torch.Tensor:
        rows = [getattr(sequence, name) for sequence in batch]
        return torch.from_numpy(np.stack([np.pad(row, (0, longest - len(row))) for row in rows]))

    return {name: stack(name) for name in ("input_ids", "position_ids", "loss_weights")}
