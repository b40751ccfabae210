"""The ways between the nodes of a launch: each has a door that the others knock at, so a dead way is told from a dead node."""

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from infra.errors import Unreachable
from infra.frozen import Frozen, canonical

# Below what Linux gives to outgoing connections, so that none of them takes one first.
PORTS = range(20000, 32768)
TRIES = 50
KNOCK_S = 5.0  # a lost packet is sent again after 1 s and after 3 s
AGAIN_S = 0.5
AT_ONCE = 32
LONGEST = 1000  # bytes of an answer
SHOWN = 4  # pairs in a message


class Answer(Frozen):
    """What a door says to whoever knocks: whose it is, and what time it is there."""

    attempt: str
    node: int
    at: float


class Spot(Frozen):
    """Where a node's door is: by the name that it is given, and by the address that its ranks bind to."""

    node: int
    host: str
    address: str
    port: int

    @property
    def ways(self) -> list[str]:
        """What others try it by."""
        return list(dict.fromkeys([self.host, self.address]))


class Way(Frozen):
    """A node that was knocked at: empty `why` where it answered. `silent`: nothing came back, not even a refusal."""

    node: int
    why: str = ""
    silent: bool = False
    ahead_s: float = 0.0


class Reached(Frozen):
    """What one node found of its ways to the others."""

    ways: tuple[Way, ...] = ()

    def failed(self) -> dict[int, Way]:
        """The ways that do not serve, by the node that they would lead to."""
        return {way.node: way for way in self.ways if way.why}


class Door:
    """Answers everybody who connects, at a port of its own, until it is closed. It reads nothing."""

    clock = staticmethod(time.time)

    def __init__(self, attempt: str, node: int) -> None:
        self._attempt, self._node = attempt, node
        self._socket, self._closed = listening(), threading.Event()
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._answer, daemon=True, name="door")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # the thread waits in accept, which a close does not end
        self._thread.join(KNOCK_S)
        self._socket.close()

    def _answer(self) -> None:
        while not self._closed.is_set():
            try:
                guest, _ = self._socket.accept()
            except OSError:  # a guest that left at once, or no descriptor is free
                self._closed.wait(AGAIN_S)
                continue
            with guest, contextlib.suppress(OSError):  # a guest that has gone wants no answer
                guest.settimeout(KNOCK_S)
                told = Answer(attempt=self._attempt, node=self._node, at=self.clock())
                guest.sendall(canonical(told.model_dump(mode="json")) + b"\n")


def listening() -> socket.socket:
    """A socket that listens at a port of PORTS that was free, on every address of this machine."""
    for port in random.SystemRandom().sample(PORTS, TRIES):
        try:
            if socket.has_dualstack_ipv6():
                return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            return socket.create_server(("", port))
        except OSError:
            continue
    raise Unreachable(
        "no port is free for the nodes to reach each other at",
        place=f"ports {PORTS.start} to {PORTS.stop - 1}",
        value=f"{TRIES} were tried",
        remedy="see what listens there: ss -ltn",
    )


class Links:
    """One node's ways to all others, whose doors it knows."""

    def __init__(self, node: int, attempt: str, spots: list[Spot]) -> None:
        self.node, self._attempt = node, attempt
        self._spots = {spot.node: spot for spot in spots}
        self._known: dict[
            str, str
        ] = {}  # the address of each name that served once, as a name server may be cut off too

    def reach(self, within_s: float = 0.0) -> Reached:
        """Knock at every other door, at all of them at once; again at those that do not answer, for so many seconds."""
        others = [spot for spot in self._spots.values() if spot.node != self.node]
        end = time.monotonic() + within_s
        with ThreadPoolExecutor(min(AT_ONCE, max(1, len(others)))) as pool:
            return Reached(ways=tuple(pool.map(lambda spot: self._way(spot, end), others)))

    def _way(self, spot: Spot, end: float) -> Way:
        while (way := self._tried(spot)).why and time.monotonic() < end:
            time.sleep(AGAIN_S)
        return way

    def _tried(self, spot: Spot) -> Way:
        ahead = 0.0
        for host in spot.ways:
            began = time.time()
            try:
                address, said = _knock(self._known.get(host, host), spot.port)
                told = Answer.model_validate_json(said)
            except ValidationError:
                return Way(node=spot.node, why=f"{host}:{spot.port}: something else answers there")
            except OSError as error:
                # Refused and reset are answers too; and a name that nobody knows says nothing of the way.
                silent = not isinstance(error, ConnectionError | socket.gaierror)
                return Way(node=spot.node, why=f"{host}:{spot.port}: {error}", silent=silent)
            if (told.attempt, told.node) != (self._attempt, spot.node):
                return Way(node=spot.node, why=f"{host}:{spot.port}: another's node {told.node} answers there")
            self._known[host] = address
            ahead = told.at - (began + time.time()) / 2
        return Way(node=spot.node, ahead_s=round(ahead, 3))

    def names(self) -> dict[int, str]:
        """What a message calls each node."""
        return {spot.node: f"{spot.node} ({spot.host})" for spot in self._spots.values()}

    def whys(self, found: Mapping[int, Reached]) -> str:
        """Why ways do not serve, for the value of an error."""
        said = [f"from node {node} to {way.why}" for node in sorted(found) for way in found[node].failed().values()]
        return some(said)

    def closed(self, found: Mapping[int, Reached]) -> str:
        """The ways that do not serve, in words; empty where all do."""
        return self._told((node, to) for node, told in found.items() for to in told.failed())

    def dark(self, found: Mapping[int, Reached]) -> str:
        """The pairs of nodes between which nothing passes, in words. A node whose worker has ended refuses, and is none;
        where one of a pair says that the other answers, its word counts."""
        return self._told(pair for pair in _silent(found) if _borne_out(*pair, found))

    def _told(self, pairs: Iterable[tuple[int, int]]) -> str:
        names, found = self.names(), set(pairs)
        said = []
        for one, other in sorted(found):
            if (other, one) not in found:
                said.append(f"node {names[one]} does not reach node {names[other]}")
            elif one < other:
                said.append(f"nodes {names[one]} and {names[other]} do not reach each other")
        return some(said)


def _silent(found: Mapping[int, Reached]) -> Iterator[tuple[int, int]]:
    """All pairs, both ways round, of which one heard nothing of the other."""
    for node, told in found.items():
        for to, way in told.failed().items():
            if way.silent:
                yield node, to
                yield to, node


def _borne_out(one: int, other: int, found: Mapping[int, Reached]) -> bool:
    """Whether neither of two nodes says that it reaches the other."""
    return not any(
        way.node == to and not way.silent
        for node, to in ((one, other), (other, one))
        for way in found.get(node, Reached()).ways
    )


def _knock(host: str, port: int) -> tuple[str, bytes]:
    """The address that a name led to, and the line that whoever listens there says."""
    end = time.monotonic() + KNOCK_S
    with socket.create_connection((host, port), KNOCK_S) as way:
        said = b""
        while not said.endswith(b"\n") and len(said) < LONGEST:
            way.settimeout(max(end - time.monotonic(), 0.01))
            more = way.recv(LONGEST)
            if not more:
                break
            said += more
        return str(way.getpeername()[0]), said


def some(said: list[str]) -> str:
    """The first few of many things to say."""
    return "; ".join(said[:SHOWN]) + (f"; and {len(said) - SHOWN} more" if len(said) > SHOWN else "")
