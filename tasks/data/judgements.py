"""Answers that people judged: pairs of a better and a worse one, and single ones with a label."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.data.messages import CALL, Speech
from tasks.data.rows import BadRow, Chat, Labelled, Plain, Preference, listed

BEFORE = ("prompt", "messages", "conversations")  # what may hold the text or the messages before an answer


def preference(speech: Speech, value: Mapping[str, Any], asked: Sequence[object]) -> Preference:
    """A pair: strings after a prompt, whole conversations, or answers after messages.

    `asked` are the messages that other columns make (system, history, instruction). Raises BadRow where both sides
    are equal or of two kinds.
    """
    chosen, rejected = (_side(speech, value, name, asked) for name in ("chosen", "rejected"))
    if chosen == rejected:
        raise BadRow("chosen and rejected are equal")
    if isinstance(chosen, Chat) and isinstance(rejected, Chat):
        same = _same(chosen.messages, rejected.messages)
        if {chosen.messages[same]["role"], rejected.messages[same]["role"]} != {"assistant"}:
            raise BadRow(f"chosen and rejected answer two different prompts (message {same})")
        return Preference(_after(chosen, same), _after(rejected, same))
    if type(chosen) is not type(rejected):
        raise BadRow("chosen and rejected must both be strings or both be messages")
    return Preference(chosen, rejected)


def labelled(row: object, label: object) -> Labelled:
    """An answer with its label; BadRow where that is neither true nor false, or where there is no answer."""
    said = {"true": True, "false": False}.get(label.lower()) if isinstance(label, str) else label
    if not isinstance(said, bool):
        raise BadRow(f"label must be true or false, not {str(label)[:40]!r}")
    if not isinstance(row, Chat | Plain):
        raise BadRow("only an answer can have a label")
    return Labelled(row, said)


def _side(speech: Speech, value: Mapping[str, Any], name: str, asked: Sequence[object]) -> Chat | Plain:
    answer, before = value[name], _before(value)
    if isinstance(answer, str) and isinstance(before, str) and not asked:
        if not answer:
            raise BadRow(f"{name} is empty")
        return Plain(before, answer)
    said = _messages(answer, "assistant", name)
    if _is_whole(speech, said):  # what stands beside it only repeats its beginning
        return speech.chat(said, (), value.get("tools"))
    given = [*asked, *_messages(before, "user", "prompt")]
    if not given:
        raise BadRow(f"{name} is an answer to nothing: it holds no question, and there is no prompt beside it")
    return speech.chat(said, given, value.get("tools"))


def _before(value: Mapping[str, Any]) -> object:
    held = [value[name] for name in BEFORE if value.get(name)]
    if len(held) > 1:
        raise BadRow(f"has more than one of {', '.join(BEFORE)}")
    return held[0] if held else []


def _messages(value: object, role: str, name: str) -> Sequence[object]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return [value] if isinstance(value, Mapping) else listed(value, name)


def _is_whole(speech: Speech, said: Sequence[object]) -> bool:
    return len(said) > 1 and isinstance(said[0], Mapping) and speech.role(said[0], 0) not in ("assistant", CALL)


def _same(first: Sequence[object], second: Sequence[object]) -> int:
    """How many messages two conversations share at their beginning."""
    shortest = min(len(first), len(second)) - 1
    return next((at for at in range(shortest) if first[at] != second[at]), shortest)


def _after(chat: Chat, same: int) -> Chat:
    return replace(chat, given=max(chat.given, same))
