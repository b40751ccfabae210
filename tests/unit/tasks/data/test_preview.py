"""What is shown of rows is what the stage makes of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.errors import BadData, BadTemplate
from tasks.data import previewing
from tasks.data.config import DataConfig
from tasks.data.preview import Answer, Question, ask
from tests import tiny
from tests.unit.tasks.data.conftest import Make

pytestmark = pytest.mark.heavy

Write = Callable[..., Path]


def question(folder: Path, *files: Path, tokenizer: Path, rows: int = 5, **fields: Any) -> Question:
    config = DataConfig(train_files=[str(path) for path in files], **fields)
    return Question(config=config, tokenizer=tokenizer, rows=rows, scratch=folder)


def test_a_preview_is_what_the_stage_makes(
    tmp_path: Path, make: Make, write: Write, tokenizer_folder: Path, tokenizer: Any
) -> None:
    path = write(tiny.rows(3))
    made = make(path, validation_split=0)
    shown = previewing.look(question(tmp_path, path, tokenizer=tokenizer_folder)).rows
    assert [row.place for row in shown] == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:3"]
    for row, tokens, weights in zip(shown, *made.split("train"), strict=True):
        assert "".join(part.text for part in row.parts) == tokenizer.decode(tokens.tolist())
        assert row.tokens == len(tokens)
        assert row.learned == sum(weights == 1)
        learned = [part.text for part in row.parts if part.weight == 1]
        assert all(text.endswith(tiny.END) for text in learned)
        assert sorted({part.weight for part in row.parts}) == [0.0, 0.1, 1.0]


def test_every_row_says_what_becomes_of_it(tmp_path: Path, write: Write, tokenizer_folder: Path) -> None:
    long = " printer" * 60
    path = write([{"prompt": long, "completion": "x", "id": 1}, {"text": long}, "{", {"messages": []}])
    fates = {}
    for overlong in ("drop", "truncate", "split"):
        asked = question(tmp_path, path, tokenizer=tokenizer_folder, overlong=overlong, max_length=32)
        answer = previewing.look(asked)
        fates[overlong] = [row.fate for row in answer.rows]
        assert answer.unused_columns == ("id",)
        assert "is not JSON" in answer.rows[2].reason
        assert "does not end with an assistant" in answer.rows[3].reason
    assert fates == {
        "drop": ["dropped", "dropped", "", ""],
        "truncate": ["cut", "cut", "", ""],
        "split": ["dropped", "split", "", ""],
    }


def test_the_process_answers_or_says_what_is_wrong(tmp_path: Path, write: Write, tokenizer_folder: Path) -> None:
    good = question(tmp_path, write(tiny.rows(9)), tokenizer=tokenizer_folder, rows=2)
    answer = ask(good)
    assert isinstance(answer, Answer)
    assert len(answer.rows) == 2
    with pytest.raises(BadData, match="the file has no rows"):
        ask(question(tmp_path, write([], "none.jsonl"), tokenizer=tokenizer_folder))
    (tmp_path / "broken.jinja").write_text("{% for")
    with pytest.raises(BadTemplate, match="not valid Jinja"):
        ask(
            good.model_copy(
                update={"config": good.config.model_copy(update={"chat_template": str(tmp_path / "broken.jinja")})}
            )
        )
