"""The pipes to a model's process, with tests.chatter in the model's place."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infra.errors import Crashed, Refused, Unreachable
from infra.launch.dialogue import Dialogue, Message

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def tests_are_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def dialogue(tmp_path: Path, silence_s: float = 60) -> Dialogue:
    return Dialogue(tmp_path / "log", silence_s, "tests.chatter")


def ask(text: str) -> list[Message]:
    return [Message(role="user", content=text)]


def test_pieces_come_in_order_and_what_libraries_print_goes_to_the_log(tmp_path: Path) -> None:
    pieces: list[str] = []
    with dialogue(tmp_path) as talk:
        pid = int(talk.load(Path("m"), Path("t")).device)
        told = talk.answer(ask("one two\x1b three"), 9, 0, pieces.append)
        assert pieces == ["one ", "two\x1b ", "three "]
        assert (told.text, told.tokens, told.ended, told.tokens_per_s) == ("one two\x1b three ", 3, "eos", 3.0)
    assert not psutil.pid_exists(pid)
    assert "hello" in (tmp_path / "log").read_text()


def test_an_answer_that_is_stopped_ends_and_the_next_one_is_whole(tmp_path: Path) -> None:
    with dialogue(tmp_path) as talk:
        with pytest.raises(KeyboardInterrupt):
            talk.answer(ask("sing"), 9, 0, _interrupt)
        told = talk.stop()
        assert told.ended == "stopped"
        assert told.text.startswith("la ")
        assert talk.stop().text == ""  # one that comes too late ends nothing
        assert talk.answer(ask("again"), 9, 0).text == "again "


def _interrupt(_: str) -> None:
    raise KeyboardInterrupt


def test_what_it_refuses_is_raised_as_itself_and_the_talk_goes_on(tmp_path: Path) -> None:
    with dialogue(tmp_path) as talk:
        with pytest.raises(Refused, match="too long"):
            talk.answer(ask("refuse"), 9, 0)
        assert talk.answer(ask("fine"), 9, 0).text == "fine "


def test_one_that_dies_is_told_with_its_status_and_log(tmp_path: Path) -> None:
    with dialogue(tmp_path) as talk, pytest.raises(Crashed, match="exit status 3") as told:
        talk.answer(ask("crash"), 9, 0)
    assert told.value.place == str(tmp_path / "log")


def test_one_that_is_silent_is_given_up_and_killed(tmp_path: Path) -> None:
    with dialogue(tmp_path) as talk:
        pid = int(talk.load(Path("m"), Path("t")).device)
        talk._silence_s = 0.2
        with pytest.raises(Unreachable, match="said nothing"):
            talk.answer(ask("hang"), 9, 0)
    assert not psutil.pid_exists(pid)


def test_it_sees_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    with dialogue(tmp_path) as talk:
        assert "secret" not in psutil.Process(int(talk.load(Path("m"), Path("t")).device)).environ().values()


HOLDER = """
import sys, time
from pathlib import Path
from infra.launch.dialogue import Dialogue, Message
with Dialogue(Path(sys.argv[1]), 60, "tests.chatter") as talk:
    print(talk.load(Path("m"), Path("t")).device, flush=True)
    talk.answer([Message(role="user", content="sing")], 9, 0)
"""


def test_it_is_gone_with_whoever_holds_its_pipes(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "log")], stdout=subprocess.PIPE, cwd=ROOT, env=os.environ
    )
    assert holder.stdout is not None
    child = psutil.Process(int(holder.stdout.readline()))
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    gone, _ = psutil.wait_procs([child], timeout=30)
    assert gone
    holder.stdout.close()
