"""A registered version of a tiny model with everything it came from, made without training: seconds, and no torch."""

import json
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from infra.models import adapted
from infra.models.adapted import Base
from infra.settings import Platform
from infra.storage.receipt import Receipt
from infra.tracking import flavor
from tasks.registry import worker
from tasks.registry.config import RegisterConfig
from tests import jobs, tiny

NAME = "tiny-tickets"
TRAINED_TEMPLATE = tiny.TEMPLATE + "{# the data's, not the base's #}"
ADAPTER = {"base_model_name_or_path": "sha256:" + "b" * 64, "peft_type": "LORA", "revision": None}
PARITY = {
    "base": "dequantized",
    "dtype": "float32",
    "kl": 1e-4,
    "top1": 1.0,
    "greedy_match": 1.0,
    "parity": "passed",
}
HELD: dict[str, Any] = {"dtype": "float32", "quantization": {"load_in_4bit": True}}
NOT_MERGED = {"base": "none", "rank": 4, "parity": "not merged"}


@dataclass
class Registered:
    """The platform below `home`, and receipts by role; `register()` makes the next version of them."""

    on: Platform
    room: Path
    inputs: dict[str, Receipt]

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.on.tracking_uri)

    def register(self, promote: bool = True, name: str = NAME) -> Receipt:
        """Register what the inputs are now, as the stage's worker does."""
        verdict = {
            "promote": promote,
            "outcome": "promote" if promote else "hold",
            "failed": [] if promote else ["echo exact_match: 0, asked ≥ 1"],
        }
        files = {"verdict.json": json.dumps(verdict), "verdict.md": "# Promote\n" if promote else "# Hold\n"}
        self.inputs["verdict"] = keep(self.on, self.room, "gate", files, verdict)
        config = RegisterConfig(name=name)
        key = f"{len(list(self.on.home.rglob('MANIFEST.json'))):064x}"
        job = jobs.job(self.on, "registry", config, self.inputs, key)
        summary = worker.work(job)
        return jobs.keep(self.on, "registry", job.out, summary, self.inputs, config.model_dump(mode="json"), key)


def keep(on: Platform, room: Path, stage: str, files: dict[str, str], summary: Any, **more: Any) -> Receipt:
    """Commit files with these texts as a stage's artifact."""
    folder = room / f"{stage}-{len(list(room.iterdir()))}"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return jobs.keep(on, stage, folder, summary, **more)


def make(
    home: Path,
    base: str = "/models/tiny-base",
    revision: str | None = None,
    method: str = "qlora",
    merged: bool = True,
) -> Registered:
    """Base, tokenizer, data, adapter, merged model (or the adapter as it is) and scores; nothing is registered yet.
    Merged weights differ."""
    on, room = jobs.platform(home), home.parent / f"{home.name}-made"
    room.mkdir(parents=True)
    home.mkdir(exist_ok=True)
    (home / "mlflow.db").write_bytes(_empty_database())
    tokenizer = jobs.keep(on, "tokenizer", tiny.tokenizer(room / "tokenizer"), {"eos": tiny.END})
    told = {"license": "apache-2.0", "architecture": "LlamaForCausalLM", "parameters": 99, "dtype": "float32"}
    weights = jobs.keep(
        on, "weights", _model(room / "weights"), told, config={"model_name_or_path": base, "revision": revision}
    )
    rows = {"rows": 8, "train_rows": 6, "validation_rows": 2, "dropped": 0}
    dataset = keep(on, room, "data", {"report.json": "{}"}, rows, inputs={"tokenizer": tokenizer})
    adapter = _adapter(on, room, method, {"weights": weights, "dataset": dataset})
    made_of = {"weights": weights, "tokenizer": tokenizer, "adapter": adapter, "dataset": dataset}
    if merged:
        model = jobs.keep(on, "merging", _merged(room / "merged"), PARITY, made_of)
    else:
        record = Base(
            model=base if revision else "", revision=revision or "", **HELD, content_sha256=weights.content_sha256
        )
        model = jobs.keep(on, "merging", _kept(room / "merged", record), {**HELD, **NOT_MERGED}, made_of)
    scores = [
        keep(on, room, "evaluation", {"results.json": str(value)}, {"scores": {"echo": {"exact_match": value}}})
        for value in (0.0, 0.75)
    ]
    inputs = {"model": model, "adapter": adapter, "dataset": dataset, "baseline": scores[0], "scores": scores[1]}
    return Registered(on, room, inputs)


@cache
def _empty_database() -> bytes:
    """An MLflow database with its tables; making them takes seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        MlflowClient(f"sqlite:///{path}").search_experiments()
        with closing(sqlite3.connect(path)) as database:
            database.execute("pragma wal_checkpoint(truncate)")
        return path.read_bytes()


def _merged(folder: Path) -> Path:
    tiny.tokenizer(_model(folder / "model", seed=1))
    tiny.tokenizer(folder / "components" / "tokenizer")
    for place in (folder / "model", folder / "components" / "tokenizer"):
        (place / "chat_template.jinja").write_text(TRAINED_TEMPLATE, encoding="utf-8")
    flavor.write(folder, "0" * 64)
    return folder


def _kept(folder: Path, base: Base) -> Path:
    tiny.tokenizer(folder / "model")
    (folder / "model" / "chat_template.jinja").write_text(TRAINED_TEMPLATE, encoding="utf-8")
    (folder / "model" / "adapter_config.json").write_text(json.dumps(ADAPTER))
    (folder / "model" / "adapter_model.safetensors").write_text("adapter")
    (folder / adapted.NAME).write_text(base.model_dump_json())
    flavor.write_adapter(folder, "0" * 64)
    return folder


def _model(folder: Path, seed: int = 0) -> Path:
    tiny.model(folder, seed=seed)
    ends = {"eos_token_id": tiny.SPECIAL.index(tiny.END), "pad_token_id": tiny.SPECIAL.index(tiny.PAD)}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    return folder


def _adapter(on: Platform, room: Path, method: str, inputs: dict[str, Receipt]) -> Receipt:
    training = {"method": method, "dtype": "float32", "quantization": {"load_in_4bit": True}}
    files = {"training.json": json.dumps(training), "log_history.json": "[]"}
    if method == "full":
        files["model.safetensors"] = "weights"
    else:
        files |= {"adapter_config.json": json.dumps(ADAPTER), "adapter_model.safetensors": "adapter"}
    summary = {"method": method, "steps": 6, "loss": 0.5, "eval_loss": None, "mlflow_run_id": None}
    return keep(on, room, "training", files, summary, inputs=inputs, config={"max_steps": 6, "seed": 42})


def again(made: Registered) -> Receipt:
    """Another merged model of the same adapter."""
    older = made.on.store.manifest(made.inputs["model"])
    merged = made.room / "merged"
    (merged / "parity.json").write_text(str(len(list(made.on.home.rglob("MANIFEST.json")))))
    return jobs.keep(made.on, "merging", merged, older.summary, older.inputs)


def held_and_promoted(root: Path) -> Registered:
    """Version 1 held, version 2 promoted to candidate."""
    made = make(root / "home")
    made.register(promote=False)
    made.inputs["model"] = again(made)
    made.register()
    return made
