"""What a check found."""

from collections.abc import Callable
from typing import Literal

from infra.errors import LuthierError
from infra.frozen import Frozen

State = Literal["ok", "note", "warn", "bad"]


class Finding(Frozen):
    """`note` is neither good nor wrong; `warn` hinders some runs, `bad` all that need what was checked."""

    check: str
    state: State
    said: str
    remedy: str = ""


def ok(check: str, said: str) -> Finding:
    """All is well."""
    return Finding(check=check, state="ok", said=said)


def note(check: str, said: str) -> Finding:
    """Worth knowing."""
    return Finding(check=check, state="note", said=said)


def warn(check: str, said: str, remedy: str) -> Finding:
    """Some runs will not work."""
    return Finding(check=check, state="warn", said=said, remedy=remedy)


def bad(check: str, said: str, remedy: str) -> Finding:
    """Runs will fail."""
    return Finding(check=check, state="bad", said=said, remedy=remedy)


def guarded(check: str, look: Callable[[], Finding]) -> Finding:
    """What a check found, or the error of ours that it ended with."""
    try:
        return look()
    except LuthierError as error:
        said = "; ".join(part for part in (error.what, error.value, error.place) if part)
        return bad(check, said, error.remedy)
