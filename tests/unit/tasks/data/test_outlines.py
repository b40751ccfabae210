"""Filling an outline gives what rendering gives, or there is none."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.outlines import Outlines
from tasks.data.rows import BadRow, Chat, Message
from tasks.data.templates import Rendered, Template
from tasks.data.tokens import Encoder
from tests import chats

pytestmark = pytest.mark.heavy

ROLES = ("user", "assistant")
SPECIAL = ["<|im_end|>"]
WHOLE = [
    "{% for m in messages %}{{ m.role + m.content + '<|im_end|>' }}{% endfor %}{{ 'assistant' if add_generation_prompt }}",
    "{% for m in messages %}{{ m.role ~ m.content ~ '<|im_end|>' }}{% endfor %}{{ 'assistant' if add_generation_prompt }}",
    "{% macro said(m) %}{{ m.role }}{{ m.content }}<|im_end|>{% endmacro %}{% for m in messages %}{{ said(m) }}{% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}",
    "{% for m in messages %}{{ m.role }}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>"
    "{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}{% endfor %}{{ 'assistant' if add_generation_prompt }}",
]
# Each looks at a content in some way.
LOOKS = [
    "{{ m.content | length }}",
    "{{ m.content | upper }}",
    "{{ m.content[:3] }}",
    "{{ m.content.split('x') | first }}",
    "{{ '' if m.content == 'no' else m.content }}",
    "{{ '%s' | format(m.content) }}",
    "{{ '{}'.format(m.content) }}",
    "{{ [m.content] | join }}",
    "{{ m | tojson }}",
    "{% for c in m.content %}{{ c }}{% endfor %}",
    "{% if m.content is in ['a', 'b'] %}x{% endif %}{{ m.content }}",
    "{% if m.content is defined and m.content is not mapping and m.content < 'm' %}x{% endif %}{{ m.content }}",
    "{{ {m.content: 1} | length }}{{ m.content }}",
    "{% set x %}{{ m.content }}{% endset %}{{ x | length }}",
    "{{ (m.role + m.content) | replace('a', 'b') }}",
    "{{ (m.content + ' ') | trim }}",
    "{{ 'x' if (m.content + ' ').startswith('a') else 'y' }}",
    "{{ m.content.strip('x') }}",
    "{{ m.content.strip().lstrip() }}",
]
# Each asks what nearly all contents answer alike, and what is none of these.
ASKS = {
    "{% if m.content %}{{ m.content }}{% endif %}": "",
    "{{ '' if '</think>' in m.content else m.content }}": "so</think>no",
    "{{ '' if m.content.startswith('<tool_response>') else m.content.lstrip('\n') }}": "<tool_response>",
    "{{ '' if m.content.strip().endswith('?') else m.content | trim }}": "why? ",
}


def outlines(text: str) -> Outlines:
    return Outlines(chats.tokenizer("<|im_end|>"), text, SPECIAL)


@pytest.mark.parametrize("text", WHOLE)
def test_a_template_that_only_writes_contents_has_an_outline(text: str) -> None:
    found = outlines(text).find(ROLES, [1])
    assert found is not None
    filled, [(start, stop, end)] = found.fill(["{a}", " b "])
    assert filled.replace("<|im_end|>", "") == "user{a}assistant b "
    assert filled[start:stop] == " b <|im_end|>"
    assert end == "<|im_end|>"


@pytest.mark.parametrize("look", LOOKS)
def test_a_template_that_looks_at_a_content_has_none(look: str) -> None:
    text = f"{{% for m in messages %}}{{{{ m.role }}}}{look}<|im_end|>{{% endfor %}}{{{{ 'assistant' if add_generation_prompt }}}}"
    assert outlines(text).find(ROLES, [1]) is None


@pytest.mark.parametrize(("asks", "other"), ASKS.items())
def test_a_question_has_an_outline_for_the_contents_that_answer_no(asks: str, other: str) -> None:
    text = f"{{% for m in messages %}}{{{{ m.role }}}}{asks}<|im_end|>{{% endfor %}}{{{{ 'assistant' if add_generation_prompt }}}}"
    found = outlines(text).find(ROLES, [1])
    assert found is not None
    assert found.fits(["a", "b"])
    assert found.fill(["a", "b"])[0] == "usera<|im_end|>assistantb<|im_end|>"
    assert not found.fits([other, "b"])
    rows = [Chat([chats.user(said), chats.answer("b")]) for said in ("a", other, "a", other)]
    assert rendered(text, rows, True) == rendered(text, rows, False)


def test_what_a_test_may_ask_of_a_text_is_answered() -> None:
    text = (
        "{% for m in messages %}{{ m.role }}{% if m.content is string and m.content is defined and m.content is not none %}"
        "{{ m.content | trim }}{% endif %}<|im_end|>{% endfor %}{{ 'assistant' if add_generation_prompt }}"
    )
    found = outlines(text).find(ROLES, [1])
    assert found is not None
    assert found.fill([" a ", " b "])[0] == "usera<|im_end|>assistantb<|im_end|>"


TEXTS = st.sampled_from(["</think>", "<tool_response>", "\n\nwhy"]) | st.text(
    st.sampled_from("ab \n\t<|>é🦊{}%'/"), max_size=12
)


@st.composite
def conversations(draw: Callable[[Any], Any]) -> Chat:
    messages: list[Message] = []
    for _ in range(draw(st.integers(1, 3))):
        messages += [chats.user(draw(TEXTS)), chats.answer(draw(TEXTS) + "y")]
    if draw(st.booleans()):
        messages.insert(0, {"role": "system", "content": draw(TEXTS)})
    return Chat(messages, draw(st.sampled_from([0, 0, len(messages) - 1])))


def rendered(text: str, rows: list[Chat], fast: bool) -> list[Rendered | BadRow]:
    template = Template(chats.tokenizer(text), text)
    if not fast:
        template._plain_ends = False  # no template has an outline then
    return template.render([("a:1", row) for row in rows])


@pytest.mark.parametrize(
    "name", ["chatml", "gemma", "llama3", "mistral", "phi4", "zephyr", "alpaca", "trl/qwen2_5", "trl/qwen3"]
)
@settings(deadline=None, max_examples=25)
@given(rows=st.lists(conversations(), min_size=2, max_size=6))
def test_rows_are_the_same_with_outlines_and_without(name: str, rows: list[Chat]) -> None:
    text = chats.template(name)
    fast, slow = rendered(text, [*rows, *rows], True), rendered(text, [*rows, *rows], False)
    assert [str(row) if isinstance(row, BadRow) else row for row in fast] == [
        str(row) if isinstance(row, BadRow) else row for row in slow
    ]


def test_rows_encoded_together_are_as_each_by_itself() -> None:
    text = chats.template("chatml")
    tokenizer = chats.tokenizer(text)
    said = ["a", "naïve 🦊", "e\u0301 is not composed", " x ", "long " * 50]
    rows = [Chat([chats.user(one), chats.answer(other)]) for one in said for other in said]
    texts = [row for row in rendered(text, rows, True) if isinstance(row, Rendered)]
    assert len(texts) == len(rows)
    encoder, asking = Encoder(tokenizer), Encoder(tokenizer, by_length=False)
    together = encoder.together(texts)
    alone = [encoder.encode([row])[0] for row in texts]
    asked = asking.together(texts)
    assert np.array_equal(together.ids, np.concatenate([row.ids for row in alone]))
    assert np.array_equal(together.weights, np.concatenate([row.weights for row in alone]))
    assert np.array_equal(together.ids, asked.ids)
    assert np.array_equal(together.weights, asked.weights)
    counts, first = together.learned()
    assert counts.tolist() == [int(row.learned.sum()) for row in alone]
    assert first.tolist() == [int(row.learned.argmax()) for row in alone]
