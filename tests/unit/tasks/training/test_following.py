"""Ranks that do not start, stand still or die are told apart and named, with where they are. Real processes, no torch."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.errors import BadTraining, Crashed, ErrorReport, LinkLost, NodeLost, OutOfMemory, Unreachable
from infra.frozen import canonical
from infra.launch import peers as launch_peers
from infra.launch.links import Links, Reached, Spot, Way
from infra.launch.nodes import Place
from infra.launch.peers import Peers
from infra.launch.step import Beat, Outcome, Spec
from tasks.training import following
from tasks.training.following import Standing, Standings, Watch
from tasks.training.presence import LOADING, TRAINING, Telling, present
from tasks.training.ranks import ENDED, of_memory
from tests import jobs

RANK = """
import sys, threading, time
from pathlib import Path
from tasks.training.presence import ADDING, JOINING, TRAINING, Telling

threading.Thread(target=time.sleep, args=(600,), daemon=True).start()  # one that is not asked for

def waits_in_a_collective():
    time.sleep(600)

def reads_a_row_that_never_comes():
    time.sleep(600)

telling = Telling(Path(sys.argv[1]))
phase, step, where = sys.argv[2:]
telling.at({"join": JOINING, "add": ADDING, "train": TRAINING}[phase], int(step))
globals()[where]()
"""

Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a rank at a phase and a step; its pid, once it has said where it is."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(phase: str = "train", step: int = 1, where: str = "waits_in_a_collective") -> int:
        environment = os.environ | {"RANK": str(len(started))}
        command = [sys.executable, "-c", RANK, str(tmp_path), phase, str(step), where]
        started.append(subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[4]))
        until(lambda: len(present(tmp_path)) == len(started))
        return started[-1].pid

    yield begin
    for process in started:
        process.kill()
        process.wait()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def found(watch: Watch, within: float) -> Unreachable | NodeLost:
    """What the watch raises, at most so many seconds from now."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            watch.look()
        except (Unreachable, NodeLost) as error:
            return error
        time.sleep(0.05)
    raise AssertionError("nothing was found")


def test_a_stopped_rank_is_named_with_its_pid_and_its_stack(tmp_path: Path, start: Start) -> None:
    waiting, stopped = start(step=7), start(step=7, where="reads_a_row_that_never_comes")
    os.kill(stopped, signal.SIGSTOP)
    until(lambda: psutil.Process(stopped).status() == psutil.STATUS_STOPPED)
    error = found(Watch(tmp_path, 2, step_s=0.5), within=10)
    assert error.what == f"training stood still for 0 s: rank 1 (pid {stopped}) is stopped"
    assert error.place.endswith("reads_a_row_that_never_comes")
    assert f"rank 0 (pid {waiting}, sleeping) training 7 in " in error.value
    assert f"rank 1 (pid {stopped}, stopped) training 7 in " in error.value
    assert "waits_in_a_collective" in error.value
    assert error.retry


def test_the_rank_that_is_behind_is_named(tmp_path: Path, start: Start) -> None:
    start(step=8)
    late = start(step=7, where="reads_a_row_that_never_comes")
    error = found(Watch(tmp_path, 2, step_s=0.5), within=10)
    assert f"rank 1 (pid {late}) is behind the others, at step 7" in error.what
    assert error.place.endswith("reads_a_row_that_never_comes")


def of_two(tmp_path: Path, node: int) -> Peers:
    spec = Spec(stage="training", version=1, key="0" * 64, attempt="a", config={}, inputs={})
    return Peers(jobs.platform(tmp_path / "home"), spec, Place(node=node, nodes=2, host="h"))


def test_a_rank_of_another_node_is_named_with_it(tmp_path: Path, start: Start) -> None:
    start(step=8)
    there = Standing(rank=1, node=1, pid=77, state="sleeping", phase=TRAINING, step=7, part=0, place="row.py:3 read")
    of_two(tmp_path, 1).tell("standing.json", Standings(ranks=(there,)))
    error = found(Watch(tmp_path, 1, step_s=0.5, peers=of_two(tmp_path, 0)), within=10)
    assert error.what == "training stood still for 0 s: rank 1 on node 1 (pid 77) is behind the others, at step 7"
    assert error.place == "row.py:3 read"
    assert "rank 0 (pid" in error.value


