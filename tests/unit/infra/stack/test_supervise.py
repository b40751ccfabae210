"""Services are left alone, healed or refused one by one; here a small web server stands for each."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import Crashed, Refused, Unreachable
from infra.stack import supervise
from infra.stack.health import answers
from infra.stack.ports import HOST, choose
from infra.stack.processes import Record, alive, family, stop, wait_gone
from infra.stack.services import Service
from infra.stack.state import Folder, Memory, State

pytestmark = pytest.mark.heavy

QUIET = "import time; time.sleep(60)"


def web(folder: Folder, port: int, code: str = "") -> Service:
    server = ["-m", "http.server", str(port), "--bind", HOST, "--directory", str(folder.root)]
    return Service(
        name="web",
        command=[sys.executable, *(["-c", code] if code else server)],
        environment={"PATH": "/usr/bin:/bin"},
        address=f"http://{HOST}:{port}",
        ports=("web",),
        healthy=lambda _: answers(f"http://{HOST}:{port}/"),
        version=lambda: "1",
    )


@pytest.fixture
def memory(folder: Folder) -> Iterator[Memory]:
    memory = Memory(folder, State(ports={"web": choose(11000 + os.getpid() % 9000, [])}))
    yield memory
    stop(memory.state.services.get("web"), memory.state.mark("web"), signal.SIGKILL, 0)


def ensure(folder: Folder, memory: Memory, code: str = "") -> tuple[list[str], Record | None]:
    """Ensure the service; what was started, and its process."""
    started: list[str] = []
    supervise.ensure(web(folder, memory.state.ports["web"], code), [], memory, lambda _: None, started)
    return started, memory.state.services.get("web")


def test_a_service_that_answers_is_left_alone_and_a_dead_one_is_started(folder: Folder, memory: Memory) -> None:
    started, first = ensure(folder, memory)
    assert (started, folder.state().services["web"]) == (["web"], first)
    assert ensure(folder, memory) == ([], first)
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    wait_gone([first], 10)
    started, second = ensure(folder, memory)
    assert started == ["web"]
    assert second != first


def test_one_that_runs_and_does_not_answer_is_replaced(
    folder: Folder, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = ensure(folder, memory)
    assert first is not None
    os.kill(first.pid, signal.SIGSTOP)
    monkeypatch.setattr(supervise, "PATIENCE_S", 0.5)
    started, second = ensure(folder, memory)
    assert started == ["web"]
    assert not alive(first)
    assert alive(second)


def test_a_port_that_a_stranger_took_is_refused_and_the_stranger_lives(folder: Folder, memory: Memory) -> None:
    stranger = Memory(Folder(folder.home / "other"), State(ports=memory.state.ports))
    _, record = ensure(Folder(folder.home / "other"), stranger)
    try:
        with pytest.raises(Refused, match="taken by") as refused:
            ensure(folder, memory)
        assert "luthier down" in refused.value.remedy
        assert alive(record)
    finally:
        stop(record, stranger.state.mark("web"), signal.SIGKILL, 0)


def test_one_that_ends_at_once_shows_the_end_of_its_log(folder: Folder, memory: Memory) -> None:
    with pytest.raises(Crashed, match="ended while it started") as crashed:
        ensure(folder, memory, "raise SystemExit('no such table')")
    assert "no such table" in crashed.value.value


def test_one_that_never_answers_is_given_up_and_remembered(
    folder: Folder, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "START_S", 0.3)
    with pytest.raises(Unreachable, match="does not answer"):
        ensure(folder, memory, QUIET)
    assert alive(memory.state.services["web"]), "`luthier down` must find it"


def test_what_fails_before_keeps_what_needs_it_from_starting(folder: Folder, memory: Memory) -> None:
    with ThreadPoolExecutor(1) as threads:
        failed = threads.submit(lambda: (_ for _ in ()).throw(Crashed("the database is away")))
    with pytest.raises(Crashed, match="the database is away"):
        supervise.ensure(web(folder, memory.state.ports["web"]), [failed], memory, lambda _: None, [])
    assert "web" not in memory.state.services


def test_down_and_status_where_nothing_was_ever_up(folder: Folder) -> None:
    assert supervise.take_down(folder, lambda _: None) == []
    assert {line.state for line in supervise.look(folder)} == {"not started"}
    assert not folder.root.exists()


def test_another_database_under_a_running_stack_is_refused(folder: Folder, memory: Memory) -> None:
    ensure(folder, memory)
    with pytest.raises(Refused, match="another database"):
        supervise.bring_up(folder, "postgres", lambda _: None, {})
    assert folder.state().database == "sqlite"


def test_a_stack_that_is_down_takes_other_ports_where_its_own_are_taken(folder: Folder, tmp_path: Path) -> None:
    before = Memory(folder, State()).state
    chosen = supervise.choose_ports(before)
    assert set(chosen) == set(supervise.ROLES)
    other = Memory(Folder(tmp_path / "other"), State(ports={"web": chosen["prefect"]}))
    _, record = ensure(Folder(tmp_path / "other"), other)
    try:
        again = supervise.choose_ports(before.model_copy(update={"ports": chosen}))
        assert {role for role in chosen if again[role] != chosen[role]} == {"prefect"}
    finally:
        stop(record, other.state.mark("web"), signal.SIGKILL, 0)


def test_an_address_that_was_forgotten_is_asked_for_and_sqlite_not_taken_instead(folder: Folder) -> None:
    folder.keep(State(database="address"))
    with pytest.raises(Refused, match="not known any more"):
        supervise.bring_up(folder, "", lambda _: None, {})


def test_down_ends_one_whose_program_is_no_longer_known(folder: Folder, memory: Memory) -> None:
    _, record = ensure(folder, memory)
    assert supervise.take_down(folder, lambda _: None) == ["web"]
    assert not alive(record)
    assert folder.state().services == {}


def test_flows_of_a_worker_that_is_replaced_go_on_until_down(
    folder: Folder, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervise, "PATIENCE_S", 0.0)
    port = memory.state.ports["web"]
    flow = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {QUIET!r}]); {QUIET}"
    worker = replace(web(folder, port, flow), keeps_children=True, ports=(), healthy=lambda _: bool(flows(memory)))
    supervise.ensure(worker, [], memory, lambda _: None, [])
    first, kept = memory.state.services["web"], flows(memory)
    supervise.ensure(replace(worker, healthy=lambda seen: seen != first), [], memory, lambda _: None, [])
    assert not alive(first)
    assert all(alive(child) for child in kept)


def flows(memory: Memory) -> list[Record]:
    """The processes with the service's mark that are not its head."""
    head = memory.state.services.get("web")
    members = family(None, memory.state.mark("web"))
    return [member for member in members if head is None or member.pid != head.pid]
