"""Some rows of a recipe as training will see them: the question, the answer, and the process that is asked.

Rendering and tokenising need transformers, which takes seconds to load; whoever asks stays light.
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from infra.errors import Crashed, ErrorReport, Unreachable, revive
from infra.frozen import Frozen
from tasks.data.config import DataConfig

DEADLINE_S = 300.0


class Question(Frozen):
    """The data section, a folder with the tokenizer, how many rows, and a folder to work in."""

    config: DataConfig
    tokenizer: Path
    rows: int
    scratch: Path


class Part(Frozen):
    """Text of neighbouring tokens with one loss weight, 0 … 1, and whether they are learned as an answer, or unlearned as
    one that people rejected."""

    text: str
    weight: float
    learned: bool = False
    rejected: bool = False
    tokens: int = 0


class Shown(Frozen):
    """One row: its text in parts, or why it cannot be used; `fate` where it is not trained on whole.

    `chat` tells whether it went through the chat template, `warnings` what is odd about it, `sample` what stands in
    place of a row that cannot be used.
    """

    place: str
    chat: bool = False
    reason: str = ""
    fate: str = ""
    tokens: int = 0
    learned: int = 0
    parts: tuple[Part, ...] = ()
    warnings: tuple[str, ...] = ()
    sample: str = ""

    @property
    def answers(self) -> tuple[int, int]:
        """Tokens of the answers that are learned, and of those that people rejected."""
        learned = [part for part in self.parts if part.learned]
        rejected = sum(part.tokens for part in learned if part.rejected)
        return sum(part.tokens for part in learned) - rejected, rejected


class Totals(Frozen):
    """Figures of all rows that were looked at: the bad ones by reason, what becomes of others by fate, the share of
    tokens that are learned (0 … 1), and the shortest, median and longest length in tokens."""

    rows: int
    bad: dict[str, int]
    fates: dict[str, int]
    warned: int
    learned_share: float
    lengths: tuple[int, int, int]


class Answer(Frozen):
    """The rows in order, the columns that nothing asks for, and how special tokens are written; or an error."""

    rows: tuple[Shown, ...] = ()
    unused_columns: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    error: ErrorReport | None = None

    def totals(self) -> Totals:
        """What the rows have in common."""
        used = [row for row in self.rows if not row.reason]
        lengths = sorted(row.tokens for row in used) or [0]
        return Totals(
            rows=len(self.rows),
            bad=dict(Counter(row.reason for row in self.rows if row.reason)),
            fates=dict(Counter(row.fate for row in used if row.fate)),
            warned=sum(1 for row in used if row.warnings),
            learned_share=sum(row.learned for row in used) / max(1, sum(lengths)),
            lengths=(lengths[0], lengths[len(lengths) // 2], lengths[-1]),
        )


def ask(question: Question) -> Answer:
    """What the process answers; raises the error that it reports, Crashed where it ends without a word."""
    answer = Answer.model_validate_json(answered("tasks.data.previewing", question))
    if answer.error is not None:
        raise revive(answer.error)
    return answer


def answered(module: str, question: Frozen, deadline_s: float = DEADLINE_S) -> str:
    """The line that a process of its own writes when it is asked; Crashed or Unreachable where it writes none."""
    command = [sys.executable, "-m", "infra.launch.lifeline", module]
    try:
        done = subprocess.run(
            command,
            input=question.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"no row could be shown within {deadline_s:.0f} s", place="data.train_files") from None
    if done.returncode != 0:
        raise Crashed("the rows could not be shown", value=done.stderr.strip()[-400:])
    return done.stdout.splitlines()[-1]
