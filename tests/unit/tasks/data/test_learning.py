"""Which messages count, and how much."""

import pytest

from tasks.data.learning import Learning
from tasks.data.rows import Chat
from tests.chats import answer, user

TALK = [{"role": "system", "content": "s"}, user("a"), answer("b"), user("c"), answer("d")]
BOTH = frozenset({"user", "assistant"})


@pytest.mark.parametrize(
    ("learning", "row", "turns"),
    [
        (Learning(), Chat(TALK), [(2, 1.0), (4, 1.0)]),
        (Learning(), Chat(TALK, given=3), [(4, 1.0)]),
        (Learning(last_only=True), Chat(TALK), [(4, 1.0)]),
        (Learning(BOTH), Chat(TALK), [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]),
        (Learning(BOTH), Chat(TALK, given=2), [(2, 1.0), (3, 1.0), (4, 1.0)]),
        (Learning(), Chat(TALK, weights=(1, 1, 0, 1, 0.5)), [(2, 0), (4, 0.5)]),
        (Learning(last_only=True), Chat(TALK, weights=(0, 0, 1, 0, 0.5)), [(4, 0.5)]),
        (Learning(frozenset({"tool"})), Chat(TALK), []),
    ],
)
def test_roles_context_and_weights_decide(learning: Learning, row: Chat, turns: list[tuple[int, float]]) -> None:
    assert learning.turns(row) == turns
