"""Real model, real rows: every method trains alike under ZeRO-2 and ZeRO-3.

    python -m tests.benchmarks.zero ROWS.jsonl [STEPS]

ROWS.jsonl has `question` and `answer` (GSM8K's form); the first 1,000 are used. Everything is fp32, on two ranks. Prints
the losses of every run, then one JSON line a method: the largest difference between the two engines at any step.
"""

import json
import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np

from infra import settings
from infra.launch.local import LocalLauncher
from infra.settings import Platform
from infra.storage.cache import Cache
from infra.storage.objects import LocalObjects
from infra.storage.receipt import Receipt
from infra.storage.store import Store
from pipelines import recipe as recipes
from tasks.base import stage as base
from tasks.data import stage as data
from tasks.data.config import DataConfig
from tasks.training import stage as training
from tasks.training.config import TrainConfig
from tests.benchmarks.figures import figure

METHODS = ("full", "lora", "qlora")
ENGINES = ("zero2", "zero3")


def main(rows: Path, steps: int) -> None:
    """Train every combination and compare."""
    with tempfile.TemporaryDirectory(prefix="luthier-zero-") as root:
        platform = _platform(Path(root))
        weights, dataset = _inputs(rows, Path(root), platform)
        for method in METHODS:
            losses = {engine: _train(method, engine, steps, weights, dataset, platform) for engine in ENGINES}
            for engine, series in losses.items():
                print(f"{method:5} {engine}:", " ".join(f"{loss:.4f}" for loss in series), flush=True)  # noqa: T201
            apart = float(np.abs(losses["zero2"] - losses["zero3"]).max())
            fall = float(losses["zero2"][:3].mean() - losses["zero2"][-3:].mean())
            figure(f"zero_agreement.{method}", apart, target=1e-3, better="lower", unit="loss", n=steps)
            figure(f"zero_fall.{method}", fall, target=0.0, better="higher", unit="loss", n=steps)


def _platform(root: Path) -> Platform:
    store = Store(LocalObjects(root / "store"))
    return Platform(
        store,
        LocalLauncher(),
        Cache(root / "cache", 2**35),
        root,
        f"sqlite:///{root}/mlflow.db",
        settings.load().silence_s,
    )


def _inputs(rows: Path, root: Path, platform: Platform) -> tuple[Receipt, Receipt]:
    quickstart = recipes.load("quickstart").base
    chats = root / "rows.jsonl"
    with rows.open() as given, chats.open("w") as out:
        for row in map(json.loads, islice(given, 1000)):
            turns = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
            out.write(json.dumps({"messages": turns}) + "\n")
    tokenizer = base.tokenizer(quickstart, platform)
    config = DataConfig.model_validate({"train_files": [str(chats)], "max_length": 512, "validation_split": 0.01})
    return base.weights(quickstart, platform), data.run(config, tokenizer, platform)


def _train(
    method: str, engine: str, steps: int, weights: Receipt, dataset: Receipt, platform: Platform
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    config = {"tuning": {"method": method}, "deepspeed": engine, "bf16": False, "max_steps": steps, "save_steps": 1000}
    shared = {"num_processes": 2, "train_batch_size": 2, "eval_steps": None, "warmup_steps": 3}
    adapter = training.run(TrainConfig.model_validate(config | shared), weights, dataset, platform)
    history = json.loads(platform.store.read(adapter, "log_history.json"))
    return np.array([line["loss"] for line in history if "loss" in line])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20)
