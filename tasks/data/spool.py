"""Tokens on their way from rows to the two splits: appended to flat files, divided once all are known."""

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.data.packing import Bins, Ints
from tasks.data.tokens import Tokens

KINDS: dict[str, np.dtype[Any]] = {"tokens": np.dtype("<u4"), "weights": np.dtype("<f2")}
RUN = 2**22  # tokens copied at once


class Spool:
    """Rows in reading order, in two flat files; in memory only 22 bytes a row."""

    def __init__(self, folder: Path, prompt_loss_weight: float) -> None:
        folder.mkdir(parents=True)
        self.folder, self._prompt = folder, prompt_loss_weight
        self._files = {kind: (folder / f"{kind}.bin").open("wb") for kind in KINDS}
        self._lengths, self._learned, self._prints = array("I"), array("I"), array("Q")
        self._chats, self._heads = bytearray(), bytearray()

    def add(self, tokens: Tokens, fingerprint: int, chat: bool, head: bool = True) -> None:
        """Append one row, or a piece of one: the first is its head."""
        for kind, values in (("tokens", tokens.ids), ("weights", weights(tokens, self._prompt))):
            self._files[kind].write(values.astype(KINDS[kind]).tobytes())  # tofile would flush every row
        self._lengths.append(len(tokens.ids))
        self._learned.append(int(tokens.learned.sum()))
        self._prints.append(fingerprint)
        self._chats.append(chat)
        self._heads.append(head)

    def close(self) -> None:
        """Finish the files; nothing can be added afterwards."""
        for file in self._files.values():
            file.close()

    @property
    def lengths(self) -> Ints:
        """Tokens of each row."""
        return np.array(self._lengths, dtype=np.int64)

    @property
    def learned(self) -> Ints:
        """Answer tokens of each row."""
        return np.array(self._learned, dtype=np.int64)

    @property
    def fingerprints(self) -> NDArray[np.uint64]:
        """The content hash of each row."""
        return np.array(self._prints, dtype=np.uint64)

    @property
    def chats(self) -> NDArray[np.bool_]:
        """Which rows are conversations."""
        return np.frombuffer(bytes(self._chats), dtype=np.uint8).astype(bool)

    @property
    def heads(self) -> NDArray[np.bool_]:
        """Which of them begin a row; the others go on with the one before."""
        return np.frombuffer(bytes(self._heads), dtype=np.uint8).astype(bool)

    def write(self, folder: Path, chosen: NDArray[np.bool_]) -> Ints:
        """Write the tokens, weights and offsets of the chosen rows; their lengths."""
        folder.mkdir(parents=True)
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        for kind, dtype in KINDS.items():
            with (folder / f"{kind}.bin").open("wb") as target:
                if chosen.any():
                    source = np.memmap(self.folder / f"{kind}.bin", dtype=dtype, mode="r")
                    for first, stop in _runs(chosen):
                        for start in range(ends[first], ends[stop], RUN):
                            source[start : min(start + RUN, ends[stop])].tofile(target)
        lengths = self.lengths[chosen]
        np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
        return lengths


def weights(tokens: Tokens, prompt: float) -> NDArray[np.float64]:
    """The loss weight of each token: answers 1, the first 0 as nothing predicts it, and `prompt` for the others."""
    made = np.where(tokens.learned, 1.0, prompt)
    made[:1] = 0
    return made


def held_out(fingerprints: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Which rows are validation: those with the lowest hashes, so that equal rows always share a side.

    With a share above 0 and two different rows, neither side is empty.
    """
    if len(fingerprints) == 0:
        return np.zeros(0, dtype=bool)
    chosen = fingerprints < np.uint64(int(share * 2**64))
    if share and not chosen.any():
        chosen = fingerprints == fingerprints.min()
    if chosen.all():
        chosen = fingerprints != fingerprints.max()
    return np.asarray(chosen)


def save_bins(folder: Path, bins: Bins) -> None:
    """The packing index of a split."""
    np.savez(folder / "bins.npz", rows=bins.rows, starts=bins.starts)


def _runs(chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
