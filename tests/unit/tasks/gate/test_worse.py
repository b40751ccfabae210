"""What production answers better is shown with what was asked and both answers, and no text leaves its block."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.gate.config import Comparison
from tasks.gate.worse import LONG, SHOWN, Worse, worse


def stored(folder: Path, values: list[float], said: Any = "yes", metric: str = "acc") -> Path:
    (folder / "samples").mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"t": {metric: {"value": sum(values) / len(values)}}}))
    hashes = {"target_hash": "t", "filter": "none"}
    lines = [
        {"doc_id": number, "doc_hash": f"d{number}", "response": [said], "metrics": {metric: value}} | hashes
        for number, value in enumerate(values)
    ]
    (folder / "samples" / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def questions(folder: Path, text: str = "Which?") -> Path:
    folder.mkdir()
    lines = [
        {"task": task, "doc_id": number, "doc_hash": f"d{number}", "text": f"{text} {number}", "targets": ["a", "b"]}
        for task in ("another", "t")
        for number in range(9)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_what_was_lost_is_told_with_question_and_answers_and_only_the_first_of_many(tmp_path: Path) -> None:
    ours = stored(tmp_path / "ours", [1.0] + [0.0] * 8, "no")
    theirs = stored(tmp_path / "theirs", [0.0, 0.0] + [1.0] * 7)
    found = worse(Comparison(task="t", metric="acc"), ours, theirs, questions(tmp_path / "questions"))
    assert [one.doc_id for one in found] == [2, 3, 4, 5, 6]
    assert len(found) == SHOWN
    first = found[0]
    assert (first.asked, first.wanted, first.incumbent, first.candidate) == ("Which? 2", "a / b", "yes", "no")
    assert first.block("tickets/3") == [
        "t 2: acc 1 → 0",
        "",
        "```text",
        "asked      Which? 2",
        "wanted     a / b",
        "tickets/3  yes",
        "this one   no",
        "```",
    ]


def test_what_lost_most_comes_first_and_less_may_be_better(tmp_path: Path) -> None:
    ours, theirs = stored(tmp_path / "ours", [2.0, 9.0, 1.0]), stored(tmp_path / "theirs", [1.0, 1.0, 1.0])
    asked = Comparison(task="t", metric="acc", higher_is_better=False)
    assert [(one.doc_id, one.scores) for one in worse(asked, ours, theirs, None)] == [(1, (1.0, 9.0)), (0, (1.0, 2.0))]


def test_without_questions_the_answers_are_told_and_choices_as_their_likelihoods(tmp_path: Path) -> None:
    ours = stored(tmp_path / "ours", [0.0], [-1.5, "False"])
    theirs = stored(tmp_path / "theirs", [1.0], [-0.5, "True"])
    (one,) = worse(Comparison(task="t", metric="acc"), ours, theirs, None)
    assert (one.asked, one.incumbent, one.candidate) == ("", '[-0.5, "True"]', '[-1.5, "False"]')
    assert "asked" not in "\n".join(one.block("t/1"))


@pytest.mark.parametrize("text", ["```\n# a head", "\x1b[31mred", "\u202eright to left"])
def test_no_text_leaves_its_block(tmp_path: Path, text: str) -> None:
    ours, theirs = stored(tmp_path / "ours", [0.0], text), stored(tmp_path / "theirs", [1.0], text * 400)
    (one,) = worse(Comparison(task="t", metric="acc"), ours, theirs, questions(tmp_path / "questions", text))
    lines = one.block("t/1")
    assert len(lines) == 8
    assert "\n".join(lines).count("```") == 2
    assert all(char.isprintable() for row in lines for char in row)
    assert len(one.incumbent) <= LONG + 3
    assert one == Worse.model_validate_json(one.model_dump_json())
