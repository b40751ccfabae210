"""Safetensors as a stream: one tensor in memory at a time, whatever the model's size.

The format (https://github.com/huggingface/safetensors#format): 8 bytes little-endian header size, a JSON header padded
with spaces to a multiple of 8, then the tensors without holes. Files are read, not mapped: mapped pages count as memory.
"""

import json
import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from infra.errors import BadModel

INDEX = "model.safetensors.index.json"
DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "I64": torch.int64,
    "F32": torch.float32,
    "I32": torch.int32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Shape:
    """A tensor without its values."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.count * int(self.dtype.itemsize)


@dataclass(frozen=True)
class Tensor(Shape):
    """A tensor in a file: `at` is the offset of its first byte."""

    file: Path
    at: int

    def read(self) -> torch.Tensor:
        """Its values, in memory of their own."""
        data = bytearray(self.bytes)
        with self.file.open("rb", buffering=0) as file:
            file.seek(self.at)
            view, got = memoryview(data), 0
            while got < len(data) and (count := file.readinto(view[got:])):
                got += count
        if got < len(data):
            raise BadModel("a safetensors file ends too early", place=self.file.name, value=self.name)
        return torch.frombuffer(data, dtype=self.dtype).reshape(self.shape) if data else torch.empty(self.shape)


def open_file(path: Path) -> list[Tensor]:
    """The tensors of one .safetensors file in file order, unread; BadModel where the header is not one."""
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > 100 * 2**20:  # the limit of the reference reader
                raise ValueError(f"a header of {size} bytes")
            header = json.loads(file.read(size))
        found = [_entry(path, 8 + size, name, entry) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise BadModel(
            "the file is no safetensors file", place=path.name, value=error, remedy="fetch or write it again"
        ) from error
    return sorted(found, key=lambda tensor: tensor.at)


def _entry(path: Path, data: int, name: str, entry: dict[str, Any]) -> Tensor:
    begin, end = entry["data_offsets"]
    tensor = Tensor(name, DTYPES[entry["dtype"]], tuple(entry["shape"]), path, data + begin)
    if end - begin != tensor.bytes or begin < 0 or data + end > path.stat().st_size:
        raise ValueError(f"{name} does not fit into the file")
    return tensor


def files(folder: Path, single: str = "model.safetensors") -> list[Path]:
    """The .safetensors files of a model's folder: those of the index, or the single one."""
    if not (folder / INDEX).exists():
        return [folder / single]
    return [folder / name for name in sorted(set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()))]


def open_folder(folder: Path) -> dict[str, Tensor]:
    """All tensors of a model's folder by name, unread."""
    return {tensor.name: tensor for path in files(folder) for tensor in open_file(path)}


def write(path: Path, shapes: Iterable[Shape], make: Callable[[Shape], torch.Tensor]) -> int:
    """Write one .safetensors file, asking `make` for one tensor after the other; the bytes of its tensors.

    Wider dtypes come first, so that every tensor starts at a multiple of its item size, as the format wants it.
    """
    ordered = sorted(shapes, key=lambda shape: -shape.dtype.itemsize)
    with path.open("wb") as file:
        file.write(_header(ordered))
        for shape in ordered:
            tensor = make(shape)
            if tensor.dtype != shape.dtype or tuple(tensor.shape) != shape.shape:
                raise ValueError(
                    f"{shape.name}: promised {shape.dtype} {shape.shape}, got {tensor.dtype} {tensor.shape}"
                )
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sum(shape.bytes for shape in ordered)


def _header(shapes: list[Shape]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for shape in shapes:
        header[shape.name] = {
            "dtype": _NAMES[shape.dtype],
            "shape": list(shape.shape),
            "data_offsets": [at, at + shape.bytes],
        }
        at += shape.bytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def rewrite(
    source: Path, target: Path, shape: Callable[[Tensor], Shape], make: Callable[[Tensor], torch.Tensor]
) -> int:
    """Write a folder's tensors anew into the same file names, index included; the bytes of all tensors.

    `shape` promises and `make` makes what stands in a tensor's place; only one is in memory at a time.
    """
    total = 0
    for path in files(source):
        tensors = {tensor.name: tensor for tensor in open_file(path)}

        def made(new: Shape, old: dict[str, Tensor] = tensors) -> torch.Tensor:
            return make(old[new.name])

        total += write(target / path.name, map(shape, tensors.values()), made)
    if (source / INDEX).exists():
        index = json.loads((source / INDEX).read_bytes())
        index["metadata"] = {**index.get("metadata", {}), "total_size": total}
        (target / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return total
