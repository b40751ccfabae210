"""Conversations of every kind, the chat templates of many models, and a tiny tokenizer that knows their tokens."""

import importlib.util
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tasks.data import named
from tasks.data.rows import Chat, Message
from tasks.data.templates import Rendered
from tasks.data.tokens import load
from tests import tiny

# How templates write their special tokens; words that are no tokens of their own in some models look otherwise.
_SPECIAL = re.compile(
    r"<[|｜][^|｜<>\s]+[|｜]?>|<[^|<>\s]+\|>|<(?:start|end)_of_turn>|\[/?[A-Z_]+\]|<end_of_utterance>"
)

TOOLS: tuple[dict[str, Any], ...] = (
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add a number.",
            "parameters": {
                "type": "object",
                "properties": {"to": {"type": "integer", "description": "a number"}},
                "required": ["to"],
            },
        },
    },
)


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def answer(content: str, **fields: Any) -> Message:
    return {"role": "assistant", "content": content, **fields}


def call(**arguments: Any) -> dict[str, Any]:
    return {"type": "function", "id": "call00001", "function": {"name": "add", "arguments": arguments}}


def result(content: str) -> Message:
    return {"role": "tool", "content": content, "name": "add", "tool_call_id": "call00001"}


def talks() -> dict[str, Chat]:
    """Several turns, reasoning, and tools."""
    return {
        "turns": Chat([user("2 and 2?"), answer("Four.\n"), user("And 3?"), answer("Seven, naïve 🦊.")]),
        "reasoning": Chat(
            [
                user("2 and 2?"),
                answer("Four.", reasoning_content="Twice two."),
                user("And 3?"),
                answer("Seven.", reasoning_content="Three more."),
            ]
        ),
        "tools": Chat(
            [
                user("2 and 2?"),
                answer("", tool_calls=[call(to=2)]),
                result("4"),
                answer("Four."),
                user("And 3?"),
                answer("", tool_calls=[call(to=4)]),
                result("7"),
                answer("Seven."),
            ],
            tools=TOOLS,
        ),
    }


def template(name: str) -> str:
    """The text of a template of ours, or as `trl/name` one that TRL ships."""
    if name in named.NAMES:
        return Path(named.path(name)).read_text(encoding="utf-8")
    return (_trl() / f"{name.removeprefix('trl/')}.jinja").read_text(encoding="utf-8")


def trained() -> list[str]:
    """TRL's templates with {% generation %}, which says by itself what is learned."""
    return sorted(f"trl/{path.stem}" for path in _trl().glob("*_training.jinja"))


@cache
def tokenizer(text: str) -> Any:
    """A byte-level tokenizer to which what a template writes as special tokens are such."""
    with tempfile.TemporaryDirectory() as folder:
        made = load(tiny.tokenizer(Path(folder)))
    special = sorted({*_SPECIAL.findall(text), "<s>", "</s>"})
    made.add_special_tokens({"additional_special_tokens": special, "bos_token": "<s>", "eos_token": "</s>"})
    return made


def bracketed(rendered: Rendered) -> str:
    """The text with ⟦ ⟧ around what is learned."""
    parts, at = [], 0
    for span in rendered.spans:
        parts += [rendered.text[at : span.start], "⟦", rendered.text[span.start : span.stop], "⟧"]
        at = span.stop
    return "".join([*parts, rendered.text[at:]])


def _trl() -> Path:
    found = importlib.util.find_spec("trl")
    assert found is not None, "trl is in the extra bench, which make installs"
    assert found.origin is not None
    return Path(found.origin).parent / "chat_templates"
