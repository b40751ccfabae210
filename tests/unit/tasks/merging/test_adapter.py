"""An adapter that is not merged: what lies where, what it is called, and that it is loaded on its base alone."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import mlflow
import pytest
import torch
from transformers import AutoTokenizer

from infra.errors import BadMerge
from infra.models.adapted import Base
from infra.models.load import load
from infra.storage.receipt import Receipt
from tasks.merging import worker
from tasks.merging.config import MergeConfig
from tests import jobs
from tests.unit.tasks.merging.conftest import QUANTIZATION, Bench

pytestmark = pytest.mark.heavy
CONFIG = MergeConfig(method="none")
IDS = torch.arange(9)[None]


def inputs(bench: Bench, method: str = "qlora") -> dict[str, Receipt]:
    adapter = jobs.keep(bench.on, "training", bench.adapter_folder(method))
    return {"weights": bench.weights, "tokenizer": bench.tokenizer, "adapter": adapter, "dataset": bench.dataset}


class Without(Mapping[str, Path]):
    """Inputs of which one must not be asked for."""

    def __init__(self, given: Mapping[str, Path], name: str) -> None:
        self._given, self._name = given, name

    def __getitem__(self, name: str) -> Path:
        assert name != self._name, f"{name} was fetched"
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)


def test_the_artifact_is_the_adapter_and_the_weights_of_its_base_are_not_even_fetched(bench: Bench) -> None:
    job = jobs.job(bench.on, "merging", CONFIG, inputs(bench))
    summary = worker.work(dataclasses.replace(job, inputs=Without(job.inputs, "weights")))
    files = {path.relative_to(job.out).as_posix() for path in job.out.rglob("*") if path.is_file()}
    assert {name for name in files if name.endswith(".safetensors")} == {"model/adapter_model.safetensors"}
    assert {"model/tokenizer.json", "model/chat_template.jinja", "model/generation_config.json", "MLmodel"} <= files
    assert json.loads((job.out / "parity.json").read_bytes()) == {"parity": "not merged"}
    assert summary["parity"] == "not merged"
    told = Base.model_validate_json((job.out / "base.json").read_bytes())
    assert told == Base(content_sha256=bench.weights.content_sha256, dtype="bfloat16", quantization=QUANTIZATION)


def test_the_same_adapter_gives_the_same_bytes(bench: Bench) -> None:
    given = inputs(bench)
    first, second = (jobs.made(bench.on, "merging", CONFIG, given, worker.work) for _ in range(2))
    assert first.content_sha256 == second.content_sha256


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_mlflow_loads_it_as_it_was_trained(bench: Bench, tmp_path: Path, method: str) -> None:
    given = inputs(bench, method)
    receipt = jobs.made(bench.on, "merging", CONFIG, given, worker.work)
    folder = bench.on.cache.materialise(bench.on.store, receipt, tmp_path / "version")
    adapter = bench.on.cache.materialise(bench.on.store, given["adapter"], tmp_path / "adapter")
    trained = load(bench.base, "bfloat16", QUANTIZATION if method == "qlora" else None, adapter)
    where = {"base_model_name_or_path": str(bench.base)}
    loaded = mlflow.pyfunc.load_model(str(folder), model_config=where).get_raw_model()
    with torch.inference_mode():
        assert torch.equal(loaded.model(IDS).logits, trained(IDS).logits)
    assert loaded.tokenizer.chat_template == AutoTokenizer.from_pretrained(folder / "model").chat_template


def test_a_base_that_came_from_no_hub_must_be_named_and_is_not_guessed(bench: Bench, tmp_path: Path) -> None:
    receipt = jobs.made(bench.on, "merging", CONFIG, inputs(bench), worker.work)
    folder = bench.on.cache.materialise(bench.on.store, receipt, tmp_path / "version")
    with pytest.raises(ValueError, match=bench.weights.content_sha256):
        mlflow.pyfunc.load_model(str(folder))


def test_a_base_from_a_hub_is_named_at_its_commit(bench: Bench) -> None:
    config = {"model_name_or_path": "makers/tiny", "revision": "a" * 40, "copy_weights": False}
    weights = jobs.keep(bench.on, "weights", bench.base, config=config)
    job = jobs.job(bench.on, "merging", CONFIG, inputs(bench) | {"weights": weights})
    worker.work(job)
    told = json.loads((job.out / "model" / "adapter_config.json").read_bytes())
    assert (told["base_model_name_or_path"], told["revision"]) == ("makers/tiny", "a" * 40)


def test_without_an_adapter_there_is_nothing_to_keep(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(json.dumps({"method": "full", "dtype": "float32", "quantization": None}))
    given = inputs(bench) | {"adapter": jobs.keep(bench.on, "training", tmp_path)}
    with pytest.raises(BadMerge, match="no adapter"):
        jobs.made(bench.on, "merging", CONFIG, given, worker.work)
