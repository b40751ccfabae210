"""What an adapter that was not merged belongs on: the record base.json beside it. Light: commands read it too."""

from pathlib import Path

from pydantic import JsonValue

from infra.frozen import Frozen

NAME = "base.json"


class Base(Frozen):
    """The base of an adapter, and how it was held when the adapter was trained: `dtype`, and in 4 bits where
    `quantization` says so (fields of transformers.BitsAndBytesConfig). `model` is its id on a hub, at the commit
    `revision`; both are empty where it came from elsewhere, and then its content hash alone names it."""

    model: str = ""
    revision: str = ""
    content_sha256: str
    dtype: str
    quantization: dict[str, JsonValue] | None = None


def read(folder: Path) -> Base | None:
    """The record in the folder of an artifact; None where what lies there was merged."""
    path = folder / NAME
    return Base.model_validate_json(path.read_bytes()) if path.exists() else None
