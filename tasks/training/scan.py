"""A last look at what training made: a "successful" run can still have saved NaN, nothing, or an untouched adapter."""

from pathlib import Path

import numpy as np
from safetensors import safe_open

from infra.errors import BadTraining


def scan(folder: Path) -> None:
    """Raise BadTraining naming the tensor if any is NaN, infinite or empty, or if every lora_B is still zero."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BadTraining("training saved no weights", place=str(folder.name))
    untouched: list[bool] = []
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                tensor = tensors.get_tensor(name).float().numpy()
                _check(name, tensor)
                if "lora_B" in name:
                    untouched.append(not tensor.any())
    if untouched and all(untouched):
        raise BadTraining(
            "the adapter was never changed: every lora_B is zero",
            remedy="check train.learning_rate and that some tokens are supervised",
        )


def _check(name: str, tensor: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> None:
    if tensor.size == 0:
        raise BadTraining("training saved an empty tensor", place=name, remedy="a sharded weight was not gathered")
    if not np.isfinite(tensor).all():
        raise BadTraining("training saved weights that are not numbers", place=name, remedy="lower train.learning_rate")
