"""A causal language model from a folder, as it is wanted: in which dtype, in 4 bits or not, with an adapter or without."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from infra.errors import BadModel


def load(
    folder: Path,
    dtype: str = "auto",
    quantization: Mapping[str, Any] | None = None,
    adapter: Path | None = None,
    device_map: str = "cuda",
) -> Any:
    """The model, ready to answer; on the CPU where there is no GPU. `quantization` is of BitsAndBytesConfig's fields.

    With an adapter goes the generation_config that lies beside it. BadModel where the adapter changes no logit: one that
    was not loaded is otherwise seen only by scores that are the base's (lm-eval issue 808).
    """
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=dtype if dtype == "auto" else getattr(torch, dtype),
        device_map=device_map if torch.cuda.is_available() else "cpu",
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        **_held(quantization),
    ).eval()
    if adapter is not None:
        model = _with_adapter(model, adapter)
    if quantization:
        from infra.models import nf4  # noqa: PLC0415 - see _held

        nf4.as_loaded(model)
    if adapter is not None:
        _require_felt(model, adapter)
    return model


def _held(quantization: Mapping[str, Any] | None) -> dict[str, Any]:
    if not quantization:
        return {}
    from infra.models import nf4  # noqa: PLC0415 - bitsandbytes takes seconds to import, and few need it

    return {"quantization_config": nf4.bits_and_bytes(quantization)}


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel  # noqa: PLC0415 - a merged model needs none

    if (adapter / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(adapter)
    return PeftModel.from_pretrained(model, adapter).eval()


def _require_felt(model: Any, adapter: Path) -> None:
    ids = torch.arange(1, 9, device=model.device)[None]
    with torch.inference_mode():
        adapted = model(input_ids=ids, use_cache=False).logits
        with model.disable_adapter():
            plain = model(input_ids=ids, use_cache=False).logits
    if torch.equal(adapted, plain):
        raise BadModel(
            "the adapter changes nothing: the model answers as its base does",
            place=adapter.name,
            remedy="its layers must be called as the base's are; train again on this base",
        )
