"""`luthier try` and `luthier chat`, with tests.chatter in the model's place."""

import io
import json
import sys
from collections.abc import Callable

import pytest

from infra.launch import dialogue
from tests import registered
from tests.artifacts import place
from tests.registered import NAME, Registered

pytestmark = pytest.mark.heavy

Luthier = Callable[..., int]
Use = Callable[[Registered], None]


@pytest.fixture(autouse=True)
def a_chatter_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "TALK", "tests.chatter")


def test_base_and_tuned_answer_every_prompt(
    luthier: Luthier, tiny_tickets: Registered, capsys: pytest.CaptureFixture[str]
) -> None:
    assert luthier("try", f"{NAME}/1", "one two", "three\x1b[2J") == 0
    shown = capsys.readouterr().out
    assert shown.count("--- base: tiny-base (2 tokens, 2.0 tokens/s)\none two") == 1
    assert shown.count(f"--- tuned: {NAME} 1 (2 tokens, 2.0 tokens/s)\none two") == 1
    assert shown.count("three[2J") == 3
    assert "\x1b" not in shown
    assert not list((tiny_tickets.on.home / "work").glob("try-*"))


def test_try_for_a_machine(luthier: Luthier, capsys: pytest.CaptureFixture[str]) -> None:
    assert luthier("try", NAME, "one\x9b two", "--json") == 0
    out = capsys.readouterr().out
    told = json.loads(out)
    assert told["version"] == f"models:/{NAME}/2"
    assert told["answers"][0]["base"]["text"] == told["answers"][0]["tuned"]["text"] == "one\x9b two "
    assert "\x9b" not in out


def test_without_the_base_weights_the_tuned_model_answers_alone(
    own: Registered, luthier: Luthier, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    use(own)
    weights = own.on.store.manifest(own.inputs["model"]).inputs["weights"]
    own.on.store.objects.delete(place(own.on.store, weights, "model.safetensors"))
    assert luthier("try", NAME, "one two", "--json") == 0
    captured = capsys.readouterr()
    assert "only the tuned model answers" in captured.err
    told = json.loads(captured.out)
    assert told["base"] is None
    assert set(told["answers"][0]) == {"prompt", "tuned"}


def kept(own: Registered, use: Use) -> Registered:
    made = registered.make(own.on.home.parent / "kept", merged=False)
    made.register()
    use(made)
    return made


def test_base_and_adapter_that_was_not_merged_share_a_base(
    own: Registered, luthier: Luthier, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(own, use)
    assert luthier("try", NAME, "loaded", "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    base, tuned = (json.loads(answer[side]["text"]) for side in ("base", "tuned"))
    assert (base["model"], base["base"], base["tokenizer"]) == (tuned["model"], tuned["base"], tuned["tokenizer"])
    assert base["base"]["quantization"] == {"load_in_4bit": True}
    assert (base["adapter"], tuned["adapter"]) == ("", tuned["tokenizer"])


def test_an_adapter_without_the_weights_of_its_base_cannot_answer(
    own: Registered, luthier: Luthier, use: Use, capsys: pytest.CaptureFixture[str]
) -> None:
    made = kept(own, use)
    weights = made.on.store.manifest(made.inputs["model"]).inputs["weights"]
    made.on.store.objects.delete(place(made.on.store, weights, "model.safetensors"))
    assert luthier("try", NAME, "one two") == 2
    assert "base of this adapter is not in the store" in capsys.readouterr().err


def test_a_model_that_dies_is_one_screen_and_worth_another_try(
    luthier: Luthier, capsys: pytest.CaptureFixture[str]
) -> None:
    assert luthier("try", NAME, "crash") == 1
    shown = capsys.readouterr().err
    assert "exit status 3" in shown
    assert "Traceback" not in shown


def chat(luthier: Luthier, monkeypatch: pytest.MonkeyPatch, lines: str, *more: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    return luthier("chat", NAME, *more)


def test_a_chat_through_a_pipe(
    luthier: Luthier, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "hello\x1b there\n\n/what\nrefuse\nafter\n/exit\nnever\n"
    assert chat(luthier, monkeypatch, lines) == 0
    captured = capsys.readouterr()
    assert captured.out == "hello there \nafter \n"
    assert "/reset" in captured.err
    assert "too long" in captured.err


def test_a_chat_ends_with_its_input(
    luthier: Luthier, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chat(luthier, monkeypatch, "hello") == 0
    assert capsys.readouterr().out == "hello \n"
