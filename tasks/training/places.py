"""From a token of a dataset back to the row that it is of: which file, which line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Places:
    """Where the rows of a dataset stand in their source files, from what the data stage left beside the tokens."""

    def __init__(self, dataset: Path, shards: list[Path]) -> None:
        self._told = json.loads((dataset / "index.json").read_bytes()).get("shards")
        self._shards = shards
        self._known: dict[int, tuple[Any, npt.NDArray[np.int64]]] = {}

    def of(self, shard: int, begin: int) -> str:
        """`file:line` of the row whose tokens in a shard hold the one at `begin`."""
        if not self._told:  # a dataset of a Luthier that did not note it
            return f"shard {shard}, token {begin}"
        if shard not in self._known:
            rows = np.load(self._shards[shard] / "rows.npy", mmap_mode="r")
            self._known[shard] = rows, np.cumsum(rows["length"], dtype=np.int64)
        rows, ends = self._known[shard]
        row = rows[int(np.searchsorted(ends, begin, side="right"))]
        name, _, lines = self._told[shard]["segments"][int(row["segment"])]
        return f"{name}:{lines + int(row['line'])}"
