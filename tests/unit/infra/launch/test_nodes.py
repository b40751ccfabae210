"""Where a worker is among those of its stage."""

import socket

import pytest

from infra.errors import BadRecipe
from infra.launch import nodes
from infra.launch.nodes import Place, place, variables


def test_nothing_told_is_the_only_node() -> None:
    assert place({}) == Place(node=0, nodes=1, host="")
    assert place({}).first


def test_what_a_launcher_tells_is_what_a_worker_reads() -> None:
    assert place(variables(1, 3, "node-b")) == Place(node=1, nodes=3, host="node-b")
    assert not place(variables(1, 3, "node-b")).first


def test_an_address_that_nobody_told_is_one_of_this_machine() -> None:
    found = place(variables(0, 2)).host
    with socket.socket() as server:
        server.bind((found, 0))


@pytest.mark.parametrize(("node", "count"), [("2", "2"), ("-1", "2"), ("one", "2"), ("0", "0")])
def test_a_place_that_there_is_not_is_refused(node: str, count: str) -> None:
    with pytest.raises(BadRecipe, match="a place that there is not"):
        place({nodes.NODE: node, nodes.NODES: count})


def test_the_first_node_has_the_plain_names() -> None:
    assert Place().named("heartbeat.json") == "heartbeat.json"
    assert Place(node=2, nodes=3, host="c").named("heartbeat.json") == "heartbeat-2.json"
