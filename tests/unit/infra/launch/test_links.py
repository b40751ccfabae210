"""Doors that others knock at, on real sockets; and which pairs of nodes a set of findings names."""

import socket
import time
from collections.abc import Iterator

import pytest

from infra.errors import Unreachable
from infra.launch import links
from infra.launch.links import PORTS, Door, Links, Reached, Spot, Way, listening


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "KNOCK_S", 0.3)
    monkeypatch.setattr(links, "AGAIN_S", 0.02)


def spot(node: int, port: int, host: str = "127.0.0.1") -> Spot:
    return Spot(node=node, host=host, address="127.0.0.1", port=port)


def way_to(port: int, host: str = "127.0.0.1") -> Way:
    """What node 0 finds of its way to a node 1 there."""
    (way,) = Links(0, "a", [spot(0, 1), spot(1, port, host)]).reach().ways
    return way


@pytest.fixture
def dark() -> Iterator[int]:
    """A port at which packets are dropped: its queue is full, and nobody takes from it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for guest in waiting:
            guest.setblocking(False)
            guest.connect_ex(("127.0.0.1", port))
        yield port
        for guest in waiting:
            guest.close()


def test_a_door_answers_whoever_knocks_and_tells_its_time() -> None:
    with Door("a", 1) as door:
        assert door.port in PORTS
        for _ in range(2):
            way = way_to(door.port)
            assert (way.why, way.silent) == ("", False)
            assert abs(way.ahead_s) < 5
    assert way_to(door.port).why, "it is closed"


def test_a_clock_that_is_ahead_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    with Door("a", 1) as door:
        now = time.time
        monkeypatch.setattr(Door, "clock", staticmethod(lambda: now() + 90))
        assert 85 < way_to(door.port).ahead_s < 95


def test_a_name_that_served_once_is_not_asked_for_again() -> None:
    with Door("a", 1) as door:
        client = Links(0, "a", [spot(0, 1), spot(1, door.port, "localhost")])
        assert client.reach().failed() == {}
    assert client._known["localhost"] in ("127.0.0.1", "::1")


def test_another_launchs_door_is_not_taken_for_the_nodes() -> None:
    with Door("another", 1) as other, Door("a", 2) as third:
        assert "another's node 1 answers there" in way_to(other.port).why
        assert "another's node 2 answers there" in way_to(third.port).why


def test_a_port_that_something_else_answers_at_is_told_as_that() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = Links(0, "a", [spot(0, 1), spot(1, port)])
        with links.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(client.reach)
            guest, _ = server.accept()
            guest.sendall(b"SSH-2.0\r\n")
            guest.close()
            (way,) = asked.result(5).ways
    assert way.why == f"127.0.0.1:{port}: something else answers there"


def test_a_refusal_is_an_answer_and_silence_is_none(dark: int) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = way_to(unused.getsockname()[1])
    assert "refused" in refused.why
    assert not refused.silent
    assert way_to(dark).silent


def test_a_name_that_nobody_knows_says_nothing_of_the_way() -> None:
    unknown = way_to(1, host="nobody.invalid")
    assert unknown.why
    assert not unknown.silent


def test_a_way_that_does_not_serve_at_once_is_tried_again() -> None:
    with listening() as kept:
        port = kept.getsockname()[1]
    client = Links(0, "a", [spot(0, 1), spot(1, port)])
    with links.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.reach, 20.0)
        time.sleep(0.1)
        with socket.create_server(("127.0.0.1", port)) as server:
            guest, _ = server.accept()
            guest.sendall(b'{"attempt":"a","node":1,"at":1.0}\n')
            guest.close()
            assert asked.result(10).failed() == {}


def test_no_free_port_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(links, "PORTS", range(port, port + 1))
        monkeypatch.setattr(links, "TRIES", 1)
        with pytest.raises(Unreachable, match="no port is free"):
            listening()


THREE = Links(0, "a", [spot(node, 1, f"10.0.0.{node + 1}") for node in range(3)])


def silent(*nodes: int) -> Reached:
    """One that hears nothing of these nodes, and reaches the rest."""
    return Reached(
        ways=tuple(Way(node=node, why="timed out" if node in nodes else "", silent=node in nodes) for node in range(3))
    )


def test_ways_that_are_closed_are_named_by_direction() -> None:
    assert THREE.closed({0: silent(), 1: silent(), 2: silent()}) == ""
    assert THREE.closed({0: silent(1), 1: silent()}) == "node 0 (10.0.0.1) does not reach node 1 (10.0.0.2)"
    both = {0: silent(2), 2: silent(0)}
    assert THREE.closed(both) == "nodes 0 (10.0.0.1) and 2 (10.0.0.3) do not reach each other"
    assert "timed out" in THREE.whys(both)
    many = Links(0, "a", [spot(node, 1) for node in range(9)])
    every = {0: Reached(ways=tuple(Way(node=node, why="refused") for node in range(1, 9)))}
    assert many.closed(every).endswith("; and 4 more")


def test_between_two_nodes_it_is_dark_only_where_neither_hears_the_other() -> None:
    pair = "nodes 1 (10.0.0.2) and 2 (10.0.0.3) do not reach each other"
    assert THREE.dark({0: silent(), 1: silent(2), 2: silent(1)}) == pair
    assert THREE.dark({0: silent(), 1: silent(2)}) == pair, "the other had no time to say so"
    assert THREE.dark({0: silent(), 1: silent(2), 2: silent()}) == ""
    refused = Reached(ways=(Way(node=1, why="refused"),))
    assert THREE.dark({1: silent(2), 2: refused}) == "", "its worker has ended, and its machine answers"
    assert THREE.dark({2: refused}) == ""
