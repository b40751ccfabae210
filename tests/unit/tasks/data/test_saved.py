"""Folders that the datasets library has saved are read as they are."""

from pathlib import Path

import datasets
import pytest

from tasks.data import formats
from tasks.data.layouts import Shape
from tasks.data.rows import Chat, Text
from tests.unit.tasks.data.conftest import fetched

pytestmark = pytest.mark.heavy


def rows(folder: Path) -> list[object]:
    found = fetched([str(folder)], "data.train_files", folder / ".scratch")
    return [row.row or row.reason for name, path in found for row in formats.read(path, name, Shape())]


def test_a_saved_dataset(tmp_path: Path) -> None:
    texts = [f"row {number}" for number in range(2500)]
    datasets.Dataset.from_dict({"text": texts}).save_to_disk(tmp_path / "saved", num_shards=3)
    assert (tmp_path / "saved" / "dataset_info.json").exists()
    assert rows(tmp_path / "saved") == [Text(text) for text in texts]


def test_a_saved_dictionary_of_splits(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    split = datasets.Dataset.from_list([{"messages": talk}])
    datasets.DatasetDict({"train": split, "test": split}).save_to_disk(tmp_path / "saved")
    assert rows(tmp_path / "saved") == [Chat(talk), Chat(talk)]
    assert rows(tmp_path / "saved" / "train") == [Chat(talk)]
