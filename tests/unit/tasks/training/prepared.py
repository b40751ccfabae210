"""Writes prepared data in the layout that the data stage commits, from rows of token ids and weights."""

from pathlib import Path

import numpy as np

Row = tuple[list[int], list[float]]


def write(folder: Path, rows: list[Row], bins: list[list[int]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.array([token for tokens, _ in rows for token in tokens], "<u4").tofile(folder / "tokens.bin")
    np.array([weight for _, weights in rows for weight in weights], "<f2").tofile(folder / "weights.bin")
    np.save(folder / "offsets.npy", np.cumsum([0, *(len(tokens) for tokens, _ in rows)]))
    np.savez(folder / "bins.npz", rows=np.concatenate(bins), starts=np.cumsum([0, *(len(item) for item in bins)]))
    return folder


def random_rows(count: int, seed: int = 0, vocab: int = 60) -> list[Row]:
    chance = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        size = int(chance.integers(6, 20))
        weights = [0.0, *chance.choice([0.1, 1.0], size - 1).tolist()]
        rows.append((chance.integers(3, vocab, size).tolist(), weights))
    return rows
