import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from infra.errors import BadModel
from infra.models import tensors
from infra.models.tensors import Shape

pytestmark = pytest.mark.heavy

MIXED = {
    "a": torch.arange(3, dtype=torch.int8),
    "b": torch.randn(2, 5, dtype=torch.bfloat16, generator=torch.Generator().manual_seed(1)),
    "c": torch.tensor(2.5, dtype=torch.float64),
    "d": torch.empty(0, 4),
    "e": torch.randn(7, generator=torch.Generator().manual_seed(2)),
    "f": torch.tensor([True, False, True]),
}


def test_reads_what_the_reference_wrote(tmp_path: Path) -> None:
    save_file(MIXED, tmp_path / "model.safetensors")
    found = tensors.open_folder(tmp_path)
    assert found.keys() == MIXED.keys()
    for name, tensor in found.items():
        assert tensor.read().dtype == MIXED[name].dtype
        assert torch.equal(tensor.read(), MIXED[name])


def test_the_reference_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    shapes = [Shape(name, value.dtype, tuple(value.shape)) for name, value in MIXED.items()]
    size = tensors.write(path, shapes, lambda shape: MIXED[shape.name])
    found = load_file(path)
    assert found.keys() == MIXED.keys()
    assert all(torch.equal(found[name], value) for name, value in MIXED.items())
    assert size == sum(value.nbytes for value in MIXED.values())
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_every_tensor_starts_at_a_multiple_of_its_item_size(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors.write(
        path,
        [Shape(name, value.dtype, tuple(value.shape)) for name, value in MIXED.items()],
        lambda shape: MIXED[shape.name],
    )
    (header,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert header % 8 == 0
    assert all(tensor.at % tensor.dtype.itemsize == 0 for tensor in tensors.open_file(path))


def test_a_tensor_that_is_not_as_promised_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="promised"):
        tensors.write(tmp_path / "x", [Shape("a", torch.float32, (2,))], lambda _: torch.zeros(3))


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-1], lambda b: b[:6], lambda b: b"\xff" * 8 + b[8:], lambda b: b[:8] + b"x" + b[9:]]
)
def test_a_damaged_file_is_refused(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "x.safetensors"
    save_file(MIXED, path)
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(BadModel, match="no safetensors file"):
        tensors.open_file(path)


def test_shards_and_index_are_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    target.mkdir()
    save_file({"x": torch.ones(4)}, source / "model-00001-of-00002.safetensors")
    save_file({"y": torch.ones(2)}, source / "model-00002-of-00002.safetensors")
    places = {"x": "model-00001-of-00002.safetensors", "y": "model-00002-of-00002.safetensors"}
    (source / tensors.INDEX).write_text(json.dumps({"metadata": {"total_size": 24}, "weight_map": places}))
    size = tensors.rewrite(
        source,
        target,
        lambda tensor: Shape(tensor.name, torch.bfloat16, tensor.shape),
        lambda tensor: tensor.read().bfloat16(),
    )
    assert size == 12
    assert json.loads((target / tensors.INDEX).read_bytes()) == {"metadata": {"total_size": 12}, "weight_map": places}
    assert torch.equal(tensors.open_folder(target)["y"].read(), torch.ones(2, dtype=torch.bfloat16))


FLAT = """
import resource, sys
from pathlib import Path
import torch
from infra.models import tensors
from infra.models.tensors import Shape
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
mib = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
shape = Shape("0", torch.float32, (1024, 2048))
tensors.write(folder / "warm.safetensors", [shape], lambda _: torch.zeros(1024, 2048))
before = mib()
shapes = [Shape(str(n), torch.float32, (1024, 2048)) for n in range(48)]
tensors.write(folder / "model.safetensors", shapes, lambda _: torch.ones(1024, 2048))
tensors.rewrite(folder, out, lambda t: Shape(t.name, torch.bfloat16, t.shape), lambda t: t.read().bfloat16())
print(mib() - before)
"""


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", FLAT, str(tmp_path), str(tmp_path / "out")], check=True, capture_output=True, text=True
    )
    largest, whole = 8, 384  # MiB
    assert float(ran.stdout) < 4 * largest < whole
