"""A tiny base, a tokenizer, held-out prompts, and adapters with something in them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.base import worker as base_worker
from tasks.base.config import BaseConfig
from tests import jobs, tiny

QUANTIZATION = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_compute_dtype": "bfloat16",
}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Bench:
    """Artifacts of the stages before, in a store of their own."""

    def __init__(self, room: Path) -> None:
        self.on: Platform = jobs.platform(room)
        self.room = room
        folder = tiny.model(tiny.tokenizer(room / "hf"))
        config = BaseConfig(model_name_or_path=str(folder))
        self.tokenizer = jobs.made(self.on, "tokenizer", config, {}, base_worker.work)
        self.weights = jobs.made(self.on, "weights", config, {}, base_worker.work)
        self.base = self.on.cache.materialise(self.on.store, self.weights, room / "base")
        encode = AutoTokenizer.from_pretrained(folder).encode
        prompts = [
            {
                "prompt_ids": encode(
                    f"<|im_start|>user\n{row['messages'][-2]['content']}<|im_end|>\n<|im_start|>assistant\n"
                ),
                "answer_ids": encode(f"{row['messages'][-1]['content']}<|im_end|>\n"),
            }
            for row in tiny.rows(6)
        ]
        self.dataset = self.artifact(
            "data", {"prompts.jsonl": "".join(json.dumps(prompt) + "\n" for prompt in prompts)}
        )

    def artifact(self, stage: str, files: dict[str, str]) -> Receipt:
        folder = self.room / f"{stage}-files"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        return jobs.keep(self.on, stage, folder)

    def adapter_folder(self, method: str = "lora", dtype: str = "bfloat16", **options: Any) -> Path:
        """A LoRA with random, clearly felt matrices, saved as the training stage saves it."""
        folder = self.room / f"adapter-{method}-{dtype}-{len(list(self.room.iterdir()))}"
        settings: dict[str, Any] = {"r": 4, "lora_alpha": 16, "target_modules": LINEAR, "task_type": "CAUSAL_LM"}
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32), LoraConfig(**settings | options)
        )
        chance = torch.Generator().manual_seed(3)
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.data = 0.05 * torch.randn(value.shape, generator=chance)
            elif "lora_A" in name:
                value.data = torch.randn(value.shape, generator=chance)
        model.save_pretrained(folder)
        training = {
            "method": method,
            "dtype": dtype,
            "quantization": QUANTIZATION if method == "qlora" else None,
        }
        (folder / "training.json").write_text(json.dumps(training))
        return folder


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))
