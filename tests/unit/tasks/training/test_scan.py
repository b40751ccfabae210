"""A successful run can still have saved rubbish; the scan names the tensor."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from infra.errors import BadTraining
from tasks.training.scan import scan

A, B = "base.layers.0.q_proj.lora_A.weight", "base.layers.0.q_proj.lora_B.weight"


def saved(folder: Path, **tensors: object) -> Path:
    whole = {A: np.ones((4, 8), np.float32), B: np.ones((8, 4), np.float32)} | tensors
    save_file(
        {name: np.asarray(tensor, np.float32) for name, tensor in whole.items()}, folder / "adapter_model.safetensors"
    )
    return folder


def test_a_trained_adapter_passes(tmp_path: Path) -> None:
    scan(saved(tmp_path))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (np.full((8, 4), np.nan), "not numbers"),
        (np.full((8, 4), np.inf), "not numbers"),
        (np.zeros((0, 4)), "empty tensor"),
        (np.zeros((8, 4)), "every lora_B is zero"),
    ],
)
def test_rubbish_is_refused(tmp_path: Path, tensor: object, message: str) -> None:
    with pytest.raises(BadTraining, match=message):
        scan(saved(tmp_path, **{B: tensor}))


def test_nothing_saved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTraining, match="no weights"):
        scan(tmp_path)
