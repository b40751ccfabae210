"""Prepared data as the model reads it: memory-mapped token shards, and one padded batch of packed sequences."""

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


class Sequences:
    """A split of a prepared data set, by index."""

    def __init__(self, folder: Path) -> None:
        self._tokens = _mapped(folder / "tokens.bin", "<u4")
        self._weights = _mapped(folder / "weights.bin", "<f2")
        self._offsets = np.load(folder / "offsets.npy")
        with np.load(folder / "bins.npz") as bins:
            self._rows, self._starts = bins["rows"], bins["starts"]

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: int) -> Sequence:
        rows = self._rows[self._starts[index] : self._starts[index + 1]]
        spans = [(int(self._offsets[row]), int(self._offsets[row + 1])) for row in rows]
        return Sequence(
            np.concatenate([self._tokens[a:b] for a, b in spans]).astype(np.int64),
            np.concatenate([np.arange(b - a) for a, b in spans]),
            np.concatenate([self._weights[a:b] for a, b in spans]).astype(np.float32),
        )


def _mapped(path: Path, dtype: str) -> npt.NDArray[Any]:
    # An empty file cannot be mapped: a run without held-out rows has one.
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
