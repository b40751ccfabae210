"""Pairs and labels, in the forms of TRL and LLaMA-Factory."""

from typing import Any

import pytest

from tasks.data.layouts import Shape
from tasks.data.rows import BadRow, Chat, Labelled, Plain, Preference

Q, A, B = [{"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("assistant", "b"))]
GPT = [{"from": "gpt", "value": "a"}, {"from": "gpt", "value": "b"}]
PAIR = Preference(Chat([Q, A], given=1), Chat([Q, B], given=1))


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": [Q], "chosen": [A], "rejected": [B]},
        {"chosen": [Q, A], "rejected": [Q, B]},
        {"prompt": "q", "chosen": [Q, A], "rejected": [Q, B]},
        {"prompt": "q", "chosen": [A], "rejected": [B]},
        {"messages": [Q], "chosen": "a", "rejected": "b"},
        {"conversations": [{"from": "human", "value": "q"}], "chosen": GPT[0], "rejected": GPT[1]},
        {"instruction": "q", "input": "", "chosen": "a", "rejected": "b"},
    ],
)
def test_pairs_of_messages_share_what_comes_before(value: dict[str, Any]) -> None:
    assert Shape("preference").parse(value) == PAIR


def test_pairs_of_strings_need_a_prompt() -> None:
    assert Shape().parse({"prompt": "q", "chosen": "a", "rejected": "b"}) == Preference(
        Plain("q", "a"), Plain("q", "b")
    )
    with pytest.raises(BadRow, match="chosen is an answer to nothing"):
        Shape().parse({"chosen": "a", "rejected": "b"})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "chosen and rejected are equal"),
        ({"prompt": "q", "chosen": "", "rejected": "a"}, "chosen is empty"),
        ({"prompt": "q", "chosen": "a", "rejected": [B]}, "must both be strings or both be messages"),
        ({"prompt": [Q], "messages": [Q], "chosen": "a", "rejected": "b"}, "more than one of prompt, messages"),
        ({"prompt": [Q], "chosen": 7, "rejected": "b"}, "chosen must be a list, not int"),
        ({"prompt": [Q], "chosen": [Q], "rejected": [B]}, "does not end with an assistant message"),
        ({"chosen": [Q, A], "rejected": [Q | {"content": "r"}, B]}, "two different prompts (message 0)"),
        ({"chosen": [Q, A, Q, A], "rejected": [Q, A, Q | {"content": "r"}, B]}, "two different prompts (message 2)"),
    ],
)
def test_what_is_no_pair_says_why(value: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        Shape("preference").parse(value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("label", [True, "true", "True"])
def test_answers_of_every_form_may_have_a_label(label: object) -> None:
    shape = Shape("unpaired_preference", {"label": "kto_tag"})
    assert shape.parse({"prompt": "q", "completion": "a", "kto_tag": label}) == Labelled(Plain("q", "a"), True)
    for value in ({"messages": [Q, A]}, {"instruction": "q", "output": "a"}, {"conversations": [Q, A]}):
        assert shape.parse({**value, "kto_tag": label}) == Labelled(Chat([Q, A]), True)


@pytest.mark.parametrize("label", [1, 0.5, None, "good", []])
def test_a_label_is_true_or_false(label: object) -> None:
    with pytest.raises(BadRow, match="label must be true or false"):
        Shape("unpaired_preference").parse({"prompt": "q", "completion": "a", "label": label})
