"""Base models on a hub: against a small one on loopback, with the hub's own client."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

from infra.errors import BadModel, Corrupt, Unreachable
from infra.settings import Platform
from infra.storage.receipt import Receipt
from infra.storage.reference import Reference
from tasks.base import hub, stage, worker
from tasks.base.config import BaseConfig
from tests import jobs, tiny
from tests.hub import Hub
from tests.hub import hub as running

pytestmark = pytest.mark.heavy
ID = "makers/tiny"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        hub.commit.cache_clear()
        yield server


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tiny.model(tiny.tokenizer(tmp_path_factory.mktemp("tiny") / "base"))
    return {file.name: file.read_bytes() for file in folder.iterdir()} | {
        "README.md": b"---\nlicense: apache-2.0\n---\n# Tiny\n",
        "consolidated.safetensors": b"the same weights once more, in another layout",
        "pytorch_model.bin": b"a pickle that must never travel",
    }


def quiet(_name: str, _number: int, _count: int) -> None:
    """Nobody watches."""


def made(room: Path, what: str, config: BaseConfig) -> Path:
    on = jobs.platform(room)
    step = stage.weights_step(config) if what == "weights" else stage.tokenizer_step(config)
    receipt = jobs.made(on, what, step.config, {}, worker.work)
    return on.cache.materialise(on.store, receipt, room / what)


def test_a_branch_becomes_a_commit_and_the_key_follows_the_commit(there: Hub, files: dict[str, bytes]) -> None:
    first = there.add(ID, files)
    by_branch = stage.weights_step(BaseConfig(model_name_or_path=ID))
    assert by_branch.config == BaseConfig(model_name_or_path=ID, revision=first)
    asked = len(there.requests)
    by_commit = stage.weights_step(BaseConfig(model_name_or_path=ID, revision=first))
    assert by_commit.key == by_branch.key
    assert len(there.requests) == asked  # a commit needs no answer from the hub
    there.add(ID, files | {"config.json": b"{}"})
    hub.commit.cache_clear()
    assert stage.weights_step(BaseConfig(model_name_or_path=ID)).key != by_branch.key


def test_tokenizer_and_weights_are_made_from_data_alone(there: Hub, files: dict[str, bytes], tmp_path: Path) -> None:
    at = there.add(ID, files)
    config = BaseConfig(model_name_or_path=ID)
    assert (made(tmp_path, "tokenizer", config) / "tokenizer.json").exists()
    assert not any("safetensors" in asked for asked in there.requests)
    weights = made(tmp_path, "weights", config)
    source = json.loads((weights / "source.json").read_bytes())
    assert (source["hub"], source["revision"], source["license"]) == (ID, at, "apache-2.0")
    assert (weights / "README.md").read_bytes() == files["README.md"]
    fetched = {asked.rpartition("/")[2] for asked in there.requests if "/resolve/" in asked}
    assert "model.safetensors" in fetched
    assert fetched.isdisjoint({"pytorch_model.bin", "consolidated.safetensors"})


def test_only_the_shards_of_the_index_are_fetched(there: Hub, files: dict[str, bytes]) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    shards = {"model-1.safetensors": b"1", "model-2.safetensors": b"2", "model-3.safetensors": b"3"}
    at = there.add(ID, files | shards | {"model.safetensors.index.json": json.dumps(index).encode()})
    folder = hub.fetch(ID, at, weights=True, on_file=quiet)
    assert {file.name for file in folder.glob("*.safetensors")} == {"model-1.safetensors", "model-2.safetensors"}


def test_an_index_that_names_another_place_is_refused(there: Hub, files: dict[str, bytes]) -> None:
    index = {"weight_map": {"a": "../../model.safetensors"}}
    at = there.add(ID, files | {"model.safetensors.index.json": json.dumps(index).encode()})
    with pytest.raises(BadModel):
        hub.fetch(ID, at, weights=True, on_file=quiet)


def test_a_gated_model_needs_a_token(there: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    at = there.add(ID, files, gated=True)
    with pytest.raises(BadModel, match="gated") as refused:
        hub.fetch(ID, at, weights=True, on_file=quiet)
    assert "HF_TOKEN" in refused.value.remedy
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert (hub.fetch(ID, at, weights=True, on_file=quiet) / "model.safetensors").exists()


def test_a_private_model_looks_missing_and_the_token_shows_it(
    there: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = there.add(ID, files, private=True)
    with pytest.raises(BadModel, match="private"):
        hub.commit(ID, "main")
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    assert hub.commit(ID, "main") == at


def test_a_token_that_the_hub_does_not_know_is_named(
    there: Hub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    there.add(ID, files)
    monkeypatch.setenv("HF_TOKEN", "hf_stale")
    with pytest.raises(BadModel, match="token") as refused:
        hub.commit(ID, "main")
    assert "hf_stale" not in str(refused.value)


def test_a_revision_that_is_not_there(there: Hub, files: dict[str, bytes]) -> None:
    there.add(ID, files)
    with pytest.raises(BadModel, match="no such revision"):
        hub.commit(ID, "v9")


def test_only_pickles_are_refused_before_anything_is_fetched(there: Hub) -> None:
    at = there.add(ID, {"config.json": b"{}", "pytorch_model.bin": b"x"})
    with pytest.raises(BadModel, match="pickles"):
        hub.fetch(ID, at, weights=True, on_file=quiet)
    assert not any("/resolve/" in asked for asked in there.requests)


def test_weights_that_were_changed_on_the_disk_are_found_and_fetched_anew(there: Hub, files: dict[str, bytes]) -> None:
    at = there.add(ID, files)
    stored = (hub.fetch(ID, at, weights=True, on_file=quiet) / "model.safetensors").resolve()
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    with pytest.raises(Corrupt):
        hub.fetch(ID, at, weights=True, on_file=quiet)
    assert (hub.fetch(ID, at, weights=True, on_file=quiet) / "model.safetensors").read_bytes() == files[
        "model.safetensors"
    ]


def test_a_hub_that_is_away_is_told_apart_from_a_model_that_is(there: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Unreachable):
        hub.commit(ID, "main")


@pytest.mark.parametrize("wrong", ["a/b/c", "../b", "a..b/c", "-a/b", "a/b\n", "a--b/c"])
def test_what_is_no_id_is_a_path(wrong: str) -> None:
    assert not BaseConfig(model_name_or_path=wrong).is_hub_id


# Weights that stay on the hub


def referring(at: str) -> BaseConfig:
    return BaseConfig(model_name_or_path=ID, revision=at, copy_weights=False)


def referred(there: Hub, files: dict[str, bytes], room: Path) -> tuple[Platform, Receipt]:
    on = jobs.platform(room)
    return on, jobs.made(on, "weights", referring(there.add(ID, files)), {}, worker.work)


def test_the_store_holds_no_weights_and_nothing_of_them_was_fetched(
    there: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    on, receipt = referred(there, files, tmp_path)
    stored = {file.path for file in on.store.manifest(receipt).files}
    assert stored == {"config.json", "generation_config.json", "README.md", "reference.json", "source.json"}
    assert not any("safetensors" in asked for asked in there.requests)
    told = Reference.model_validate_json(on.store.read(receipt, "reference.json"))
    (weights,) = told.files
    assert weights.sha256 == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert (told.hub, told.revision) == (ID, there.repos[ID].branches["main"])
    assert receipt.summary["license"] == "apache-2.0"


def test_what_a_node_gets_of_a_reference_is_what_a_copy_would_have_been(
    there: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    on, receipt = referred(there, files, tmp_path / "referred")
    folder = on.cache.materialise(on.store, receipt, tmp_path / "folder")
    copy = made(tmp_path / "copied", "weights", BaseConfig(model_name_or_path=ID))
    ids = torch.arange(12)[None]
    ours, theirs = (AutoModelForCausalLM.from_pretrained(each) for each in (folder, copy))
    assert ours.dtype == torch.bfloat16  # base.dtype, though the hub's file is float32
    assert torch.equal(ours(ids).logits, theirs(ids).logits)
    assert receipt.summary["parameters"] == sum(one.numel() for one in theirs.parameters())
    before = len(there.requests)
    on.cache.materialise(on.store, receipt, tmp_path / "again")
    assert len(there.requests) == before


def test_a_referred_file_that_was_changed_on_the_node_is_found_and_fetched_anew(
    there: Hub, files: dict[str, bytes], tmp_path: Path
) -> None:
    on, receipt = referred(there, files, tmp_path)
    stored = (on.cache.materialise(on.store, receipt, tmp_path / "one") / "model.safetensors").resolve()
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    with pytest.raises(Corrupt):
        on.cache.materialise(on.store, receipt, tmp_path / "two")
    whole = on.cache.materialise(on.store, receipt, tmp_path / "three")
    assert (whole / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_referring_is_another_key_of_the_weights_and_the_same_of_the_tokenizer(
    there: Hub, files: dict[str, bytes]
) -> None:
    at = there.add(ID, files)
    copied = BaseConfig(model_name_or_path=ID, revision=at)
    assert stage.tokenizer_step(referring(at)).key == stage.tokenizer_step(copied).key
    assert stage.weights_step(referring(at)).key != stage.weights_step(copied).key


SPOILED = {
    "quantised already": {"config.json": b'{"quantization_config": {"quant_method": "gptq"}}'},
    "Python code": {"config.json": b'{"auto_map": {"AutoModel": "evil.Model"}}'},
    "no causal language model": {"config.json": b'{"model_type": "nonesuch"}'},
    "is missing": {"model.safetensors.index.json": b'{"weight_map": {"x": "model-9.safetensors"}}'},
}


@pytest.mark.parametrize("match", SPOILED)
def test_what_must_not_be_loaded_is_not_referred_to(
    there: Hub, files: dict[str, bytes], tmp_path: Path, match: str
) -> None:
    with pytest.raises(BadModel, match=match):
        referred(there, files | SPOILED[match], tmp_path)


def test_a_folder_of_this_machine_cannot_be_referred_to() -> None:
    with pytest.raises(ValidationError, match="every machine"):
        BaseConfig(model_name_or_path="/models/tiny", copy_weights=False)
