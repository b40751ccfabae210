"""A first line tells what rows are; what it does not tell is nobody's guess."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.data.config import DataConfig
from tasks.data.peek import kinds

PLAIN = {"prompt": "q", "completion": "a"}


@pytest.mark.parametrize(
    ("row", "fields", "wanted"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, {}, ["pairs"]),
        (PLAIN, {}, [""]),
        (PLAIN | {"label": True}, {"format": "unpaired_preference"}, ["labels"]),
        (PLAIN | {"label": True}, {}, []),
        ({"question": "q", "good": "a", "bad": "b"}, {"columns": {"prompt": "question", "chosen": "good", "rejected": "bad"}}, ["pairs"]),
        ({"unknown": 1}, {}, []),
    ],
)  # fmt: skip
def test_the_first_line_tells(
    write: Callable[..., Path], row: dict[str, Any], fields: dict[str, Any], wanted: list[str]
) -> None:
    path = write([row, "{"])
    found = kinds(DataConfig.model_validate({"train_files": [str(path)], **fields}))
    assert list(found.values()) == wanted


def test_what_is_not_here_as_lines_tells_nothing(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([PLAIN]))
    names = [str(tmp_path / "rows.json"), "s3://bucket/rows.jsonl", str(tmp_path / "gone.jsonl")]
    assert kinds(DataConfig(train_files=names)) == {}
    assert kinds(DataConfig(train_files=[*names, str(write(["{"]))])) == {}
