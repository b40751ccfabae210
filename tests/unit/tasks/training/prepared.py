"""Writes prepared data in the layout that the data stage commits, from rows of token ids and weights."""

import json
from pathlib import Path

import numpy as np

from tasks.training.sequences import Sequences

Row = tuple[list[int], list[float]]
PIECE = [("shard", "<u4"), ("begin", "<u8"), ("length", "<u4")]


def shard(folder: Path, rows: list[Row]) -> Path:
    """Tokens and weights one behind the other."""
    folder.mkdir(parents=True, exist_ok=True)
    np.array([token for tokens, _ in rows for token in tokens], "<u4").tofile(folder / "tokens.bin")
    np.array([weight for _, weights in rows for weight in weights], "<f2").tofile(folder / "weights.bin")
    return folder


def side(folder: Path, rows: list[Row], bins: list[list[int]]) -> Path:
    """Where each row lies in the only shard, and which of them make which sequence."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = [len(tokens) for tokens, _ in rows]
    pieces = np.zeros(len(rows), PIECE)
    pieces["begin"], pieces["length"] = np.cumsum([0, *lengths])[:-1], lengths
    np.save(folder / "pieces.npy", pieces)
    np.savez(folder / "bins.npz", rows=np.concatenate(bins), starts=np.cumsum([0, *(len(item) for item in bins)]))
    return folder


def dataset(folder: Path, rows: list[Row], train: list[list[int]], validation: list[list[int]]) -> tuple[Path, Path]:
    """The folder of a whole dataset with a prompt loss weight of 0.1, and that of its only shard."""
    for name, bins in {"train": train, "validation": validation}.items():
        side(folder / "index" / name, rows, bins)
    (folder / "index" / "index.json").write_text(json.dumps({"prompt_loss_weight": 0.1}))
    return folder / "index", shard(folder / "shard", rows)


def sequences(folder: Path, rows: list[Row], bins: list[list[int]], prompt_loss_weight: float = 0.1) -> Sequences:
    """The same, as training reads it."""
    return Sequences(side(folder / "side", rows, bins), [shard(folder / "shard", rows)], prompt_loss_weight)


def random_rows(count: int, seed: int = 0, vocab: int = 60) -> list[Row]:
    """Rows of 6 … 19 tokens; about half of them are learned, the others weigh what the index says."""
    chance = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        size = int(chance.integers(6, 20))
        weights = [0.0, *chance.choice([-1.0, 1.0], size - 1).tolist()]
        rows.append((chance.integers(3, vocab, size).tolist(), weights))
    return rows
