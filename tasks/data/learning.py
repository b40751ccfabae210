"""Which messages of a conversation are learned, and how much each counts."""

from dataclasses import dataclass

from tasks.data.rows import Chat


@dataclass(frozen=True)
class Learning:
    """Messages of `roles` are learned, or of these the last one only; a row's own weights say how much each counts."""

    roles: frozenset[str] = frozenset({"assistant"})
    last_only: bool = False

    def turns(self, row: Chat) -> list[tuple[int, float]]:
        """The number of each message that is learned, in order, and its loss weight, 0 … 1."""
        turns = [
            (turn, 1.0 if row.weights is None else row.weights[turn])
            for turn, message in enumerate(row.messages)
            if turn >= row.given and message["role"] in self.roles
        ]
        return turns[-1:] if self.last_only else turns
