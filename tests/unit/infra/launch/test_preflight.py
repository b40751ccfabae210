"""Nodes that differ are told by name, before anything is loaded; what no try changes is refused, what may pass is lost."""

import pytest

from infra.errors import BadNodes, Lost, LuthierError, Unreachable
from infra.launch import preflight
from infra.launch.links import Reached, Spot, Way
from infra.launch.preflight import Facts, compare, installed, network, skewed

SAME = {"torch": "2.10.0", "python": "3.11"}


def node(number: int, host: str, address: str = "", free: int = 10**12, **versions: str) -> Facts:
    spot = Spot(node=number, host=host, address=address or f"10.0.0.{number + 1}", port=20000)
    return Facts(spot=spot, machine=host, versions=SAME | versions, free=free, need=10**9)


A, B = node(0, "gpu-a"), node(1, "gpu-b")


def told(*every: Facts) -> LuthierError:
    error = compare(list(every))
    assert error is not None
    return error


def test_nodes_that_are_alike_may_go() -> None:
    assert compare([A, B, node(2, "gpu-c")]) is None


def test_another_version_is_refused_with_both_hosts() -> None:
    error = told(A, node(1, "gpu-b", torch="2.9.0"))
    assert type(error) is BadNodes
    assert not error.retry
    assert error.what == "node 1 (gpu-b): torch 2.9.0, node 0 (gpu-a) has 2.10.0"
    assert "same on every node" in error.remedy


def test_what_only_one_has_is_told_as_that() -> None:
    with_nccl = node(1, "gpu-b", NCCL="2.28.9")
    assert told(A, with_nccl).what == "node 1 (gpu-b): NCCL 2.28.9, node 0 (gpu-a) has none"
    assert told(node(0, "gpu-a", NCCL="2.28.9"), B).what == "node 1 (gpu-b): no NCCL, node 0 (gpu-a) has 2.28.9"


def test_many_differences_are_told_in_short() -> None:
    said = told(A, *(node(number, f"gpu-{number}", torch="2.9.0") for number in range(1, 9))).what
    assert said.count("torch 2.9.0") == 4
    assert said.endswith("; and 4 more")


def test_a_name_that_its_own_node_has_for_itself_is_refused_unless_all_nodes_are_one_machine() -> None:
    error = told(A, node(1, "gpu-b", address="127.0.1.1"))
    assert type(error) is BadNodes
    assert error.what == "node 1 (gpu-b) takes 127.0.1.1, which is itself, for its address"
    assert "/etc/hosts" in error.remedy
    assert type(told(node(0, "gpu-a", address="127.0.1.1"), node(1, "gpu-b", address="127.0.1.1"))) is BadNodes
    assert compare([node(0, "127.0.0.1", "127.0.0.1"), node(1, "127.0.0.1", "127.0.0.1")]) is None


def test_a_node_that_has_no_network_for_now_is_lost() -> None:
    error = told(A, node(1, "127.0.0.1", address="127.0.0.1"))
    assert type(error) is Unreachable
    assert error.what == "node 1 (127.0.0.1) has no address that others could reach"


def test_a_disk_without_room_is_lost_as_it_may_be_freed() -> None:
    error = told(A, node(1, "gpu-b", free=10**8))
    assert type(error) is Lost
    assert error.what == "node 1 (gpu-b): the disk is too small for this training"
    assert error.value == "node 1 (gpu-b): 1,000,000,000 bytes needed, 100,000,000 free"


def test_what_no_try_changes_is_told_before_what_may_pass() -> None:
    assert type(told(A, node(1, "gpu-b", free=0, torch="2.9.0"))) is BadNodes


def test_clocks_that_differ_are_told_and_end_nothing() -> None:
    own = Reached(
        ways=(
            Way(node=1, ahead_s=95.2),
            Way(node=2, ahead_s=-59.0),
        )
    )
    assert skewed([A, B, node(2, "gpu-c")], own) == "node 1 (gpu-b) is 95 s ahead of node 0"
    assert "61 s behind node 0" in skewed([A, B], Reached(ways=(Way(node=1, ahead_s=-61.0),)))


def test_the_network_is_that_of_the_nodes_address_or_the_one_that_is_named() -> None:
    assert network("127.0.0.1", 0, False, {}) == preflight.Network(interface="lo", address="127.0.0.1")
    assert network("192.0.2.1", 0, False, {}) == preflight.Network(interface="", address="192.0.2.1")
    named = network("192.0.2.1", 0, False, {"GLOO_SOCKET_IFNAME": "lo"})
    assert (named.interface, named.address) == ("lo", "127.0.0.1")


def test_a_network_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(BadNodes, match=r"node 1 \(127.0.0.1\) has no network ib7") as refused:
        network("127.0.0.1", 1, False, {"GLOO_SOCKET_IFNAME": "ib7"})
    assert "lo" in refused.value.value
    with pytest.raises(BadNodes, match="has no network ib7"):
        network("127.0.0.1", 1, True, {"NCCL_SOCKET_IFNAME": "ib7"})
    network("127.0.0.1", 1, False, {"NCCL_SOCKET_IFNAME": "ib7"})  # without a GPU nobody asks


@pytest.mark.parametrize(
    ("wanted", "there"),
    [
        ("eth", True),
        ("=eth", False),
        ("=eth0", True),
        ("ib,eth", True),
        ("^docker", True),
        ("^lo,eth", False),
        ("ib", False),
    ],
)
def test_ncclls_way_to_name_networks_is_understood(wanted: str, there: bool) -> None:
    assert preflight._any(wanted, ["lo", "eth0"], "NCCL_SOCKET_IFNAME") is there


def test_a_name_that_the_node_itself_does_not_know_may_pass() -> None:
    with pytest.raises(Unreachable, match="node 1 does not know the name"):
        network("nobody.invalid", 1, False, {})


def test_versions_are_read_without_loading_anything() -> None:
    found = installed(["pydantic", "no-such-package"])
    assert list(found)[:1] == ["pydantic"]
    assert "no-such-package" not in found
    built = preflight._CUDA.search("__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\nhip = None\n")
    assert built is not None
    assert built[1] == "13.0"
    assert preflight._CUDA.search("cuda: Optional[str] = None\n") is None
