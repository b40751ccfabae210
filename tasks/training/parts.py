"""A checkpoint of several nodes: each stores what its own ranks wrote, and the first seals it once all have."""

import re
import time
from pathlib import Path

from infra.errors import Crashed, LuthierError
from infra.frozen import Frozen, canonical
from infra.launch.nodes import of
from infra.launch.peers import PATIENCE_S, Peers
from infra.storage import layout
from infra.storage.receipt import FileEntry
from infra.storage.store import Store

PART = "part.json"
POLL_S = 0.3
_OF_RANK = re.compile(r"(?:rng_state_|zero_pp_rank_)(\d+)[._]")


class Part(Frozen):
    """The files that a node has stored of one checkpoint."""

    files: list[FileEntry]


class Share:
    """This node's share of each checkpoint: the files of its ranks, and for the first all that belongs to no rank."""

    def __init__(self, peers: Peers, ranks_a_node: int) -> None:
        self._peers, self.place = peers, peers.place
        self.ranks = range(self.place.node * ranks_a_node, (self.place.node + 1) * ranks_a_node)

    def needs(self, path: str) -> bool:
        """Whether a rank of this node reads a file, by its name."""
        rank = _OF_RANK.search(path)
        return rank is None or int(rank[1]) in self.ranks

    def owns(self, path: str) -> bool:
        """Whether it is this node that stores a file."""
        rank = _OF_RANK.search(path)
        return self.place.first if rank is None else int(rank[1]) in self.ranks

    def store(self, store: Store, folder: Path, at: str) -> list[FileEntry]:
        """Upload this node's part; other nodes than the first leave a record of it."""
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            if not self.owns(path.relative_to(folder).as_posix()):
                path.unlink()
        files = store.upload(folder, at)
        if not self.place.first:
            told = Part(files=files).model_dump(mode="json")
            store.objects.put(layout.join(at, of(PART, self.place.node)), canonical(told))
        return files

    def gather(self, store: Store, at: str) -> list[FileEntry]:
        """The files of all other nodes, once they are stored; raises what keeps a node from it for good, or for PATIENCE_S."""
        found, end = dict[int, Part](), time.monotonic() + PATIENCE_S
        while True:
            over = self._over()  # asked first: what a node stores it stores before it ends
            for node in set(range(1, self.place.nodes)) - found.keys():
                data = store.objects.get(layout.join(at, of(PART, node)))
                if data is not None:
                    found[node] = Part.model_validate_json(data)
            if len(found) == self.place.nodes - 1:
                return [file for node in sorted(found) for file in found[node].files]
            if over is not None:
                raise over
            if time.monotonic() > end:
                raise self._peers.stuck(min(set(range(1, self.place.nodes)) - found.keys()), PART)
            time.sleep(POLL_S)

    def hurry(self) -> None:
        """Wait no longer for others than it takes to see that they are gone."""
        self._peers.hurry()

    def _over(self) -> LuthierError | None:
        try:
            self._peers.look()
        except LuthierError as error:
            return error
        ended = sorted(self._peers.over)
        return Crashed(f"node {ended[0]} ended without its part of a checkpoint") if ended else None
