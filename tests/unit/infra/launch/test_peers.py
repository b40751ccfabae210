"""What the nodes of a launch hear of each other, in a real store."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.errors import Crashed, LuthierError, NodeLost, OutOfMemory, Unreachable
from infra.frozen import canonical
from infra.launch import peers
from infra.launch.nodes import Place, of
from infra.launch.peers import Peers
from infra.launch.step import Beat, Outcome, Spec
from infra.settings import Platform
from infra.storage import layout
from tests import jobs

SPEC = Spec(stage="training", version=1, key="0" * 64, attempt="a", config={}, inputs={})
DIED = Crashed("a rank died", value="rank 0: exit status 1")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "GONE_S", 0.5)
    monkeypatch.setattr(peers, "LOOK_S", 0.0)
    monkeypatch.setattr(peers, "POLL_S", 0.02)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return jobs.platform(tmp_path)


def node(platform: Platform, number: int, nodes: int = 2) -> Peers:
    return Peers(platform, SPEC, Place(node=number, nodes=nodes, host=f"host-{number}"))


def put(platform: Platform, name: str, number: int, value: Beat | Outcome) -> None:
    at = layout.job(SPEC.stage, SPEC.key, SPEC.attempt, of(name, number))
    platform.store.objects.put(at, canonical(value.model_dump(mode="json")))


def beat(platform: Platform, number: int) -> None:
    put(platform, "heartbeat.json", number, Beat(at=time.time()))


def ended(platform: Platform, number: int, error: LuthierError | None = None) -> None:
    told = Outcome(state="done") if error is None else Outcome(state="failed", error=error.report())
    put(platform, "outcome.json", number, told)


def raised(look: Callable[[], object], within: float = 10) -> LuthierError:
    """What looking again and again comes to."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            look()
        except LuthierError as error:
            return error
        time.sleep(0.02)
    raise AssertionError("nothing was raised")


def test_a_record_is_heard_by_who_waits_for_it(platform: Platform) -> None:
    second = node(platform, 1)
    second.tell("ready.json", second.place)
    assert node(platform, 0).hear("ready.json", Place, 1) == second.place


def test_one_node_alone_leaves_no_records_and_has_nobody_to_look_at(platform: Platform) -> None:
    alone = node(platform, 0, nodes=1)
    alone.tell("node.json", alone.place)
    alone.look()
    assert alone.why(DIED) is DIED
    assert not platform.store.objects.list("jobs/")


def test_a_node_that_fell_silent_is_lost_and_named(platform: Platform) -> None:
    second = node(platform, 1)
    second.tell("node.json", second.place)
    first = node(platform, 0)
    beat(platform, 1)
    first.look()
    first.hurry()
    error = raised(first.look)
    assert isinstance(error, NodeLost)
    assert error.what == "node 1 (host-1) was lost"


def test_a_node_that_never_came_is_named_by_whoever_waits_for_it(platform: Platform) -> None:
    first = node(platform, 0, nodes=3)
    beat(platform, 1)
    first.look()
    first.hurry()
    ended(platform, 1)
    error = raised(lambda: first.hear("ready.json", Place, 2))
    assert type(error) is Unreachable
    assert error.what == "node 2 of 3 never came"


def test_a_node_that_lives_and_says_nothing_is_not_waited_for_for_ever(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "PATIENCE_S", 0.1)
    beat(platform, 0)
    with pytest.raises(Unreachable, match=r"node 0 lives, but left no plan\.json"):
        node(platform, 1).hear("plan.json", Place)


def test_what_ended_another_node_ends_this_one_too(platform: Platform) -> None:
    first, second = node(platform, 0), node(platform, 1)
    ended(platform, 0, OutOfMemory("too much", place="train.per_device_train_batch_size"))
    error = raised(second.look)
    assert isinstance(error, OutOfMemory)
    assert error.place == "train.per_device_train_batch_size, node 0"
    first.look()


def test_ranks_that_died_elsewhere_leave_this_node_time_to_say_why(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(platform, 1, DIED)
    first = node(platform, 0)
    first.look()
    monkeypatch.setattr(peers, "LINGER_S", 0.1)
    assert raised(first.look).value == "rank 0: exit status 1"


def test_a_node_that_has_done_its_part_may_be_silent(platform: Platform) -> None:
    first = node(platform, 0)
    ended(platform, 1)
    first.look()
    first.hurry()
    time.sleep(0.6)
    first.look()
    assert first.over == {1}


def test_an_error_that_another_node_can_explain_is_explained_by_it(platform: Platform) -> None:
    first = node(platform, 0, nodes=3)
    ended(platform, 1, Crashed("a rank died", value="rank 1: exit status 1"))
    ended(platform, 2, OutOfMemory("too much"))
    assert isinstance(first.why(DIED), OutOfMemory)
    own = OutOfMemory("here")
    assert first.why(own) is own
    assert node(platform, 1, nodes=3).why(DIED) is DIED, "the first node decides"


def test_where_nobody_knows_more_a_lost_node_is_the_reason_else_all_are_told(platform: Platform) -> None:
    beat(platform, 1)
    assert isinstance(node(platform, 0).why(DIED), NodeLost)
    ended(platform, 1)
    assert node(platform, 0).why(DIED).value == "node 0: rank 0: exit status 1"
    ended(platform, 1, Crashed("a rank died", value="rank 1: killed by signal 9"))
    both = node(platform, 0).why(DIED)
    assert both.value == "node 0: rank 0: exit status 1; node 1: rank 1: killed by signal 9"
