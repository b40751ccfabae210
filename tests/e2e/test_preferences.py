"""Preference tuning for real: the split changes nothing, margins rise, and the base is asked once."""

import io
import itertools
import json
import math
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.errors import BadModel, BadTraining
from infra.launch.produce import produce
from infra.storage.receipt import Receipt
from tasks.training import batches, stage
from tasks.training.config import TrainConfig
from tests.e2e import recipes, runs
from tests.e2e.test_checkpoints import worker
from tests.e2e.test_run import finish, luthier, summary
from tests.e2e.training import Bench, bench, losses

pytestmark = pytest.mark.slow

KINDS = {"dpo": "pairs", "kto": "labels"}
WHOLE = {"train_batch_size": 4, "per_device_train_batch_size": 4, "deepspeed": "none"}
IN_PARTS = {"train_batch_size": 4, "per_device_train_batch_size": 1, "deepspeed": "zero2", "num_processes": 2}


def train(made: Bench, method: str, **fields: Any) -> Receipt:
    return made.train(**{"objective": {"method": method}, "learning_rate": 5e-3, "max_steps": 12} | fields)


def curve(made: Bench, receipt: Receipt) -> list[dict[str, float]]:
    found: list[dict[str, float]] = json.loads(made.platform.store.read(receipt, "log_history.json"))
    return [line for line in found if "loss" in line]


def references(root: Path) -> int:
    """How many workers were started for it."""
    return len(list((root / "store" / "jobs" / "reference").glob("*/*/spec.json")))


@pytest.mark.parametrize("method", list(KINDS))
def test_accumulation_and_ranks_change_nothing_and_margins_rise(tmp_path: Path, method: str) -> None:
    made = bench(tmp_path, judged=KINDS[method])
    whole = train(made, method, **WHOLE)
    series, one = losses(made, whole), curve(made, whole)
    shutil.rmtree(tmp_path / "store" / "stages" / "training")  # equal keys would find it
    parts = train(made, method, **IN_PARTS)
    other = curve(made, parts)
    assert references(tmp_path) == 1
    np.testing.assert_allclose(losses(made, parts), series, atol=2e-5)
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins", *(["kl"] if method == "kto" else [])):
        ours, theirs = ([at.get(name, math.nan) for at in line] for line in (other, one))  # a step may hold none
        np.testing.assert_allclose(ours, theirs, atol=1e-4, err_msg=name)
    assert one[0]["loss"] == pytest.approx(math.log(2) if method == "dpo" else 0.5, abs=1e-6), (
        "base and reference agree"
    )
    assert one[0]["rewards/chosen"] == pytest.approx(0, abs=1e-6)
    assert whole.summary["rewards/margins"] > 0.1  # type: ignore[operator]
    assert method == "dpo" or any(at["kl"] > 0 for at in one), "else the drift was never asked for"
    assert whole.summary["eval_rewards/margins"] == pytest.approx(parts.summary["eval_rewards/margins"], abs=1e-4)
    assert whole.summary["objective"] == method


@pytest.mark.proof  # the same of SFT is in test_training.py
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_killed_and_then_told_to_leave_it_ends_as_if_left_alone(tmp_path: Path, method: str) -> None:
    fields: dict[str, Any] = {"judged": KINDS[method], "objective": {"method": method}, "max_steps": 80}
    fields |= {"num_processes": 1, "deepspeed": "none"}
    alone = runs.ended(runs.started(tmp_path / "alone", **fields))
    root = tmp_path / "disturbed"
    run = runs.started(root, **fields)
    runs.wait_until(lambda: runs.commits(root), run)
    runs.kill(run)
    before = set(runs.commits(root))
    run = runs.started(root, **fields)
    runs.wait_until(lambda: set(runs.commits(root)) - before, run)
    worker(run).send_signal(signal.SIGTERM)
    disturbed = runs.ended(run)  # the stage itself launches it again
    assert alone.summary["resumed_from"] is None
    assert disturbed.summary["resumed_from"].startswith("checkpoint-")
    assert (disturbed.losses, disturbed.content) == (alone.losses, alone.content)
    assert references(root) == 1, "what was asked of the base is not asked again"


