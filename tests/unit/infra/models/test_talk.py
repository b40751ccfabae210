"""What a loaded model answers, in this process: where it ends, what steers it, and what it refuses."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from infra.errors import BadModel, BadTemplate, Refused
from infra.launch.dialogue import Ask, Listener, Message, Told
from infra.models import nf4
from infra.models.adapted import Base
from infra.models.talk import Speaker
from tests import tiny

pytestmark = pytest.mark.heavy
QUESTION = (Message(role="user", content="my red printer is broken"),)


class Heard(Listener):
    """A listener whose pipes are a list."""

    def __init__(self, stop_after: int = 1_000_000) -> None:
        import threading  # noqa: PLC0415 - Listener's own set-up is left out

        self.stop, self.told, self._stop_after = threading.Event(), [], stop_after
        self.told: list[Told]

    def tell(self, told: Told) -> None:
        self.told.append(told)
        if len(self.told) >= self._stop_after:
            self.stop.set()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tiny.tokenizer(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def speaker(folder: Path) -> Speaker:
    return Speaker(folder, folder)


def ask(limit: int = 12, temperature: float | None = 0, messages: tuple[Message, ...] = QUESTION) -> Ask:
    return Ask(do="answer", messages=messages, max_new_tokens=limit, temperature=temperature)


def test_the_pieces_are_the_answer_and_greedy_is_repeatable(speaker: Speaker) -> None:
    heard = Heard()
    first = speaker.answer(ask(), heard)
    assert "".join(told.text for told in heard.told) == first.text
    assert (first.tokens, first.ended) == (12, "length")
    assert speaker.answer(ask(), Heard()).text == first.text


def test_the_answer_is_what_transformers_gives_to_the_templated_prompt(speaker: Speaker) -> None:
    turns = [turn.model_dump() for turn in QUESTION]
    text = speaker.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    ids = speaker.tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
    plain = speaker.model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert speaker.answer(ask(), Heard()).text == speaker.tokenizer.decode(plain, skip_special_tokens=True)


def test_it_ends_where_the_chat_template_ends_a_turn(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = speaker.answer(ask(), Heard())
    # The token that comes second is declared the end: by the model's own config, then by the tokenizer alone.
    second = speaker.tokenizer(usual.text, add_special_tokens=False).input_ids[1]
    monkeypatch.setattr(speaker.model.generation_config, "eos_token_id", [second])
    assert speaker.answer(ask(), Heard()).ended == "eos"
    monkeypatch.setattr(speaker.model.generation_config, "eos_token_id", None)
    monkeypatch.setattr(type(speaker.tokenizer), "eos_token_id", second, raising=False)
    assert speaker.answer(ask(), Heard()).ended == "eos"


def test_an_adapter_answers_on_its_base_held_as_it_was_trained(folder: Path, tmp_path: Path) -> None:
    # Strong enough to change every answer, whatever weights it draws.
    settings = LoraConfig(
        r=4, lora_alpha=256, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(folder), settings).save_pretrained(tmp_path)
    base = Base(content_sha256="b" * 64, dtype="float32", quantization=nf4.settings("float32"))
    plain, tuned = Speaker(folder, folder, None, base), Speaker(folder, folder, tmp_path, base)
    for one in (plain, tuned):
        assert any("Linear4bit" in type(module).__name__ for module in one.model.modules())
    assert plain.answer(ask(), Heard()).text != tuned.answer(ask(), Heard()).text


def test_a_stop_is_heard_between_two_tokens(speaker: Speaker) -> None:
    told = speaker.answer(ask(400), Heard(stop_after=1))
    assert told.ended == "stopped"
    assert told.tokens < 100


def test_sampling_follows_the_temperature(speaker: Speaker) -> None:
    torch.manual_seed(0)
    assert len({speaker.answer(ask(temperature=5.0), Heard()).text for _ in range(4)}) == 4


def test_a_conversation_longer_than_the_context_is_refused_and_one_that_nearly_fills_it_is_cut(
    speaker: Speaker,
) -> None:
    def of(words: int) -> tuple[Message, ...]:
        return (Message(role="user", content="x " * words),)

    with pytest.raises(Refused, match="longer than the model's context"):
        speaker.answer(ask(messages=of(2000)), Heard())
    length = speaker._encode(ask(messages=of(300)))["input_ids"].shape[1]
    assert speaker._room(length, 10_000) == 1024 - length


def test_without_a_chat_template_one_prompt_is_gone_on_with_and_a_conversation_refused(
    folder: Path, tmp_path: Path
) -> None:
    for file in folder.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    plain = Speaker(tmp_path, tmp_path)
    assert plain.answer(ask(3), Heard()).tokens == 3
    with pytest.raises(BadTemplate, match="no chat template"):
        plain.answer(ask(messages=(*QUESTION, *QUESTION)), Heard())


def test_a_template_that_refuses_says_why(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaker.tokenizer, "chat_template", "{{ raise_exception('no system messages') }}")
    with pytest.raises(BadTemplate) as told:
        speaker.answer(ask(), Heard())
    assert "no system messages" in told.value.value


def test_a_model_with_code_of_its_own_is_not_run(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_bytes())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(BadModel):
        Speaker(tmp_path, tmp_path)
    assert not (tmp_path / "ran").exists()
