"""A worker's place among those of its stage, one a node: told by the launcher, found by itself where nothing is told."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from infra.errors import BadRecipe
from infra.frozen import Frozen

NODE, NODES, HOST = "LUTHIER_NODE", "LUTHIER_NODES", "LUTHIER_HOST"
NOWHERE = "127.0.0.1"  # the address of a machine without a network
_ELSEWHERE = ("192.0.2.1", 9)  # RFC 5737: nobody's; asking for the way there sends nothing


class Place(Frozen):
    """Node `node` of `nodes`, counted from 0; others reach it at `host`, a name or an address."""

    node: int = 0
    nodes: int = 1
    host: str = ""

    @property
    def first(self) -> bool:
        """Whether this node speaks for all: it commits, seals checkpoints, and has rank 0."""
        return self.node == 0

    def named(self, name: str) -> str:
        """What a file is called that every node writes: `heartbeat.json`, `heartbeat-1.json`."""
        return of(name, self.node)


def of(name: str, node: int) -> str:
    """The name of a node's file among those of all nodes; the first has the plain one."""
    stem, dot, kind = name.partition(".")
    return name if node == 0 else f"{stem}-{node}{dot}{kind}"


def beside(path: Path, node: int) -> Path:
    """A node's file beside the first one's."""
    return path.with_name(of(path.name, node))


def variables(node: int, nodes: int, host: str = "") -> dict[str, str]:
    """What a launcher sets for a worker; without a host the worker finds its own."""
    told = {NODE: str(node), NODES: str(nodes)}
    return told | {HOST: host} if host else told


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """This worker's place; the only one where nothing is set. BadRecipe where the variables make no sense."""
    node, nodes = environment.get(NODE, "0"), environment.get(NODES, "1")
    try:
        made = Place.model_validate({"node": node, "nodes": nodes, "host": environment.get(HOST, "")})
        sound = 0 <= made.node < made.nodes
    except ValidationError:
        sound = False
    if not sound:
        raise BadRecipe(
            "the launcher told this worker a place that there is not",
            place=f"{NODE}, {NODES}",
            value=f"{node} of {nodes}",
            remedy=f"{NODE} counts from 0 and is below {NODES}",
        )
    return made if made.host or made.nodes == 1 else made.model_copy(update={"host": _own_address()})


def _own_address() -> str:
    """The address of the network that this machine reaches others by; that of itself where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(_ELSEWHERE)
        except OSError:
            return NOWHERE
        return str(asked.getsockname()[0])
