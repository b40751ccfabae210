"""Loads an adapter that was not merged, on its base, as it was trained. For MLflow, which has no flavour for 4-bit bases.

This file is copied into the folder of a registered version, and there it needs nothing of Luthier.
"""

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig


class Adapted:
    """Base and adapter as one model, with the tokenizer that belongs to them."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    def get_raw_model(self) -> "Adapted":
        """What MLflow's wrapper hides: `.model` and `.tokenizer`."""
        return self

    def predict(self, texts: Any, params: dict[str, Any] | None = None) -> list[str]:
        """Each text, and how the model goes on with it."""
        said = texts.iloc[:, 0].tolist() if hasattr(texts, "iloc") else list(texts)
        return [self._go_on(str(text), params or {}) for text in said]

    def _go_on(self, text: str, params: dict[str, Any]) -> str:
        inputs = self.tokenizer(text, return_tensors="pt").to(self.model.device)
        with torch.inference_mode():
            (made,) = self.model.generate(**inputs, **params)
        return text + str(self.tokenizer.decode(made[inputs["input_ids"].shape[1] :], skip_special_tokens=True))


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> Adapted:
    """MLflow's entrance. `model_config` may name another place of the base: `base_model_name_or_path`, a folder."""
    folder = Path(path)
    base = json.loads((folder / "base.json").read_bytes())
    name = (model_config or {}).get("base_model_name_or_path") or base["model"]
    if not name:
        raise ValueError(
            "the base of this adapter came from no hub: load_model(…, model_config={'base_model_name_or_path': FOLDER}), "
            f"with the weights whose content sha256 is {base['content_sha256']}"
        )
    quantization = base["quantization"]
    model = AutoModelForCausalLM.from_pretrained(
        name,
        revision=base["revision"] if name == base["model"] else None,
        dtype=getattr(torch, base["dtype"]),
        quantization_config=BitsAndBytesConfig(**quantization) if quantization else None,
        device_map="auto" if torch.cuda.is_available() else "cpu",
    )
    model.generation_config = GenerationConfig.from_pretrained(folder / "model")
    adapted = PeftModel.from_pretrained(model, folder / "model").eval()
    if quantization:
        _keep_four_bits(adapted)
    return Adapted(adapted, AutoTokenizer.from_pretrained(folder / "model"))


def _keep_four_bits(model: Any) -> None:
    """On the CPU, layers in evaluation mode repack their weights at the first forward pass, and compute more slowly."""
    import bitsandbytes  # noqa: PLC0415 - only for a base in 4 bits

    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.train()
