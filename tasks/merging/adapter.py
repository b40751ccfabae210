"""An adapter that is not merged: laid out as it is, with the name of its base, so that it is loaded on that and no other.

The base's weights are not touched, and not even fetched.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from infra.errors import BadMerge
from infra.launch.work import Summary, Work
from infra.models import adapted
from infra.models.adapted import Base
from infra.storage.hub import fetched_as
from infra.tracking import flavor
from tasks.merging import layout
from tasks.merging.config import MergeConfig

NOT_MERGED = "not merged"


def keep(job: Work[MergeConfig], training: dict[str, Any], tokenizer: PreTrainedTokenizerBase, model: Path) -> Summary:
    """Fill `model` with the adapter and all that goes with it; BadMerge where all weights were trained.

    The parity certificate says that nothing was merged, so there is nothing to compare.
    """
    if training["method"] == "full":
        raise BadMerge(
            "all weights were trained, so there is no adapter to register",
            place="merge.method",
            value=job.config.method,
            remedy="leave merge.method out",
        )
    base = _base(job, training)
    rank = _copy(job.inputs["adapter"], model, base)
    layout.copy_tokenizer(job, model)
    _write_from_base(job, tokenizer, model)
    (job.out / adapted.NAME).write_text(layout.as_json(base.model_dump()))
    (job.out / "parity.json").write_text(layout.as_json({"parity": NOT_MERGED}))
    flavor.write_adapter(job.out, job.spec.key)
    size = (model / "adapter_model.safetensors").stat().st_size
    held = {"dtype": base.dtype, "quantization": base.quantization}
    return {"base": "none", **held, "rank": rank, "bytes": size, "parity": NOT_MERGED}


def _base(job: Work[MergeConfig], training: dict[str, Any]) -> Base:
    weights = job.receipt("weights")
    name, _, revision = fetched_as(job.platform.store.manifest(weights).config).partition("@")
    return Base(
        model=name,
        revision=revision,
        content_sha256=weights.content_sha256,
        dtype=training["dtype"],
        quantization=training["quantization"],
    )


def _copy(source: Path, model: Path, base: Base) -> int:
    """The adapter's two files, its base named so that PEFT finds it if it is on a hub; the rank.

    Any other base keeps the hash that training has named it by, which loads nothing, instead of a path that may lead to
    another model.
    """
    config = json.loads((source / "adapter_config.json").read_bytes())
    if base.model:
        config |= {"base_model_name_or_path": base.model, "revision": base.revision or None}
    (model / "adapter_config.json").write_text(layout.as_json(config))
    shutil.copyfile(source / "adapter_model.safetensors", model / "adapter_model.safetensors")
    return int(config["r"])


def _write_from_base(job: Work[MergeConfig], tokenizer: PreTrainedTokenizerBase, model: Path) -> None:
    store, weights = job.platform.store, job.receipt("weights")
    layout.write_generation_config(store.read(weights, "generation_config.json"), tokenizer, model)
    for file in store.manifest(weights).files:
        if layout.is_licence(file.path):
            (model / file.path).write_bytes(store.read(weights, file.path))
