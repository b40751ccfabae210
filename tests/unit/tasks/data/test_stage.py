"""The key holds what files contain and not where they lie; what is missing is refused before anything starts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from infra.errors import BadRecipe
from infra.storage.receipt import Receipt
from tasks.data import stage
from tasks.data.config import DataConfig

TOKENIZER = Receipt(stage="tokenizer", key="0" * 64, attempt="a", uri="file:///x", content_sha256="1" * 64)
ROW = {"prompt": "q", "completion": "a"}


def key(*files: Path, **fields: Any) -> str:
    return stage.step(DataConfig(train_files=[str(path) for path in files], **fields), TOKENIZER).key


def test_equal_content_elsewhere_is_the_same_key(tmp_path: Path, write: Callable[..., Path]) -> None:
    here = write([ROW])
    there = tmp_path / "other" / "name.jsonl"
    there.parent.mkdir()
    there.write_bytes(here.read_bytes())
    assert key(here) == key(there) == key(there.parent) == key(there.parent / "*.jsonl")


def test_other_content_kind_or_setting_is_another_key(tmp_path: Path, write: Callable[..., Path]) -> None:
    base, other = write([ROW]), write([ROW, ROW], "more.jsonl")
    renamed = tmp_path / "rows.json"
    renamed.write_bytes(base.read_bytes())
    template = tmp_path / "chat.jinja"
    template.write_text("x")
    keys = [
        key(base),
        key(other),
        key(renamed),
        key(base, other),
        key(base, max_length=64),
        key(base, validation_files=[str(other)]),
        key(base, chat_template=str(template)),
    ]
    assert len(set(keys)) == len(keys)


def test_the_template_is_in_the_key_by_its_content(tmp_path: Path, write: Callable[..., Path]) -> None:
    rows, template = write([ROW]), tmp_path / "chat.jinja"
    template.write_text("x")
    before = key(rows, chat_template=str(template))
    template.write_text("y")
    assert key(rows, chat_template=str(template)) != before


@pytest.mark.parametrize(
    ("fields", "what", "place"),
    [
        ({"train_files": ["/nowhere/rows.jsonl"]}, "there is no such file", "data.train_files"),
        ({"train_files": ["/nowhere/*.jsonl"]}, "nothing matches", "data.train_files"),
        ({"validation_files": ["/nowhere/rows.jsonl"]}, "there is no such file", "data.validation_files"),
        ({"chat_template": "/nowhere/chat.jinja"}, "there is no such file", "data.chat_template"),
    ],
)
def test_missing_files_are_refused_by_field(
    write: Callable[..., Path], fields: dict[str, Any], what: str, place: str
) -> None:
    config = DataConfig(**({"train_files": [str(write([ROW]))]} | fields))
    with pytest.raises(BadRecipe, match=what) as caught:
        stage.step(config, TOKENIZER)
    assert caught.value.place == place


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"x")
    with pytest.raises(BadRecipe, match="this kind of file is not known") as caught:
        key(tmp_path)
    assert caught.value.value.endswith("rows.xlsx")
    assert ".jsonl, .ndjson, .json, .csv, .tsv, .parquet" in caught.value.remedy


@pytest.mark.parametrize(
    "wrong",
    [
        {"train_files": []},
        {"validation_files": []},
        {"validation_split": 1},
        {"prompt_loss_weight": 1.1},
        {"overlong": "wrap"},
        {"format": "chatml"},
        {"columns": {"question": "prompt"}},
        {"columns": {"prompt": "x", "completion": "x"}},
        {"max_bad_rows": -0.1},
        {"decontamination": True},
        {"decontamination_ngram": 4},
        {"max_length": 0},
        {"shuffle": True},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataConfig.model_validate({"train_files": ["a.jsonl"]} | wrong)


def test_no_path_reaches_the_key_material(write: Callable[..., Path]) -> None:
    path = write([ROW])
    step = stage.step(DataConfig(train_files=[str(path)], validation_files=[str(path)]), TOKENIZER)
    assert str(path.parent) not in json.dumps([step.config.material(), step.material])
