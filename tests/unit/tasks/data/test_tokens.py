"""Processes that prepare rows load their tokenizers without torch, and get the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tasks.data.rows import Chat
from tasks.data.templates import Rendered, Template
from tasks.data.tokens import Encoder
from tests import chats

pytestmark = pytest.mark.heavy

TALK = [
    {"role": "user", "content": "What is a naïve 🦊?"},
    {"role": "assistant", "content": "An animal.\n"},
]
# The same as in `prepared`, in a process of its own.
ALONE = """
import sys, json
from pathlib import Path
from tasks.data.tokens import load, without_torch
without_torch()
from tests.unit.tasks.data import test_tokens
tokenizer = load(Path(sys.argv[1]))
print(json.dumps([test_tokens.prepared(tokenizer), sorted(name for name in sys.modules if name.startswith("torch"))]))
"""


def prepared(tokenizer: Any) -> list[list[Any]]:
    """By template: the text, the ids and the weights of a conversation; of the tokenizer's own template first."""
    found: list[list[Any]] = []
    for template in (None, chats.template("chatml"), chats.template("zephyr")):
        (rendered,) = Template(tokenizer, template).render([("rows.jsonl:1", Chat(TALK))])
        assert isinstance(rendered, Rendered), rendered
        (tokens,) = Encoder(tokenizer).encode([rendered])
        found.append([rendered.text, tokens.ids.tolist(), tokens.weights.tolist()])
    return found


def test_a_process_without_torch_prepares_the_same(tokenizer: Any, tokenizer_folder: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", ALONE, str(tokenizer_folder)], check=True, capture_output=True, text=True, timeout=120
    )
    assert json.loads(told.stdout) == [prepared(tokenizer), ["torch"]]
    assert "PyTorch" not in told.stderr
