"""Ports: the well-known one where it is free, and never one that somebody listens on."""

import os
import socket
from collections.abc import Iterator

import pytest

from infra.stack.ports import HOST, SHIFT, choose, free, listener


@pytest.fixture
def wanted() -> int:
    return choose(11000 + os.getpid() % 9000, [])


@pytest.fixture
def busy(wanted: int) -> Iterator[int]:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((HOST, wanted))
        server.listen(1)
        yield wanted


def test_the_well_known_port_is_taken_where_it_is_free(wanted: int) -> None:
    assert choose(wanted, []) == wanted


def test_a_port_that_somebody_listens_on_is_not(busy: int) -> None:
    assert not free(busy)
    assert choose(busy, []) != busy
    assert choose(busy - SHIFT, []) != busy - SHIFT, "SeaweedFS opens another port 10,000 above"


def test_a_port_that_is_given_away_already_is_not(wanted: int) -> None:
    assert choose(wanted, [wanted]) != wanted
    assert choose(wanted, [wanted + SHIFT]) != wanted


def test_a_connection_that_fades_away_does_not_count(wanted: int) -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((HOST, wanted))
        server.listen(1)
        with socket.create_connection((HOST, wanted)):
            server.accept()[0].close()
    assert free(wanted)


def test_who_listens_is_named(busy: int) -> None:
    assert str(os.getpid()) in listener(busy)
