"""A loss leads back to the row, its file and its line; a training that learns nothing ends, and says by which rows."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from infra.errors import BadTraining
from tasks.training.batches import MicroBatches, Split
from tasks.training.blame import Blame, RowLoss, worst
from tasks.training.judged_sequences import JudgedSequences, collate_judged
from tasks.training.judged_trainer import by_token
from tasks.training.places import Places
from tasks.training.sequences import Sequences, collate
from tasks.training.watchdog import Watchdog
from tests.unit.tasks.training.prepared import dataset, judged, random_rows

pytestmark = pytest.mark.heavy

ROWS = random_rows(24)
SHAPE = Split(micro=2, accumulation=2, world_size=1)
SEED = 3


def blamed(folder: Path, steps: int, loss_of: dict[int, float]) -> Blame:
    """What a rank remembers after some steps in which row n had the loss `loss_of[n]`, or 1."""
    bins = [[3 * at, 3 * at + 1, 3 * at + 2] for at in range(8)]
    index, shard = dataset(folder, ROWS, bins, [[0]])
    sequences = Sequences(index / "train", [shard], 0.1)
    blame = Blame(sequences, Places(index, [shard]), SEED, SHAPE, rank=0)
    for number, chosen in enumerate(MicroBatches(len(sequences), SEED, steps, SHAPE, rank=0)):
        if number % SHAPE.accumulation == 0:
            blame.begin(number // SHAPE.accumulation + 1)
        batch = collate([sequences[at] for at in chosen])
        weights = batch["loss_weights"][:, 1:]
        learned = weights > 0
        row_of = torch.full_like(batch["input_ids"], -1)
        for line, at in enumerate(chosen):
            ids = [row for row in bins[at] for _ in ROWS[row][0]]
            row_of[line, : len(ids)] = torch.tensor(ids)
        losses = torch.tensor([loss_of.get(int(row), 1.0) for row in row_of[:, 1:][learned]])
        blame.note(losses, weights[learned], learned, batch["position_ids"])
    return blame


def test_every_row_of_a_step_has_its_own_loss(tmp_path: Path) -> None:
    rows = blamed(tmp_path, 2, {row: float(row) for row in range(24)}).rows(since=0)
    assert {row.step for row in rows} == {1, 2}
    assert sorted(row.place for row in rows) == sorted(f"rows.jsonl:{row + 1}" for row in range(24))
    for row in rows:
        assert row.loss == pytest.approx(int(row.place.split(":")[1]) - 1)


@pytest.mark.parametrize("kind", ["pairs", "labels"])
def test_judged_rows_are_named_by_either_of_their_texts_and_once(tmp_path: Path, kind: str) -> None:
    index, shard = judged(tmp_path, kind, 12, 0, per_bin=3)
    sequences = JudgedSequences(index / "train", [shard], None)
    blame, each = Blame(sequences, Places(index, [shard]), SEED, SHAPE, rank=0), 2 if kind == "pairs" else 1
    blame.begin(1)
    for chosen in MicroBatches(len(sequences), SEED, 1, SHAPE, rank=0):
        batch = collate_judged([sequences[at] for at in chosen])
        numbers = [row // each for at in chosen for row in sequences.rows(at).tolist()][::each]
        learned, spread = by_token(torch.tensor([float(number) for number in numbers]), batch)
        blame.note(spread, torch.ones_like(spread), learned, batch["position_ids"], each)
    told = [(row.place, row.loss) for row in blame.rows(0)]
    assert sorted(told) == sorted((f"{kind}.jsonl:{number + 1}", float(number)) for number in range(12))
    for text, (_, begin, _) in enumerate(np.load(index / "train" / "pieces.npy").tolist()):
        assert Places(index, [shard]).of(0, begin) == f"{kind}.jsonl:{text // each + 1}"


def test_only_steps_after_the_last_good_one_count(tmp_path: Path) -> None:
    assert {row.step for row in blamed(tmp_path, 4, {}).rows(since=2)} == {3, 4}


def test_the_worst_come_first_and_numbers_last() -> None:
    rows = [RowLoss(1, f"r:{number}", loss) for number, loss in enumerate([2.0, 9.5, math.nan, 1.0])]
    assert worst(rows) == "r:2 (nan), r:1 (9.5), r:0 (2), r:3 (1)"
    assert worst([RowLoss(1, "r", 1.0)] * 9).endswith(" and 3 more")


def state(losses: list[float], every: int = 1) -> Any:
    history = [{"step": every * at, "loss": loss, "grad_norm": 1.0} for at, loss in enumerate(losses, 1)]
    return SimpleNamespace(log_history=history, global_step=every * len(losses))


def ended(watchdog: Watchdog, losses: list[float], every: int = 1, **logs: float) -> BadTraining:
    with pytest.raises(BadTraining) as caught:
        watchdog.on_log(None, state(losses, every), None, {"loss": losses[-1]} | logs)
    return caught.value


def test_a_loss_that_is_no_number_names_the_first_step_and_its_rows(tmp_path: Path) -> None:
    blame = blamed(tmp_path, 2, {7: math.nan})
    step = next(row.step for row in blame.rows(0) if row.place == "rows.jsonl:8")
    error = ended(Watchdog(blame, None, 3), [math.nan], every=2)
    assert (error.place, error.value) == (f"step {step}", "nan; rows that give none: rows.jsonl:8 (nan)")


def test_weights_that_are_no_numbers_are_told_from_rows(tmp_path: Path) -> None:
    blame = blamed(tmp_path, 1, dict.fromkeys(range(24), math.nan))
    assert "any of the 12 rows of the step: the weights are none" in ended(Watchdog(blame, None, 3), [math.nan]).value


def test_a_gradient_that_is_no_number_names_the_highest_rows(tmp_path: Path) -> None:
    blame = blamed(tmp_path, 1, {row: float(row) for row in range(24)})
    error = ended(Watchdog(blame, None, 3), [1.0], grad_norm=math.inf)
    assert error.what == "grad_norm is not a number"
    assert "the highest: rows.jsonl:" in error.value


def test_a_loss_that_stays_too_high_ends_training_with_its_highest_rows(tmp_path: Path) -> None:
    blame = blamed(tmp_path, 4, {20: 50.0})
    error = ended(Watchdog(blame, 4.0, 2), [1.0, 2.0, 5.0, 6.0])
    assert error.what == "the loss was above 4 2 times in a row"
    assert error.place == "steps 3, 4"
    assert error.value.startswith("5, 6; its highest rows: rows.jsonl:21 (50), ")


@pytest.mark.parametrize("losses", [[9.0], [9.0, 3.0, 9.0], [9.0, 9.0, 4.0], [1.0, 9.0]])
def test_a_spike_that_passes_ends_nothing(tmp_path: Path, losses: list[float]) -> None:
    Watchdog(blamed(tmp_path, 1, {}), 4.0, 2).on_log(None, state(losses), None, {"loss": losses[-1]})


@pytest.mark.parametrize(("threshold", "kept"), [(None, set()), (4.0, {4})])
def test_steps_that_are_logged_as_good_are_forgotten(tmp_path: Path, threshold: float | None, kept: set[int]) -> None:
    blame = blamed(tmp_path, 4, {})
    Watchdog(blame, threshold, 2).on_log(None, state([1.0, 1.0, 1.0, 1.0]), None, {"loss": 1.0})
    assert {row.step for row in blame.rows(0)} == kept


def test_a_dataset_that_does_not_note_its_sources_names_shard_and_token(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"prompt_loss_weight": 0.1}')
    assert Places(tmp_path, []).of(2, 70) == "shard 2, token 70"
