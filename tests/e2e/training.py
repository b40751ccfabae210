"""A store with tiny weights and prepared data in it, for running the real training stage in tests."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, load_file, save_file

from infra.launch.local import LocalLauncher
from infra.settings import Platform
from infra.storage.cache import Cache
from infra.storage.objects import LocalObjects
from infra.storage.receipt import Receipt
from infra.storage.store import Store
from tasks.training import stage
from tasks.training.config import TrainConfig
from tests import artifacts, tiny
from tests.unit.tasks.training.prepared import dataset, random_rows
from tests.unit.tasks.training.prepared import judged as prepare_judged


@dataclass(frozen=True)
class Bench:
    """Committed inputs, and a platform of their own."""

    platform: Platform
    weights: Receipt
    dataset: Receipt

    def train(self, **fields: Any) -> Receipt:
        config = {"tuning": {"method": "lora", "lora_r": 4}, "bf16": False, "num_processes": 1, "max_steps": 6}
        return stage.run(TrainConfig.model_validate(config | fields), self.weights, self.dataset, self.platform)


def bench(
    root: Path,
    poisoned: bool = False,
    judged: str = "",
    packed: int = 2,
    vocab: int = tiny.VOCAB,
    bad_row: int | None = None,
    store: Store | None = None,
) -> Bench:
    """A tiny Llama and 40 sequences of random rows, `packed` in each; poisoned: one of its weights is NaN; judged: pairs or
    labels; a bad row weighs infinitely much, of judged ones that text; store: another than a folder."""
    store = store or Store(LocalObjects(root / "store"))
    platform = Platform(
        store, LocalLauncher(), Cache(root / "cache", 10**9), root, f"sqlite:///{root}/mlflow.db", 300.0
    )
    if judged:
        prepared, shard = prepare_judged(root / "prepared", judged, 48, 7, bad_text=bad_row)
    else:
        rows = random_rows(120)
        if bad_row is not None:
            rows[bad_row] = (rows[bad_row][0], [np.inf] * len(rows[bad_row][1]))
        train = [[(packed * at + place) % 80 for place in range(packed)] for at in range(40)]
        prepared, shard = dataset(root / "prepared", rows, train, [[at] for at in range(80, 90)])
    shards = {"shard-00000": commit(store, "shard", shard)}
    model = tiny.model(root / "model", vocab)
    if poisoned:
        weights = load_file(model / "model.safetensors")
        weights["model.norm.weight"][0] = np.nan
        save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    data = commit(store, "data", prepared, shards)
    data = data.model_copy(update={"summary": {"judged": judged}}) if judged else data
    return Bench(platform, commit(store, "weights", model), data)


def commit(store: Store, name: str, folder: Path, parts: dict[str, Receipt] | None = None) -> Receipt:
    """Put a folder into a store as if a stage had made it."""
    return store.receipt(store.commit(artifacts.of_folder(store, folder, name, parts=parts)))


def losses(bench: Bench, receipt: Receipt) -> "np.ndarray[Any, Any]":
    """The loss of every step, from the artifact."""
    history = json.loads(bench.platform.store.read(receipt, "log_history.json"))
    return np.array([line["loss"] for line in history if "loss" in line])


def weights(bench: Bench, receipt: Receipt) -> "dict[str, np.ndarray[Any, Any]]":
    """Every tensor that a training saved."""
    store = bench.platform.store
    files = [file.path for file in store.manifest(receipt).files if file.path.endswith(".safetensors")]
    return {name: value for file in files for name, value in load(store.read(receipt, file)).items()}
