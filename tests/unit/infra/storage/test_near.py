"""A name that means nothing is told with what it may have been."""

from pathlib import Path

import pytest

from infra.errors import BadRecipe
from infra.storage.sources import listed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tickets").mkdir()
    for name in ("train.jsonl", "test.jsonl", "faq.csv"):
        (tmp_path / "tickets" / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tickets/trian.jsonl", "did you mean train.jsonl"),
        ("ticket/train.jsonl", "did you mean tickets?"),
        ("tickets/*.json", "in its folder there is faq.csv, test.jsonl, train.jsonl;"),
        ("tikets/*.jsonl", "did you mean tickets?"),
        ("tickets/zzz", ""),
    ],
)
def test_what_is_near_is_told(folder: Path, name: str, told: str) -> None:
    with pytest.raises(BadRecipe) as caught:
        listed(f"{folder}/{name}", "data.train_files")
    assert (caught.value.place, caught.value.value) == ("data.train_files", f"{folder}/{name}")
    assert told in caught.value.remedy
    assert caught.value.remedy.endswith("paths are relative to the recipe's folder")
