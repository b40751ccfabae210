"""A model too large to have twice, in small: its weights stay on the hub, and what is registered is the adapter."""

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from huggingface_hub import constants
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from infra.models import nf4
from infra.settings import Platform
from infra.storage.receipt import Receipt
from pipelines import cli
from tasks.base import hub as base_hub
from tasks.base import stage as base
from tasks.base import worker as base_worker
from tasks.base.config import BaseConfig
from tasks.merging import worker as merging
from tasks.merging.config import MergeConfig
from tasks.registry import worker as registry
from tasks.registry.config import RegisterConfig
from tasks.training import stage as training
from tasks.training.config import TrainConfig
from tests import jobs, tiny
from tests.e2e import recipes
from tests.e2e.commands import BIN, run
from tests.hub import Hub, hub
from tests.registered import keep
from tests.unit.tasks.training import prepared

pytestmark = [pytest.mark.slow, pytest.mark.heavy]
ID = "makers/tiny"
IDS = torch.arange(9)[None]
SECTIONS: dict[str, dict[str, Any]] = {
    "base": {"model_name_or_path": ID, "copy_weights": False},
    "train": {"num_processes": 1, "deepspeed": "none", "learning_rate": 5.0e-3},
    "merge": {"method": "none"},
    "evaluate": {"load_in_4bit": True},
}
TRAIN = TrainConfig.model_validate(
    {
        **SECTIONS["train"],
        "tuning": {"method": "qlora", "lora_r": 4},
        "bf16": False,
        "max_steps": 3,
        "train_batch_size": 4,
    }
)


