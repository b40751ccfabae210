"""What nodes have to have in common before they train together, compared by the first one."""

import importlib.metadata
import importlib.util
import os
import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from infra.errors import BadNodes, Lost, LuthierError, Unreachable
from infra.frozen import Frozen
from infra.launch.links import Reached, Spot, some
from infra.launch.nodes import NOWHERE

SKEW_S = 60.0  # between the clocks of two nodes: logs cannot be read side by side any more
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_CUDA = re.compile(r"^cuda\b.*=\s*'([^']+)'", re.MULTILINE)


class Facts(Frozen):
    """A node as it finds itself: where its door is, whose machine it is, what is installed, and the room that it has and needs."""

    spot: Spot
    machine: str
    versions: dict[str, str]
    free: int
    need: int

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"node {self.spot.node} ({self.spot.host})"


class Network(Frozen):
    """An address of this node, and the interface that has it."""

    interface: str
    address: str


def network(host: str, node: int, gpus: bool, environment: Mapping[str, str] = os.environ) -> Network:
    """The network by which ranks of this node meet others: the one that GLOO_SOCKET_IFNAME names, else that of its host.

    BadNodes where a variable names an interface that there is not.
    """
    families = (socket.AF_INET, socket.AF_INET6)
    has = {name: [one for one in ones if one.family in families] for name, ones in psutil.net_if_addrs().items()}
    has = {name: ones for name, ones in has.items() if ones}
    for variable in _INTERFACES:
        wanted = environment.get(variable, "")
        if wanted and (gpus or variable != "NCCL_SOCKET_IFNAME") and not _any(wanted, has, variable):
            raise BadNodes(
                f"node {node} ({host}) has no network {wanted}",
                place=variable,
                value=f"it has {', '.join(sorted(has))}",
                remedy="name one that every node has, or leave it out; ip -brief address shows them",
            )
    found = _resolved(host, node)
    here = [(name, one.address) for name, ones in has.items() for one in ones]
    if chosen := environment.get("GLOO_SOCKET_IFNAME", "").split(",")[0]:
        own = [address for name, address in here if name == chosen and "%" not in address]  # not of this link alone
        return Network(interface=chosen, address=next((one for one in found if one in own), [*own, *found][0]))
    known = [(name, address) for address in found for name, own in here if own == address]
    return Network(interface=known[0][0] if known else "", address=known[0][1] if known else found[0])


def _resolved(host: str, node: int) -> list[str]:
    """The addresses that a node's own name has for itself."""
    try:
        return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, None)))
    except OSError as error:
        raise Unreachable(
            f"node {node} does not know the name that others are to reach it by",
            place="LUTHIER_HOST",
            value=f"{host}: {error}",
            remedy="set an address, or leave it out and it is found",
        ) from error


def _any(wanted: str, has: Iterable[str], variable: str) -> bool:
    """Whether one of these interfaces is meant; NCCL takes beginnings of names, `=` and a name, or `^` and what is not."""
    if variable != "NCCL_SOCKET_IFNAME":
        return all(name in has for name in wanted.split(","))
    names = wanted.lstrip("^=").split(",")
    exact = wanted.lstrip("^").startswith("=")
    found = [any(name == one if exact else name.startswith(one) for one in names) for name in has]
    return not all(found) if wanted.startswith("^") else any(found)


def compare(every: list[Facts]) -> LuthierError | None:
    """What keeps these nodes, of which the first speaks, from training together: what no try changes comes first."""
    return _versions(every) or _addresses(every) or _room(every)


def _versions(every: list[Facts]) -> LuthierError | None:
    first, *others = every
    said = [
        f"{one.name}: {_has(name, one)}, {first.name} has {first.versions.get(name, 'none')}"
        for one in others
        for name in sorted(one.versions.keys() | first.versions.keys())
        if one.versions.get(name) != first.versions.get(name)
    ]
    if not said:
        return None
    return BadNodes(
        some(said),
        place="train.resources.nodes",
        remedy="install the same on every node (constraints.txt has the versions), or run all in one container image",
    )


def _has(name: str, facts: Facts) -> str:
    return f"{name} {facts.versions[name]}" if name in facts.versions else f"no {name}"


def _addresses(every: list[Facts]) -> LuthierError | None:
    """Nodes whose ranks would bind to what no other reaches, unless all are one machine: a name that its own node has for
    itself only, as Debian's /etc/hosts does; or no network at all for now."""
    inward = [one for one in every if _loopback(one.spot.address)]
    if not inward or len({one.machine for one in every}) == 1:
        return None
    if cut := [one for one in inward if one.spot.host == NOWHERE]:
        return Unreachable(
            some([f"{one.name} has no address that others could reach" for one in cut]),
            place="LUTHIER_HOST",
            remedy="is its network up? LUTHIER_HOST names the address where it is not found",
        )
    return BadNodes(
        some([f"{one.name} takes {one.spot.address}, which is itself, for its address" for one in inward]),
        place="LUTHIER_HOST",
        remedy="have its name in /etc/hosts stand for its address in the network, or name that: GLOO_SOCKET_IFNAME",
    )


def _loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _room(every: list[Facts]) -> LuthierError | None:
    small = [one for one in every if one.need > one.free]
    if not small:
        return None
    return Lost(
        some([f"{one.name}: the disk is too small for this training" for one in small]),
        place="LUTHIER_HOME",
        value=some([f"{one.name}: {one.need:,} bytes needed, {one.free:,} free" for one in small]),
        remedy="free some space there, or set LUTHIER_HOME to a larger disk",
    )


def skewed(every: list[Facts], own: Reached) -> str:
    """The nodes whose clocks are far from the first one's, in words."""
    names = {one.spot.node: one.name for one in every}
    far = [way for way in own.ways if not way.why and abs(way.ahead_s) > SKEW_S]
    sides = [(way, "ahead of" if way.ahead_s > 0 else "behind") for way in far]
    return some([f"{names[way.node]} is {abs(way.ahead_s):.0f} s {side} node 0" for way, side in sides])


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those that there are, and of what torch was built for."""
    found = {name: version for name in packages if (version := _version(name))}
    cuda = _cuda()
    nccl = _version(f"nvidia-nccl-cu{cuda.split('.')[0]}") if cuda else ""
    return found | ({"CUDA": cuda} if cuda else {}) | ({"NCCL": nccl} if nccl else {})


def _cuda() -> str:
    """The CUDA that torch was built for, from its source, as importing it takes seconds; empty for the CPU."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    about = Path(spec.origin).parent / "version.py"
    built = _CUDA.search(about.read_text()) if about.exists() else None
    return built[1] if built else ""


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
