"""The real stage, worker, torchrun, DeepSpeed and ranks, on a tiny model: the split changes nothing, a kill costs little."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from infra.errors import BadTraining
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
    with pytest.raises(BadTraining, match="not a number"):
        here.train(deepspeed="none")
    assert not here.platform.store.objects.list("stages/training/")


RUN = """
import sys
from pathlib import Path
from tests.e2e.training import bench, losses
made = bench(Path(sys.argv[1]))
receipt = made.train(max_steps=160, save_steps=5, deepspeed="zero2", num_processes=2, train_batch_size=4)
print(receipt.content_sha256, receipt.summary["resumed_from"], losses(made, receipt).tolist())
"""


def launched(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(root)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


def test_kill_nine_of_the_flow_in_training_leaves_no_orphan_and_the_rerun_is_exact(tmp_path: Path) -> None:
    undisturbed, _ = launched(tmp_path / "a").communicate(timeout=300)
    victim = launched(tmp_path / "b")
    commits = tmp_path / "b" / "store" / "stages" / "training"
    wait_until(lambda: any(commits.rglob("COMMIT.json")), 200)
    below = psutil.Process(victim.pid).children(recursive=True)
    assert len(below) >= 4  # worker, torchrun, two ranks
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate(timeout=10)
    _, alive = psutil.wait_procs(below, timeout=40)
    assert alive == []
    resumed, _ = launched(tmp_path / "b").communicate(timeout=300)
    hash_a, from_a, series_a = undisturbed.split(maxsplit=2)
    hash_b, from_b, series_b = resumed.split(maxsplit=2)
    assert from_a == "None"
    assert from_b.startswith("checkpoint-")
    assert series_a == series_b
    assert hash_a == hash_b


def wait_until(condition: object, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
