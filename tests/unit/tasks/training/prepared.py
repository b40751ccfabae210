"""Writes prepared data in the layout that the data stage commits, from rows of token ids and weights."""

import json
from pathlib import Path

import numpy as np

from tasks.training.sequences import Sequences

Row = tuple[list[int], list[float]]
PIECE = [("shard", "<u4"), ("begin", "<u8"), ("length", "<u4")]


def shard(folder: Path, rows: list[Row], texts: int = 1) -> Path:
    """Tokens and weights one behind the other; row 0 stands in line 1 of its file. Of pairs a row is two of the texts."""
    folder.mkdir(parents=True, exist_ok=True)
    np.array([token for tokens, _ in rows for token in tokens], "<u4").tofile(folder / "tokens.bin")
    np.array([weight for _, weights in rows for weight in weights], "<f2").tofile(folder / "weights.bin")
    known = np.zeros(len(rows) // texts, [("line", "<u4"), ("length", "<u4"), ("segment", "<u2")])
    known["line"] = np.arange(len(known)) + 1
    known["length"] = np.array([len(tokens) for tokens, _ in rows]).reshape(-1, texts).sum(axis=1)
    np.save(folder / "rows.npy", known)
    return folder


def side(folder: Path, rows: list[Row], bins: list[list[int]]) -> Path:
    """Where each row lies in the only shard, and which of them make which sequence."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = [len(tokens) for tokens, _ in rows]
    pieces = np.zeros(len(rows), PIECE)
    pieces["begin"], pieces["length"] = np.cumsum([0, *lengths])[:-1], lengths
    np.save(folder / "pieces.npy", pieces)
    np.savez(
        folder / "bins.npz",
        rows=np.concatenate([np.zeros(0, np.int64), *bins]),
        starts=np.cumsum([0, *(len(item) for item in bins)]),
    )
    return folder


def dataset(folder: Path, rows: list[Row], train: list[list[int]], validation: list[list[int]]) -> tuple[Path, Path]:
    """The folder of a whole dataset with a prompt loss weight of 0.1, and that of its only shard."""
    for name, bins in {"train": train, "validation": validation}.items():
        side(folder / "index" / name, rows, bins)
    index = {"prompt_loss_weight": 0.1, "shards": [{"segments": [["rows.jsonl", "jsonl", 0]]}]}
    (folder / "index" / "index.json").write_text(json.dumps(index))
    return folder / "index", shard(folder / "shard", rows)


def judged(
    folder: Path, kind: str, count: int, held: int, per_bin: int = 2, bad_text: int | None = None
) -> tuple[Path, Path]:
    """A whole dataset of `count` pairs or answers with a label, `held` of them held out, and the folder of its shard.

    Of pairs the texts begin alike; three of four labels are good, and the stranger of an answer is the next one. A bad text
    weighs infinitely much.
    """
    rows = [row for pair in range(count) for row in _answers(pair, 2 if kind == "pairs" else 1)]
    if bad_text is not None:
        rows[bad_text] = (
            rows[bad_text][0],
            [weight * np.inf if weight > 0 else weight for weight in rows[bad_text][1]],
        )
    (folder / "index").mkdir(parents=True, exist_ok=True)
    told = {"prompt_loss_weight": 0.0, "judged": kind, "shards": [{"segments": [[f"{kind}.jsonl", "jsonl", 0]]}]}
    (folder / "index" / "index.json").write_text(json.dumps(told))
    for name, first, last in (("train", held, count), ("validation", 0, held)):
        each = len(rows) // count
        texts = [
            [text for at in range(start, min(start + per_bin, last)) for text in range(each * at, each * at + each)]
            for start in range(first, last, per_bin)
        ]
        made = side(folder / "index" / name, rows, texts)
        if kind == "labels":
            np.save(made / "labels.npy", np.arange(len(rows)) % 4 > 0)
            pieces = np.load(made / "pieces.npy")
            own, other = (np.zeros(len(rows), PIECE) for _ in range(2))
            own[:], other[:] = pieces, np.roll(pieces, -1)
            own["length"], other["begin"] = PROMPT, other["begin"] + PROMPT
            other["length"] -= PROMPT
            np.save(made / "strangers.npy", np.stack([own, other], axis=1))
    return folder / "index", shard(folder / "shard", rows, len(rows) // count)


PROMPT = 5


def _answers(number: int, count: int, vocab: int = 60) -> list[Row]:
    chance = np.random.default_rng(number)
    prompt = chance.integers(3, vocab, PROMPT).tolist()
    sizes = chance.integers(2, 9, count).tolist()
    return [
        (prompt + chance.integers(3, vocab, size).tolist(), [0.0] + [-1.0] * (PROMPT - 1) + [1.0] * size)
        for size in sizes
    ]


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
