"""What the stack remembers is private, whole, and changed by one command at a time."""

import threading
from pathlib import Path

import pytest

from infra.errors import Refused, Unreachable
from infra.stack import private
from infra.stack.processes import Record
from infra.stack.state import Credentials, Folder, Memory, State

RECORD = Record(pid=1, born="boot:1", started=1.0)


def test_ports_processes_and_secrets_are_remembered_for_their_owner_only(folder: Folder) -> None:
    state, secrets = State(ports={"s3": 8333}, services={"s3": RECORD}), Credentials()
    folder.keep(state)
    folder.keep(secrets)
    assert folder.state() == state
    assert folder.credentials() == secrets
    assert {path.stat().st_mode & 0o777 for path in folder.root.iterdir()} == {0o600}


def test_secrets_are_long_different_and_shown_by_nobody() -> None:
    secrets = Credentials()
    values = [value for value in secrets.model_dump().values() if value]
    assert len(set(values)) == len(values)
    assert all(len(value) >= 20 for value in values)
    shown = f"{secrets!r} {secrets}"
    assert not [value for value in values if value in shown]
    hidden = secrets.hide(f"a log with {secrets.mlflow} and {secrets.prefect.partition(':')[2]}")
    assert hidden == "a log with *** and ***"


def test_two_stacks_have_different_marks_and_secrets() -> None:
    assert State().mark("s3") != State().mark("s3")
    assert Credentials().s3_secret != Credentials().s3_secret


def test_a_broken_file_is_named_and_not_shown(folder: Folder) -> None:
    private.write(folder.root / "credentials.json", '{"s3_secret": "hush-hush", "unknown": "hush-hush"}')
    with pytest.raises(Refused) as refused:
        folder.credentials()
    assert "credentials.json" in refused.value.place
    assert "hush" not in str(refused.value)


def test_of_two_commands_one_waits_and_gives_up_at_its_deadline(folder: Folder) -> None:
    said: list[str] = []
    with (
        folder.lock(said.append),
        pytest.raises(Unreachable, match="another `luthier up`"),
        folder.lock(said.append, deadline_s=0.1),
    ):
        pass
    assert len(said) == 1
    assert "waiting for it" in said[0]
    with folder.lock(said.append, deadline_s=0.1):
        assert folder.root.exists()


def test_changes_of_many_threads_are_all_kept(folder: Folder) -> None:
    memory = Memory(folder, State())
    names = [f"service-{number}" for number in range(20)]
    threads = [threading.Thread(target=memory.record, args=(name, RECORD)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(folder.state().services) == set(names)
    memory.record("service-0", None)
    assert "service-0" not in folder.state().services


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private.write(tmp_path / "file", "old")
    with pytest.raises(UnicodeEncodeError):
        private.write(tmp_path / "file", "new \ud800")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
