"""How one dataset differs from another: the question, the answer, and the process that is asked.

Reading and decoding need numpy and transformers; whoever asks stays light.
"""

from pathlib import Path

from pydantic import JsonValue

from infra.errors import ErrorReport, revive
from infra.frozen import Frozen
from infra.storage.receipt import Receipt
from tasks.data.preview import Shown, answered

DEADLINE_S = 1800.0  # both datasets' row tables may have to come from a bucket


class DiffConfig(Frozen):
    """What the dataset that is compared with belongs to, as `tickets/3`."""

    since: str


class Since(Frozen):
    """A version, as `tickets/3`, and what it was trained on."""

    version: str
    dataset: Receipt


class Question(Frozen):
    """Two datasets, how many examples of each kind of change, and a folder to work in."""

    before: Receipt
    after: Receipt
    rows: int
    scratch: Path


class Amounts(Frozen):
    """What a dataset holds: rows and tokens of an epoch of training, held-out rows, the share of tokens that is learned
    (0 … 1), and lengths in tokens by share of the rows to train on."""

    rows: int
    held_out: int
    tokens: int
    learned_share: float
    quantiles: dict[str, int]


class SourceDrift(Frozen):
    """A source file's rows and its share of all tokens, before and after."""

    name: str
    rows: tuple[int, int]
    share: tuple[float, float]


class Example(Frozen):
    """A row that left, came, or is another now."""

    before: Shown | None = None
    after: Shown | None = None


class Changes(Frozen):
    """Rows by their content: same + changed + removed are all before, same + changed + added all after. Rows changed
    where the same is asked, or where one stands at the place of the other. `now_held_out` and `now_trained_on` are rows
    that are the same and changed sides.

    `distance` is that of Kolmogorov and Smirnov between the lengths, 0 … 1; two samples of one kind differ by less than
    `by_chance` 19 times of 20. `settings` are the fields that differ.
    """

    before: Amounts
    after: Amounts
    same: int
    added: int
    removed: int
    changed: int
    now_held_out: int
    now_trained_on: int
    distance: float
    by_chance: float
    sources: tuple[SourceDrift, ...]
    settings: dict[str, tuple[JsonValue, JsonValue]]
    one_tokenizer: bool
    examples: dict[str, tuple[Example, ...]]
    special: tuple[str, ...] = ()


class Answer(Frozen):
    """The changes, or an error."""

    changes: Changes | None = None
    error: ErrorReport | None = None


def ask(question: Question) -> Changes:
    """What the process answers; raises the error that it reports, Crashed where it ends without a word."""
    answer = Answer.model_validate_json(answered("tasks.data.diffing", question, DEADLINE_S))
    if answer.error is not None:
        raise revive(answer.error)
    assert answer.changes is not None
    return answer.changes
