"""The conversation itself: what is kept, what is not, and what Ctrl-C ends."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.launch.dialogue import Dialogue, Message
from pipelines.cli import chat
from pipelines.cli.chat import Conversation


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dialogue:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))
    return Dialogue(tmp_path / "log", 60, "tests.chatter")


def held(talk: Dialogue, monkeypatch: pytest.MonkeyPatch, lines: str, system: str = "") -> list[tuple[str, str]]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    with talk:
        conversation = Conversation(talk, system, 9, None)
        conversation.hold()
    return [(turn.role, turn.content) for turn in conversation.turns]


def test_turns_are_kept_but_not_those_without_an_answer(talk: Dialogue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert held(talk, monkeypatch, "one\nrefuse\ntwo\n", "be kind") == [
        ("system", "be kind"),
        ("user", "one"),
        ("assistant", "one "),
        ("user", "two"),
        ("assistant", "two "),
    ]


def test_reset_forgets_all_but_the_system_message(talk: Dialogue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert held(talk, monkeypatch, "one\n/reset\n", "be kind") == [("system", "be kind")]


def test_system_is_replaced_and_the_conversation_stays(talk: Dialogue, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = held(talk, monkeypatch, "one\n/system  be short \n", "be kind")
    assert turns == [("system", "be short"), ("user", "one"), ("assistant", "one ")]


def test_system_without_a_text_takes_it_away(talk: Dialogue, monkeypatch: pytest.MonkeyPatch) -> None:
    assert held(talk, monkeypatch, "/system\n", "be kind") == []


def test_ctrl_c_stops_the_answer_and_not_the_program(
    talk: Dialogue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chat, "_stream", interrupting(chat._stream))
    turns = held(talk, monkeypatch, "sing\ngo on\n")
    assert turns[0] == ("user", "sing")
    assert turns[1][1].startswith("la ")
    assert turns[2:] == [("user", "go on"), ("assistant", "go on ")]
    assert "(stopped)" in capsys.readouterr().err


def interrupting(stream: Callable[[str], None]) -> Callable[[str], None]:
    """Ctrl-C as a person presses it, while the third piece is written."""
    pieces: list[str] = []

    def write(piece: str) -> None:
        pieces.append(piece)
        if len(pieces) == 3:
            raise KeyboardInterrupt
        stream(piece)

    return write


def test_messages_know_only_three_roles() -> None:
    with pytest.raises(ValueError, match="role"):
        Message(role="root", content="x")  # type: ignore[arg-type]