@dataclass
class Made:
    """A registered adapter, on the platform that has it."""

    on: Platform
    server: Hub
    commit: str
    dataset: Receipt
    adapter: Receipt
    model: Receipt

    def luthier(self, *command: str) -> None:
        """The command, in this process."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LUTHIER_HOME", str(self.on.home))
            patch.setenv("OMP_NUM_THREADS", "1")
            patch.setattr(sys, "argv", ["luthier", *command])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        assert not ended.value.code


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, str, Path]]:
    """A hub with a tiny model, its commit, and a home whose cache of hubs this process uses too."""
    room = Path(tmp_path_factory.mktemp("adapter"))
    folder = tiny.model(tiny.tokenizer(room / "base"))
    with hub() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        patch.setenv("HF_HOME", str(room / "home" / "hf"))
        patch.setattr(constants, "HF_HUB_CACHE", str(room / "home" / "hf" / "hub"))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_OFFLINE", True)  # what a library looks for by itself must be there already
        base_hub.commit.cache_clear()
        yield server, server.add(ID, {file.name: file.read_bytes() for file in folder.iterdir()}), room


@pytest.fixture(scope="module")
def made(there: tuple[Hub, str, Path]) -> Made:
    """A run without data and evaluations; training in processes of its own, the other stages in this one."""
    server, commit, room = there
    on = jobs.platform(room / "home")
    config = BaseConfig(**SECTIONS["base"], dtype="float32")
    tokenizer, weights = (
        jobs.made(on, step.stage, step.config, {}, base_worker.work)
        for step in (base.tokenizer_step(config), base.weights_step(config))
    )
    folder, shard = prepared.dataset(
        room / "prepared", prepared.random_rows(50), [[at] for at in range(40)], [[at] for at in range(40, 50)]
    )
    dataset = jobs.keep(on, "data", folder, parts={"shard-00000": jobs.keep(on, "shard", shard)})
    adapter = training.run(TRAIN, weights, dataset, on)
    inputs = {"weights": weights, "tokenizer": tokenizer, "adapter": adapter, "dataset": dataset}
    model = jobs.made(on, "merging", MergeConfig(method="none"), inputs, merging.work)
    _register(on, room, {"model": model, "adapter": adapter, "dataset": dataset})
    return Made(on, server, commit, dataset, adapter, model)


def _register(on: Platform, room: Path, inputs: dict[str, Receipt]) -> None:
    files = room / "files"
    files.mkdir()
    verdict = {"promote": True, "failed": []}
    scores = {"scores": {"echo": {"exact_match": 0.5}}}
    judged = {
        "verdict": keep(on, files, "gate", {"verdict.json": json.dumps(verdict)}, verdict),
        "baseline": keep(on, files, "evaluation", {"results.json": "{}"}, scores),
        "scores": keep(on, files, "evaluation", {"results.json": "{ }"}, scores),
    }
    job = jobs.job(on, "registry", RegisterConfig(name="tiny-tickets"), inputs | judged)
    jobs.keep(on, "registry", job.out, registry.work(job), inputs | judged, key=job.spec.key)


def stored(home: Path) -> set[str]:
    """The names of all files of weights in a store."""
    return {path.name for path in (home / "store").rglob("*.safetensors")}


@dataclass
class Said:
    """Logits of the base, of base and adapter, and of both as training computed them, by transformers and peft alone."""

    plain: torch.Tensor
    adapted: torch.Tensor
    as_trained: torch.Tensor


def said(made: Made, folder: Path) -> Said:
    adapter = made.on.cache.materialise(made.on.store, made.adapter, folder)
    facts = json.loads((adapter / "training.json").read_bytes())

    def base() -> Any:
        held = BitsAndBytesConfig(**facts["quantization"])
        return AutoModelForCausalLM.from_pretrained(
            ID, revision=made.commit, dtype=facts["dtype"], quantization_config=held, device_map="cpu"
        ).eval()

    with torch.inference_mode():
        return Said(
            plain=base()(IDS).logits,
            adapted=PeftModel.from_pretrained(base(), adapter).eval()(IDS).logits,
            as_trained=nf4.as_loaded(PeftModel.from_pretrained(base(), adapter).eval())(IDS).logits,
        )


def test_the_store_holds_no_weights_of_the_base_and_the_version_is_the_adapter(made: Made) -> None:
    assert stored(made.on.home) == {"adapter_model.safetensors"}
    config = json.loads(made.on.store.read(made.model, "model/adapter_config.json"))
    assert (config["base_model_name_or_path"], config["revision"]) == (ID, made.commit)
    assert json.loads(made.on.store.read(made.model, "parity.json")) == {"parity": "not merged"}


@pytest.mark.proof
def test_base_and_adapter_answer_and_differ(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.luthier("try", "tiny-tickets", "my red printer", "--json", "--max-new-tokens", "8")
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert answer["base"]["tokens"] == 8
    assert answer["base"]["text"] != answer["tuned"]["text"]


def test_the_cards_snippet_and_mlflow_load_what_was_trained(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.luthier("pull", "tiny-tickets", str(tmp_path / "out"))
    wanted = said(made, tmp_path / "adapter")
    assert (wanted.plain - wanted.adapted).abs().max() > 0.01
    (snippet,) = re.findall(
        r"^```python\n(.*?)^```", (tmp_path / "out" / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    monkeypatch.chdir(tmp_path / "out")
    found: dict[str, Any] = {}
    exec(snippet, found)
    assert torch.equal(found["model"].eval()(IDS).logits, wanted.adapted)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.on.tracking_uri)
    served = mlflow.pyfunc.load_model("models:/tiny-tickets@candidate")
    assert torch.equal(served.get_raw_model().model(IDS).logits, wanted.as_trained)
    short, long = (served.predict(["Ticket 1: my"], params={"max_new_tokens": count}) for count in (1, 9))
    assert len(short[0]) < len(long[0])


@pytest.mark.proof
def test_an_adapter_is_pushed_with_a_card_that_names_its_base(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    made.luthier("push", "tiny-tickets/1", "acme/kept")
    files = made.server.repos["acme/kept"].files
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "README.md"} <= set(files)
    assert "model.safetensors" not in files
    assert f'from_pretrained("{ID}", revision="{made.commit}"' in files["README.md"].decode()


@pytest.mark.proof
def test_a_copied_base_gives_an_adapter_of_the_same_tensors(made: Made) -> None:
    step = base.weights_step(BaseConfig(model_name_or_path=ID, dtype="float32"))
    copied = jobs.made(made.on, "weights", step.config, {}, base_worker.work)
    adapter = training.run(TRAIN, copied, made.dataset, made.on)
    ours, theirs = (made.on.store.read(one, "adapter_model.safetensors") for one in (made.adapter, adapter))
    assert ours == theirs


@pytest.mark.proof
def test_a_whole_run_asks_base_and_adapter_alike(there: tuple[Hub, str, Path], tmp_path: Path) -> None:
    server = there[0]
    recipe = recipes.write(tmp_path / "project", **SECTIONS)
    environment = {**os.environ, **server.environment, "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
    output = run(
        [str(BIN / "luthier"), "run", str(recipe)], {**environment, "LUTHIER_HOME": str(tmp_path / "home")}, 400
    )
    assert "tiny-tickets version 1" in output
    assert stored(tmp_path / "home") == {"adapter_model.safetensors"}
    specs = [path.read_text() for path in (tmp_path / "home" / "store" / "stages" / "evaluation").rglob("spec.json")]
    assert len(specs) == 2
    assert len(set(specs)) == 1, "base and tuned model are asked the same, and held alike"
