"""The first rows of a recipe as training will see them: the question, the answer, and the process that is asked.

Rendering and tokenising need transformers, which takes seconds to load; whoever asks stays light.
"""

import subprocess
import sys
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
    """Text of neighbouring tokens with one loss weight, 0 … 1."""

    text: str
    weight: float


class Shown(Frozen):
    """One row: its text in parts, or why it cannot be used; `fate` where it is not trained on whole.

    `chat` tells whether it went through the chat template.
    """

    place: str
    chat: bool = False
    reason: str = ""
    fate: str = ""
    tokens: int = 0
    learned: int = 0
    parts: tuple[Part, ...] = ()


class Answer(Frozen):
    """The rows in order, and the columns that nothing asks for; or an error."""

    rows: tuple[Shown, ...] = ()
    unused_columns: tuple[str, ...] = ()
    error: ErrorReport | None = None


def ask(question: Question) -> Answer:
    """What the process answers; raises the error that it reports, Crashed where it ends without a word."""
    command = [sys.executable, "-m", "infra.launch.lifeline", "tasks.data.previewing"]
    try:
        done = subprocess.run(
            command,
            input=question.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unreachable(f"no row could be shown within {DEADLINE_S:.0f} s", place="data.train_files") from None
    if done.returncode != 0:
        raise Crashed("the rows could not be shown", value=done.stderr.strip()[-400:])
    answer = Answer.model_validate_json(done.stdout.splitlines()[-1])
    if answer.error is not None:
        raise revive(answer.error)
    return answer
