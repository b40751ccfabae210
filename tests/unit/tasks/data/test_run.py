"""The whole stage with a real store and a real worker process: made once, found again, refused with the worker's words."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.errors import BadData
from infra.settings import Platform, Settings
from infra.storage import layout
from infra.storage.receipt import Manifest, Receipt, content_sha256
from tasks.data import stage
from tasks.data.config import DataConfig
from tests import tiny

pytestmark = pytest.mark.heavy


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Settings(home=tmp_path / "home", store="").platform()


@pytest.fixture
def committed(platform: Platform, tokenizer_folder: Path) -> Receipt:
    """The tiny tokenizer as an artifact."""
    key, attempt = "0" * 64, uuid.uuid4().hex
    files = platform.store.upload(tokenizer_folder, layout.attempt("tokenizer", key, attempt))
    manifest = Manifest(
        stage="tokenizer",
        version=1,
        key=key,
        attempt=attempt,
        files=files,
        content_sha256=content_sha256("tokenizer", files),
        config={},
        inputs={},
        summary={},
        versions={},
        created="",
    )
    return platform.store.receipt(platform.store.commit(manifest))


def test_a_dataset_is_made_once_and_found_again_from_elsewhere(
    platform: Platform, committed: Receipt, write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(tiny.rows(50))
    made = stage.run(DataConfig(train_files=[str(path)]), committed, platform)
    path.rename(tmp_path / "moved.jsonl")
    again = stage.run(DataConfig(train_files=[str(tmp_path / "moved.jsonl")]), committed, platform)
    assert again == made
    assert made.summary["rows"] == 50
    assert platform.store.read(made, "report.md").startswith(b"# Data\n")


def test_the_workers_refusal_is_the_stages(platform: Platform, committed: Receipt, write: Callable[..., Path]) -> None:
    with pytest.raises(BadData, match="the file has no rows") as caught:
        stage.run(DataConfig(train_files=[str(write([]))]), committed, platform)
    assert caught.value.place == "rows.jsonl"
