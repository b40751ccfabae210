"""The real stage, worker, torchrun, DeepSpeed and ranks, on a tiny model: the split changes nothing."""

from pathlib import Path

import numpy as np
import pytest

from infra.errors import BadTraining
from tasks.training.batches import stream
from tests.e2e.training import Bench, bench, losses, weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def reference(made: Bench) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return losses(made, made.train(train_batch_size=8, per_device_train_batch_size=8, deepspeed="none"))


ALONE = {"per_device_train_batch_size": 2}
TOGETHER = ALONE | {"num_processes": 2}


@pytest.mark.parametrize(
    ("engine", "split"),
    [
        ("none", ALONE),
        *[(engine, TOGETHER) for engine in ("none", "zero1", "zero2", "zero2_offload", "zero3_offload")],
    ],
)
def test_accumulation_and_ranks_change_nothing(
    tmp_path: Path, reference: "np.ndarray[tuple[int], np.dtype[np.float64]]", engine: str, split: dict[str, int]
) -> None:
    here = bench(tmp_path)  # a store of its own: equal keys would find the other split's result
    series = losses(here, here.train(train_batch_size=8, deepspeed=engine, **split))
    np.testing.assert_allclose(series, reference, atol=2e-5)


@pytest.mark.parametrize("method", ["full", "qlora"])  # LoRA is held to the reference above, with offload
def test_zero3_trains_and_saves_what_zero2_does(tmp_path: Path, method: str) -> None:
    made = {engine: bench(tmp_path / engine) for engine in ("zero2", "zero3")}
    receipts = {
        engine: here.train(tuning={"method": method}, deepspeed=engine, num_processes=2, train_batch_size=4)
        for engine, here in made.items()
    }
    of_zero2, of_zero3 = (losses(made[engine], receipt) for engine, receipt in receipts.items())
    np.testing.assert_allclose(of_zero3, of_zero2, atol=2e-5)
    saved = [weights(made[engine], receipt) for engine, receipt in receipts.items()]
    assert saved[0].keys() == saved[1].keys()
    for name, tensor in saved[0].items():
        np.testing.assert_allclose(saved[1][name], tensor, atol=2e-5, err_msg=name)


def test_checkpointing_of_activations_changes_nothing(
    tmp_path: Path, reference: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> None:
    here = bench(tmp_path)
    receipt = here.train(
        train_batch_size=8, per_device_train_batch_size=8, deepspeed="none", gradient_checkpointing=True
    )
    np.testing.assert_allclose(losses(here, receipt), reference, atol=2e-5)


def test_weights_that_give_no_loss_are_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    here = bench(tmp_path, poisoned=True)
    with pytest.raises(BadTraining, match="not a number") as caught:
        here.train(deepspeed="none")
    assert caught.value.place == "step 1"
    assert "of any of the 32 rows of the step: the weights are none" in caught.value.value
    assert not here.platform.store.objects.list("stages/training/")


def test_the_row_whose_loss_is_no_number_is_named_whichever_rank_has_it(tmp_path: Path) -> None:
    here = bench(tmp_path, bad_row=17)  # packed with row 16 into sequence 8
    step = next(at for at, sequence in enumerate(stream(40, 42)) if sequence == 8) // 8 + 1
    with pytest.raises(BadTraining, match="loss is not a number") as caught:
        here.train(
            train_batch_size=8, per_device_train_batch_size=2, num_processes=2, logging_steps=5, deepspeed="zero2"
        )
    assert caught.value.place == f"step {step}"
    assert caught.value.value == "nan; rows that give none: rows.jsonl:18 (nan)"
