"""One side of the data: what lies where of the rows that are taken, and the sequences that they are packed into."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.data.judged import Texts, strangers
from tasks.data.packing import Bins, one_each, pack

Ints = NDArray[np.int64]
Times = NDArray[np.int32]
CHUNK = 2**16  # rows that are laid out at once
# Where a piece of a row lies: in which shard, from which token on, and how many. Most rows are one piece.
PIECE = np.dtype([("shard", "<u4"), ("begin", "<u8"), ("length", "<u4")])


@dataclass(frozen=True)
class Side:
    """How often each row is taken, the pieces that makes, and which of them make a sequence.

    Of pairs the pieces are chosen and rejected in turn, and both are in one sequence. Of answers with a label, `labels`
    has that of each piece (1 is desirable), and `strangers` [pieces, 2] its prompt and an answer to another one: what
    KTO measures the drift of the model on.
    """

    times: Times
    pieces: NDArray[np.void]
    bins: Bins
    labels: NDArray[np.uint8] | None = None
    strangers: NDArray[np.void] | None = None

    @property
    def tokens(self) -> int:
        """All tokens of an epoch."""
        return int(self.pieces["length"].sum(dtype=np.int64))

    def write(self, folder: Path) -> None:
        """pieces.npy and bins.npz, and what there is beside them."""
        folder.mkdir(parents=True)
        np.save(folder / "pieces.npy", self.pieces)
        np.savez(folder / "bins.npz", rows=self.bins.rows, starts=self.bins.starts)
        for name, held in {"labels": self.labels, "strangers": self.strangers}.items():
            if held is not None:
                np.save(folder / f"{name}.npy", held)


@dataclass(frozen=True)
class Lying:
    """Where judged rows lie, each as often as it is taken: the shard and first token of each, and its texts as they are
    trained on; the hashes that decide their order, and of what they answer."""

    shard: NDArray[np.uint32]
    begin: NDArray[np.uint64]
    texts: Texts
    chosen: Ints
    order: NDArray[np.uint64]
    asked: NDArray[np.uint64]


def plain(
    times: Times,
    shard: NDArray[np.uint32],
    begin: NDArray[np.uint64],
    lengths: NDArray[np.uint32],
    limit: int,
    cut: bool,
    packing: bool,
) -> Side:
    """Rows as they lie, [rows]; those above `limit` tokens are cut, or go on in further pieces."""
    made = [
        _pieces(slice(at, min(at + CHUNK, len(times))), times, shard, begin, lengths, limit, cut)
        for at in range(0, len(times), CHUNK)
    ]
    pieces = np.concatenate([np.zeros(0, PIECE), *made])
    return Side(times, pieces, _bins(pieces["length"], limit, packing))


def _pieces(
    some: slice,
    times: Times,
    shard: NDArray[np.uint32],
    begin: NDArray[np.uint64],
    lengths: NDArray[np.uint32],
    limit: int,
    cut: bool,
) -> NDArray[np.void]:
    taken = np.repeat(np.arange(some.start, some.stop), times[some])
    tokens = lengths[taken].astype(np.int64)
    if cut:
        tokens = np.minimum(tokens, limit)
    count = np.maximum(1, -(-tokens // limit))
    at = np.repeat(np.arange(len(taken)), count)
    number = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
    start, stop = number * limit, np.minimum((number + 1) * limit, tokens[at])
    # Nothing would predict a last piece of one token: the piece before it leaves it another.
    single = (tokens[at] % limit == 1) & (tokens[at] > limit)
    stop -= single & (number == count[at] - 2)
    start -= single & (number == count[at] - 1)
    made = np.zeros(len(at), PIECE)
    made["shard"], made["begin"] = shard[taken][at], begin[taken][at] + start.astype(np.uint64)
    made["length"] = stop - start
    return made


def pairs(times: Times, rows: Lying, limit: int, packing: bool) -> Side:
    """Both texts of a row in one sequence of at most 2 × `limit` tokens. `rows.chosen` are the tokens of the chosen text
    as it lies, before it was cut."""
    pieces = np.zeros((len(rows.shard), 2), PIECE)
    pieces["shard"], pieces["length"] = rows.shard[:, None], rows.texts.length
    pieces["begin"] = np.stack([rows.begin, rows.begin + rows.chosen.astype(np.uint64)], axis=1)
    bins = _bins(rows.texts.length.sum(axis=1), 2 * limit, packing)
    both = np.stack([2 * bins.rows, 2 * bins.rows + 1], axis=1).reshape(-1)
    return Side(times, pieces.reshape(-1), Bins(both, 2 * bins.starts))


def labels(times: Times, rows: Lying, said: NDArray[np.uint8], limit: int, packing: bool) -> Side:
    """Rows with their labels. A sequence is as full as its rows or their strangers make it, so that neither is longer
    than `limit`."""
    length, first = rows.texts.length[:, 0], rows.texts.first[:, 0]
    pieces, other = np.zeros(len(length), PIECE), strangers(rows.order, rows.asked)
    pieces["shard"], pieces["begin"], pieces["length"] = rows.shard, rows.begin, length
    made = np.zeros((len(length), 2), PIECE)
    made[:, 0], made["length"][:, 0] = pieces, first
    made["shard"][:, 1] = rows.shard[other]
    made["begin"][:, 1] = rows.begin[other] + first[other].astype(np.uint64)
    made["length"][:, 1] = np.minimum(length[other] - first[other], limit - first)
    room = np.maximum(length, made["length"].sum(axis=1, dtype=np.int64))
    return Side(times, pieces, _bins(room, limit, packing), said, made)


def _bins(lengths: Ints, limit: int, packing: bool) -> Bins:
    return pack(lengths, limit) if packing else one_each(len(lengths))
