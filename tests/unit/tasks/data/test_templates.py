"""Masks under the chat templates of many models: looked at once and kept, and beside what {% generation %} says."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import BadTemplate
from tasks.data import named
from tasks.data.rendering import DATE, TODAY
from tasks.data.rows import BadRow, Chat, Message
from tasks.data.templates import Rendered, Template
from tasks.data.tokens import Encoder, Tokens
from tests import chats

pytestmark = pytest.mark.heavy

GOLDEN = Path(__file__).parents[3] / "golden" / "masks"  # ⟦ ⟧ stand around what is learned

MODELS = [
    "trl/deepseek_r1_distill",
    "trl/deepseekv3",
    "trl/gemma3",
    "trl/gemma4",
    "trl/gptoss",
    "trl/lfm2_2_5",
    "trl/llama3_1",
    "trl/phi3",
    "trl/qwen2_5",
    "trl/qwen3",
    "trl/qwen3_6",
]
ALL = [*named.NAMES, *MODELS]


def masked(name: str, row: Chat) -> tuple[Rendered | BadRow, Any]:
    text = chats.template(name)
    tokenizer = chats.tokenizer(text)
    return Template(tokenizer, text).render([(name, row)])[0], tokenizer


def shown(name: str, row: Chat) -> str:
    """What a golden file holds of one conversation."""
    try:
        rendered, _ = masked(name, row)
    except BadTemplate as error:
        return f"refused: {error.what}"
    return f"refused: {rendered}" if isinstance(rendered, BadRow) else chats.bracketed(rendered)


@pytest.mark.parametrize("name", ALL)
def test_what_is_learned_under_each_template_is_as_it_was_looked_at(name: str) -> None:
    kept = (GOLDEN / f"{name.replace('/', '_')}.txt").read_text(encoding="utf-8")
    assert "".join(f"=== {kind}\n{shown(name, row)}\n" for kind, row in chats.talks().items()) == kept


def learned(tokens: Tokens, tokenizer: Any) -> list[str]:
    return stretches(tokens.ids, tokens.learned, tokenizer)


def stretches(ids: np.ndarray, chosen: np.ndarray, tokenizer: Any) -> list[str]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen, [0]]).astype(int)))
    return [tokenizer.decode(ids[a:b].tolist()) for a, b in zip(edges[::2], edges[1::2], strict=True)]


@pytest.mark.parametrize("name", [name for name in chats.trained() if "diffusion" not in name])
def test_answers_are_those_that_generation_blocks_mark(name: str) -> None:
    """Theirs go on behind the end-of-turn token with a line break, which no model has to write, and begin with what the
    generation prompt wrote already. Diffusion Gemma's leave out an end that ours has."""
    text = chats.template(name)
    tokenizer = chats.tokenizer(text)
    compared = 0
    for row in chats.talks().values():
        try:
            (rendered,) = Template(tokenizer, text).render([(name, row)])
        except BadTemplate:
            continue
        if isinstance(rendered, BadRow):
            continue
        theirs = tokenizer.apply_chat_template(
            row.messages,
            chat_template=TODAY + text,
            tools=list(row.tools) or None,
            date_string=DATE,
            return_assistant_tokens_mask=True,
            return_dict=True,
        )
        (tokens,) = Encoder(tokenizer).encode([rendered])
        marked = np.array(theirs["assistant_masks"], dtype=bool)
        assert tokens.ids.tolist() == theirs["input_ids"]
        assert not (tokens.learned & ~marked).any()
        opening = tokenizer.apply_chat_template(
            row.messages[:1], chat_template=TODAY + text, tokenize=False, add_generation_prompt=True
        )
        for more in stretches(tokens.ids, marked & ~tokens.learned, tokenizer):
            assert not more.strip() or more in opening or more == "<｜tool▁outputs▁end｜>"
        compared += 1
    assert compared or name in WANT_PARTS


# Templates of models that see: they take content in parts only, so that every row is refused.
WANT_PARTS = [f"trl/{name}_training" for name in ("idefics3", "llava_next", "smolvlm")]

