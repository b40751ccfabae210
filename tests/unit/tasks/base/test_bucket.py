"""Base models in a bucket, on a real S3 server."""

import json
from pathlib import Path

import pytest

from infra.errors import BadModel, Corrupt
from infra.storage.s3 import S3Objects
from tasks.base import bucket, origin, stage, worker
from tasks.base.config import BaseConfig
from tests import jobs, tiny

pytestmark = [pytest.mark.heavy, pytest.mark.s3]


@pytest.fixture
def there(s3_root: str, tmp_path: Path) -> S3Objects:
    """A model with its tokenizer, a pickle, and a folder that is no part of it."""
    folder = tiny.model(tiny.tokenizer(tmp_path / "base"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that must never travel")
    objects = S3Objects(f"{s3_root}/models/tiny")
    for file in folder.iterdir():
        objects.upload(file, file.name)
    objects.put("original/model.safetensors", b"another layout")
    return objects


def config(there: S3Objects, **options: str) -> BaseConfig:
    return BaseConfig(model_name_or_path=there.uri, **options)  # type: ignore[arg-type]


def test_weights_and_tokenizer_come_whole_and_say_from_where(there: S3Objects, tmp_path: Path) -> None:
    on = jobs.platform(tmp_path / "on")
    made = {}
    for what, step in {
        "weights": stage.weights_step(config(there)),
        "tokenizer": stage.tokenizer_step(config(there)),
    }.items():
        receipt = jobs.made(on, what, step.config, {}, worker.work)
        made[what] = on.cache.materialise(on.store, receipt, tmp_path / what)
    source = json.loads((made["weights"] / "source.json").read_bytes())
    assert source["bucket"] == there.uri
    assert source["license"] == "apache-2.0"
    assert source["revision"] == bucket.revision(there.uri, None)
    assert (made["weights"] / "model.safetensors").exists()
    assert json.loads((made["tokenizer"] / "tokenizer_config.json").read_bytes())["eos_token"] == tiny.END
    assert not list(tmp_path.rglob("pytorch_model.bin"))[1:], "only the one it was made with"


def test_the_key_follows_the_content_and_not_the_place(there: S3Objects, s3_root: str, tmp_path: Path) -> None:
    first = stage.weights_step(config(there)).key
    moved = S3Objects(f"{s3_root}/elsewhere")
    for file in (tmp_path / "base").iterdir():
        moved.upload(file, file.name)
    assert stage.weights_step(config(moved)).key == first
    there.put("config.json", b"{}")
    assert stage.weights_step(config(there)).key != first


def test_what_changed_since_it_was_pinned_is_refused(there: S3Objects, tmp_path: Path) -> None:
    pinned = stage.weights_step(config(there)).config
    there.put("config.json", b"{}")
    with pytest.raises(BadModel, match="not those that were pinned") as caught:
        jobs.made(jobs.platform(tmp_path / "on"), "weights", pinned, {}, worker.work)
    assert "base.revision" in caught.value.place
    with pytest.raises(BadModel, match="not those that were pinned"):
        stage.weights_step(config(there, revision="0" * 64))


def test_a_file_that_changes_while_it_is_read_is_corrupt(there: S3Objects, tmp_path: Path) -> None:
    def change(name: str, number: int, count: int) -> None:
        if name == "model.safetensors":
            there.put(name, b"other weights")

    at = bucket.revision(there.uri, None)
    with pytest.raises(Corrupt, match="changed or vanished"):
        bucket.fetch(there.uri, at, tmp_path / "fetched", wanted=origin.is_weights, on_file=change)


def test_a_prefix_without_a_model_is_refused(s3_root: str) -> None:
    with pytest.raises(BadModel, match="no model") as caught:
        stage.weights_step(BaseConfig(model_name_or_path=f"{s3_root}/nothing"))
    assert "nothing is there" in caught.value.value


def test_weights_that_stay_in_the_bucket_are_checked_where_they_are_used(there: S3Objects, tmp_path: Path) -> None:
    on = jobs.platform(tmp_path / "on")
    step = stage.weights_step(BaseConfig(model_name_or_path=there.uri, copy_weights=False))
    receipt = jobs.made(on, "weights", step.config, {}, worker.work)
    assert not any(file.path.endswith(".safetensors") for file in on.store.manifest(receipt).files)
    folder = on.cache.materialise(on.store, receipt, tmp_path / "one")
    theirs = (tmp_path / "base" / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == theirs
    there.put("model.safetensors", theirs[:-1] + b"!")
    on.cache.materialise(on.store, receipt, tmp_path / "two")  # this node has it
    with pytest.raises(Corrupt, match="not the one that was pinned") as caught:
        jobs.platform(tmp_path / "other").cache.materialise(on.store, receipt, tmp_path / "three")
    assert caught.value.place == f"{there.uri}/model.safetensors"