def test_another_node_leaves_the_verdict_to_the_first(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LINGER_S", 0.3)
    start(step=8)
    second = of_two(tmp_path, 1)
    error = found(Watch(tmp_path, 1, step_s=0.5, peers=second), within=10)
    assert "rank 0 on node 1" in error.what, "it says so only where the first has said nothing"
    assert second.read("standing.json", Standings, 1) is not None


def dark_ways(node: int) -> Reached:
    """What a node finds that hears nothing of the other."""
    return Reached(ways=(Way(node=1 - node, why="timed out", silent=True),))


class Dark(Links):
    """Ways at which nothing comes back."""

    def reach(self, _within_s: float = 0.0) -> Reached:
        return dark_ways(self.node)


def in_the_dark(node: int) -> Links:
    spots = [Spot(node=number, host=f"10.0.0.{number + 1}", address="", port=1) for number in range(2)]
    return Dark(node, "a", spots)


def waiting_there(state: str = "sleeping") -> Standing:
    return Standing(rank=1, node=1, pid=77, state=state, phase=TRAINING, step=8, part=0, place="reduce.py:3 wait")


DARK = "nodes 0 (10.0.0.1) and 1 (10.0.0.2) do not reach each other any more"


def test_nodes_between_which_nothing_passes_are_named_rather_than_a_rank(tmp_path: Path, start: Start) -> None:
    start(step=8)
    of_two(tmp_path, 1).tell("standing.json", Standings(ranks=(waiting_there(),), reached=dark_ways(1)))
    watch = Watch(tmp_path, 1, step_s=0.5, peers=of_two(tmp_path, 0), links=in_the_dark(0))
    error = found(watch, within=10)
    assert type(error) is LinkLost
    assert error.what == DARK
    assert "from node 0 to timed out" in error.place
    assert "rank 1 (pid 77, sleeping) training 8 in reduce.py:3 wait" in error.value


def test_a_rank_that_is_stopped_is_named_all_the_same(tmp_path: Path, start: Start) -> None:
    start(step=8)
    there = Standings(ranks=(waiting_there("stopped"),), reached=dark_ways(1))
    of_two(tmp_path, 1).tell("standing.json", there)
    error = found(Watch(tmp_path, 1, 0.5, peers=of_two(tmp_path, 0), links=in_the_dark(0)), within=10)
    assert type(error) is Unreachable
    assert "rank 1 on node 1 (pid 77) is stopped" in error.what


def test_a_node_that_is_gone_is_told_from_a_way_that_is(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_peers, "GONE_S", 0.5)
    monkeypatch.setattr(launch_peers, "LOOK_S", 0.0)
    start(step=8)
    peers = of_two(tmp_path, 0)
    of_two(tmp_path, 1).tell("heartbeat.json", Beat(at=1.0, phase="training at step 7"))
    peers.look()
    error = found(Watch(tmp_path, 1, 0.5, peers=peers, links=in_the_dark(0)), within=10)
    assert type(error) is NodeLost
    assert error.what == "node 1 was lost"
    assert error.value == "last heard: training at step 7"


def test_ranks_that_died_as_the_way_went_dark_are_explained_by_that(tmp_path: Path) -> None:
    (tmp_path / ENDED).write_text(json.dumps({"0": 1}))
    second = of_two(tmp_path, 1)
    second.tell("parted.json", Standings(reached=dark_ways(1)))
    second.tell("outcome.json", Outcome(state="failed", error=Crashed("a rank died").report()))
    watch = Watch(tmp_path, 1, 0.5, peers=of_two(tmp_path, 0), links=in_the_dark(0))
    error = watch.end(1)
    assert type(error) is LinkLost
    assert error.what == DARK
    reaches = Reached(ways=(Way(node=0),))
    second.tell("parted.json", Standings(reached=reaches))
    assert type(watch.end(1)) is Crashed, "the other reached this one: it is its own rank that died"
    assert type(Watch(tmp_path, 1, 0.5, peers=second, links=in_the_dark(1)).end(1)) is Crashed, "the first node decides"


def test_the_first_sum_has_a_deadline_of_its_own(tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "ADD_S", 0.2)
    pid = start("add")
    watch = Watch(tmp_path, 1, step_s=600)
    assert f"training stood still for 0 s: rank 0 (pid {pid})" in found(watch, within=10).what
    assert not watch.training()


def test_ranks_that_never_meet_across_a_dark_way_are_told_so(tmp_path: Path, start: Start) -> None:
    start("join")
    error = found(Watch(tmp_path, 1, 600, start_s=0.5, peers=of_two(tmp_path, 0), links=in_the_dark(0)), within=10)
    assert error.what == DARK


def test_ranks_that_get_on_are_left_alone(tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start(step=1)
    monkeypatch.setenv("RANK", "1")
    telling, watch = Telling(tmp_path), Watch(tmp_path, 2, step_s=0.6)
    assert watch.at() == ""
    telling.at(LOADING)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        telling.at(TRAINING, part=int(1e6 * (end - time.monotonic())))
        watch.look()
        time.sleep(0.05)
    assert watch.at() == "training at step 1"


def test_a_rank_that_never_came_up_is_named_before_the_deadline_of_a_step(tmp_path: Path, start: Start) -> None:
    waiting = start("join")
    error = found(Watch(tmp_path, 2, step_s=600, start_s=0.5), within=10)
    assert error.what == "training did not start in 0 s: rank 1 did not come up"
    assert f"rank 0 (pid {waiting}, sleeping) joining the other ranks" in error.value
    assert error.place.endswith("waits_in_a_collective")


def test_ranks_that_do_not_find_each_other_are_told(tmp_path: Path, start: Start) -> None:
    start("join")
    start("join")
    error = found(Watch(tmp_path, 2, step_s=600, start_s=0.5), within=10)
    assert "did not find each other" in error.what


def test_no_rank_at_all_is_found_too(tmp_path: Path) -> None:
    assert "rank 0, 1 did not come up" in found(Watch(tmp_path, 2, step_s=600, start_s=0.2), within=5).what


def test_a_report_is_heard_even_where_its_rank_does_not_leave(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LINGER_S", 0.3)
    start()
    report(tmp_path, BadTraining("loss is not a number", place="step 3"))
    watch = Watch(tmp_path, 1, step_s=600)
    with pytest.raises(BadTraining, match="not a number"):
        found(watch, within=10)


def report(scratch: Path, error: BadTraining) -> None:
    told: ErrorReport = error.report()
    (scratch / "error-0.json").write_bytes(canonical(told.model_dump(mode="json")))


def test_what_a_rank_reported_tells_more_than_how_it_ended(tmp_path: Path) -> None:
    report(tmp_path, BadTraining("loss is not a number", place="step 3"))
    assert isinstance(Watch(tmp_path, 1, 1).end(1), BadTraining)


@pytest.mark.parametrize(("kills", "kind"), [(4, OutOfMemory), (3, Crashed)])
def test_a_killed_rank_is_a_lack_of_memory_where_the_kernel_has_counted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kills: int, kind: type[Exception]
) -> None:
    counter = tmp_path / "vmstat"
    monkeypatch.setattr("tasks.training.ranks._VMSTAT", counter)
    counter.write_text("pgfault 12\noom_kill 3\n")
    watch = Watch(tmp_path, 2, 1)
    counter.write_text(f"pgfault 12\noom_kill {kills}\n")
    (tmp_path / ENDED).write_text(json.dumps({"1": -9}))
    error = watch.end(1)
    assert type(error) is kind
    assert "rank 1" in str(error)


def test_a_death_without_a_word_tells_how(tmp_path: Path) -> None:
    (tmp_path / ENDED).write_text(json.dumps({"0": 1, "1": -11}))
    assert Watch(tmp_path, 2, 1).end(1).value == "rank 0: exit status 1, rank 1: killed by signal 11"


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("Connection closed by peer [127.0.0.1]:1234"), False),
        (ZeroDivisionError("division by zero"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_its_words(error: Exception, is_one: bool) -> None:
    assert of_memory(error) is is_one