WORDS = st.text(st.sampled_from("ab é🦊\n\"'{}<>/\\01"), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
TURNS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4)
LEAN = [name for name in ALL if name not in ("trl/gptoss", "trl/gemma4", "trl/qwen3_6")]


@pytest.mark.parametrize("name", LEAN)
@given(turns=TURNS)
@settings(deadline=None, max_examples=25)
def test_learned_tokens_are_the_answers_with_their_ends(name: str, turns: list[tuple[str, str]]) -> None:
    messages: list[Message] = [one for asked, said in turns for one in (chats.user(asked), chats.answer(said))]
    rendered, tokenizer = masked(name, Chat(messages))
    assert isinstance(rendered, Rendered), rendered
    assert len(rendered.spans) == len(turns)
    for span, (_, said) in zip(rendered.spans, turns, strict=True):
        text = rendered.text[span.start : span.stop]
        assert text.endswith(span.end)
        # Beside it only white space, an empty reasoning, and the end that Phi-3 writes before EOS.
        body = text.removesuffix(span.end).rstrip().removesuffix("<|end|>").removeprefix("<think>\n\n</think>\n\n")
        assert body.strip() == said.strip()
    for by_length in (True, False):
        (tokens,) = Encoder(tokenizer, by_length).encode([rendered])
        assert tokenizer.decode(tokens.ids.tolist()) == rendered.text
        parts = "".join(learned(tokens, tokenizer))
        spans = "".join(rendered.text[span.start : span.stop] for span in rendered.spans)
        assert tokens.straddling or parts == spans


# What happens between a question and its answer: reasoning, and rounds of calls.
ROUNDS = st.tuples(st.booleans(), st.integers(0, 2))
WITH_TOOLS = ["chatml", "llama3", "mistral", "trl/qwen2_5", "trl/qwen3", "trl/qwen3_6", "trl/lfm2_2_5", "trl/gptoss"]
WITHOUT_REASONING = ("llama3", "mistral", "trl/qwen2_5")


def conversation(rounds: list[tuple[bool, int]], reasons: bool) -> list[Message]:
    """Every text in it is another: `t0t`, `t1t`, …"""
    texts = (f"t{number}t" for number in itertools.count())
    messages: list[Message] = [{"role": "system", "content": next(texts)}]
    for thought, calls in rounds:
        messages.append(chats.user(next(texts)))
        for _ in range(calls):
            messages += [chats.answer("", tool_calls=[chats.call(to=next(texts))]), chats.result(next(texts))]
        thoughts = {"reasoning_content": next(texts)} if thought and reasons else {}
        messages.append(chats.answer(next(texts), **thoughts))
    return messages


@pytest.mark.parametrize("name", WITH_TOOLS)
@given(rounds=st.lists(ROUNDS, min_size=1, max_size=4))
@settings(deadline=None, max_examples=25)
def test_each_turn_learns_its_own_texts_and_no_other(name: str, rounds: list[tuple[bool, int]]) -> None:
    messages = conversation(rounds, name not in WITHOUT_REASONING)
    rendered, _ = masked(name, Chat(messages, tools=chats.TOOLS))
    assert isinstance(rendered, Rendered), rendered
    turns = [message for message in messages if message["role"] == "assistant"]
    assert len(rendered.spans) == len(turns)
    for span, message in zip(rendered.spans, turns, strict=True):
        learned = set(re.findall(r"t\d+t", rendered.text[span.start : span.stop]))
        own = set(re.findall(r"t\d+t", json.dumps(message)))
        reasoning = {message.get("reasoning_content", "")}
        # Reasoning may be dropped from turns that others follow, and from no others.
        assert own - reasoning <= learned <= own
        assert message is not turns[-1] or learned == own


@pytest.mark.parametrize("name", ALL)
def test_a_conversation_begins_with_at_most_one_bos_token(name: str) -> None:
    rendered, tokenizer = masked(name, chats.talks()["turns"])
    assert isinstance(rendered, Rendered)
    (tokens,) = Encoder(tokenizer).encode([rendered])
    assert tokens.ids.tolist().count(tokenizer.bos_token_id) == ("bos_token" in chats.template(name))
