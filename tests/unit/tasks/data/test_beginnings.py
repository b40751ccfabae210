"""Texts in two parts become the tokens that they are as a whole."""

import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer

from tasks.data.beginnings import ROWS, Beginnings
from tests import tiny

SYSTEM = "<|im_start|>system\nYou answer in one word, and nothing else.<|im_end|>\n<|im_start|>user\n"


@pytest.fixture
def backend(tmp_path: Path) -> Any:
    return Tokenizer.from_file(str(tiny.tokenizer(tmp_path) / "tokenizer.json"))


def whole(backend: Any, texts: list[str]) -> list[list[int]]:
    return [backend.encode(text, add_special_tokens=False).ids for text in texts]


def in_parts(beginnings: Beginnings, texts: list[str]) -> list[list[int]]:
    return [begin + rest for begin, rest in beginnings.ids(texts)]


def talk(chance: random.Random) -> str:
    """Words, white space and special tokens that meet in every way, behind one of two beginnings or none."""
    pieces = ["Why", " why ", "\n", "  ", "é", "<|im_", "<|im_end|>", "<|im_start|>", "<|endoftext|>", "|>"]
    return chance.choice(["", SYSTEM, SYSTEM + "Why?<|im_end|>\n"]) + "".join(chance.choices(pieces, k=8))


def test_any_texts_become_the_same_tokens(backend: Any) -> None:
    chance, beginnings = random.Random(0), Beginnings(backend)
    for size in (1, ROWS, 60, 200):
        texts = [talk(chance) for _ in range(size)]
        assert in_parts(beginnings, texts) == whole(backend, texts)


def test_a_beginning_that_rows_share_is_told_apart_up_to_its_last_special_token(backend: Any) -> None:
    texts = [f"{SYSTEM}{number} and more" for number in range(ROWS)]
    found = Beginnings(backend).ids(texts)
    (begin,) = {tuple(begin) for begin, _ in found}
    assert backend.decode(list(begin), skip_special_tokens=False) == SYSTEM.removesuffix("<|im_start|>user\n")


def test_few_rows_and_short_beginnings_are_left_whole(backend: Any) -> None:
    few, short = [SYSTEM] * (ROWS - 1), [f"Hi<|im_end|>{number}" for number in range(ROWS)]
    assert all(not begin for texts in (few, short) for begin, _ in Beginnings(backend).ids(texts))


@pytest.mark.parametrize(
    "token",
    [
        AddedToken("<|im_start|>user", special=True),  # in the truncated beginning the shorter one would be found
        AddedToken("<|im_start|>", special=True, lstrip=True),  # takes white space from what stands before it
        AddedToken("<|im_start|>", special=True, single_word=True),  # is one only where no letter stands before it
    ],
)
def test_tokens_that_depend_on_what_is_around_them_cut_nothing(backend: Any, token: Any) -> None:
    backend.add_special_tokens([token])
    texts = [SYSTEM.replace("<|im_end|>", " ") + str(number) for number in range(ROWS)]
    found = Beginnings(backend).ids(texts)
    assert [begin + rest for begin, rest in found] == whole(backend, texts)
    assert not any(begin for begin, _ in found)
