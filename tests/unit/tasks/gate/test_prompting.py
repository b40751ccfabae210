"""Whether prompting would do is told from the same documents, for what documents have, and fails no verdict."""

from pathlib import Path

import pytest

from tasks.gate.config import Bar, GateConfig
from tasks.gate.prompting import prompting, told
from tests.unit.tasks.gate.test_samples import stored

CONFIG = GateConfig(bars=[Bar(task="t", metric="acc", min=0.5), Bar(task="group", metric="acc", min=0.5)])


def said(tmp_path: Path, tuned: int, prompted: int, shots: int = 5) -> str:
    """What is told of a model and a prompted base that have so many of forty documents right, the same ones first."""
    folders = [
        stored(tmp_path / name, [float(number < right) for number in range(40)], right / 40)
        for name, right in (("tuned", tuned), ("prompted", prompted))
    ]
    (told_once,) = told(prompting(CONFIG, *folders), shots)
    return told_once


@pytest.mark.parametrize(
    ("tuned", "prompted", "sentence"),
    [
        (
            36,
            20,
            "On t it is shown to be better than the base with 5 examples in its prompt (0.9 beside 0.5 in acc on 40 documents).",
        ),
        (20, 36, "Prompting suffices on t: the base with 5 examples in its prompt is shown to be better"),
        (
            22,
            20,
            "Prompting may suffice on t: it is not shown to be better than the base with 5 examples in its prompt",
        ),
    ],
)
def test_it_says_whether_training_was_needed(tmp_path: Path, tuned: int, prompted: int, sentence: str) -> None:
    assert said(tmp_path, tuned, prompted).startswith(sentence)


def test_one_example_is_one(tmp_path: Path) -> None:
    assert "with 1 example in its prompt" in said(tmp_path, 36, 20, shots=1)


def test_nothing_is_told_of_other_documents(tmp_path: Path) -> None:
    tuned, prompted = stored(tmp_path / "a", [1.0, 0.0], 0.5), stored(tmp_path / "b", [1.0], 1.0)
    assert prompting(CONFIG, tuned, prompted) == []