def test_full_tuning_begins_where_the_base_is(tmp_path: Path) -> None:
    made = bench(tmp_path, judged="pairs")
    receipt = train(made, "dpo", tuning={"method": "full"}, max_steps=3, deepspeed="zero2", num_processes=2)
    series = losses(made, receipt)
    assert series[0] == pytest.approx(math.log(2), abs=1e-6)
    assert series[2] < series[0]
    (kept,) = (tmp_path / "store" / "stages" / "reference").glob("*/MANIFEST.json")
    assert {file["path"] for file in json.loads(kept.read_bytes())["files"]} == {"train.npy", "validation.npy"}


@pytest.mark.parametrize(("method", "loss"), [("dpo", "0.693"), ("kto", "0.5")])
def test_a_loss_that_stays_too_high_names_judged_rows(tmp_path: Path, method: str, loss: str) -> None:
    made = bench(tmp_path, judged=KINDS[method])
    watch = {"loss_watchdog_threshold": 0.1, "loss_watchdog_patience": 1, "train_batch_size": 2}
    with pytest.raises(BadTraining, match="the loss was above") as caught:
        train(made, method, deepspeed="none", **watch)
    assert caught.value.place == "steps 1"
    told = caught.value.value.partition("its highest rows: ")[2].split(", ")
    first = list(itertools.islice(batches.stream(21, 42), 2))  # of 41 rows after the 7 that are held out
    assert sorted(told) == sorted(
        f"{KINDS[method]}.jsonl:{8 + 2 * at + more} ({loss})" for at in first for more in (0, 1)
    )


def test_a_judged_row_that_the_base_gives_no_probability_is_named(tmp_path: Path) -> None:
    made = bench(tmp_path, judged="pairs", bad_row=35)
    with pytest.raises(BadModel, match="no number") as caught:
        train(made, "dpo", deepspeed="none")
    assert caught.value.value == "1 of 96 texts of train: pairs.jsonl:18"


@pytest.mark.proof
def test_ranks_that_share_the_weights_find_the_same_reference(tmp_path: Path) -> None:
    told = {"tuning": {"method": "full"}, "objective": {"method": "kto"}, "bf16": False}
    found = []
    for name, engine, world in (("alone", "none", 1), ("shared", "zero3", 2)):
        made = bench(tmp_path / name, judged="labels")
        config = TrainConfig.model_validate(told | {"deepspeed": engine, "num_processes": world})
        receipt = produce(stage.reference_step(config, made.weights, made.dataset), made.platform)
        found.append(np.load(io.BytesIO(made.platform.store.read(receipt, "train.npy"))))
    alone, shared = found
    assert alone.shape == (48, 2)
    assert (alone[7:] < 0).all(), "every answer that is trained on has a probability, and so has its stranger"
    np.testing.assert_allclose(shared, alone, atol=1e-4)


@pytest.mark.proof
def test_pairs_go_from_rows_to_a_registered_version(tmp_path: Path) -> None:
    recipe = recipes.write(
        tmp_path / "project",
        data={"train_files": ["pairs.jsonl"], "format": "preference", "max_length": 128},
        train={"objective": {"method": "dpo"}, "learning_rate": 5.0e-3, "max_steps": 12, "save_steps": 6},
    )
    rows = [json.loads(line) for line in (recipe.parent / "rows.jsonl").read_text().splitlines()]
    wrong = {"role": "assistant", "content": "I do not know."}
    pairs = [{"chosen": row["messages"], "rejected": [*row["messages"][:-1], wrong]} for row in rows]
    (recipe.parent / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    home = tmp_path / "home"
    assert "tiny-tickets version 1" in finish(luthier(home, recipe), home)
    data, training, merging = (summary(home, stage) for stage in ("data", "training", "merging"))
    assert data["judged"] == "pairs"
    assert data["train_rows"] + data["validation_rows"] == len(rows)  # type: ignore[operator]
    assert training["rewards/margins"] > 1  # type: ignore[operator]
    assert training["eval_rewards/accuracies"] == 1
    assert merging["parity"] == "passed"
