"""No architecture is hard-coded: models of several families are tuned, merged and loaded back, packed rows apart."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

from infra.errors import BadRecipe
from tasks.merging import worker as merging
from tasks.training import loading
from tasks.training.config import TrainConfig

pytestmark = pytest.mark.slow

SMALL = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "mixtral": EXPERTS,
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "sliding_window": 64},
    "mistral": {"sliding_window": 64},
    "phi": {},
    "phi3": {},
    "gpt_neox": {},
}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ROWS = [[5, 9, 33, 17, 80, 4], [7, 11, 101, 64], [90, 12, 55, 3, 41, 8, 77]]


def base(family: str, folder: Path) -> Path:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SMALL | FAMILIES[family])
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    return folder


def tuned(weights: Path, method: str, **options: Any) -> Any:
    """The model that the training stage would train, after some steps."""
    config = TrainConfig.model_validate({"tuning": {"method": method} | options, "bf16": False, "deepspeed": "none"})
    model = loading.load(config, weights, torch.device("cpu"))
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-2)
    ids = torch.tensor(ROWS[:1])
    for _ in range(3):
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_packed_into_one_sequence_do_not_see_each_other(tmp_path: Path, family: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(base(family, tmp_path)).eval()
    packed = torch.tensor([[token for row in ROWS for token in row]])
    positions = torch.tensor([[at for row in ROWS for at in range(len(row))]])
    together = model(input_ids=packed, position_ids=positions, use_cache=False).logits[0]
    alone = torch.cat([model(input_ids=torch.tensor([row]), use_cache=False).logits[0] for row in ROWS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_is_trained_merged_and_loaded_back(tmp_path: Path, family: str) -> None:
    weights = base(family, tmp_path / "base")
    model = tuned(weights, "lora", **({"target_modules": ATTENTION} if family == "mixtral" else {}))
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    told = {"method": "lora", "dtype": "float32"}
    merging.merge_weights(weights, tmp_path / "adapter", told, "original", "float32", tmp_path / "merged")
    (tmp_path / "merged" / "config.json").write_bytes((weights / "config.json").read_bytes())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    ids = torch.tensor(ROWS[:1])
    held = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(weights), tmp_path / "adapter").eval()
    untouched = AutoModelForCausalLM.from_pretrained(weights).eval()
    torch.testing.assert_close(loaded(ids).logits, held(ids).logits, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(loaded(ids).logits, untouched(ids).logits, atol=1e-3)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "mixtral"])
def test_every_family_is_held_in_four_bits(tmp_path: Path, family: str) -> None:
    model = tuned(base(family, tmp_path), "qlora")
    assert torch.isfinite(model(torch.tensor(ROWS[:1])).logits).all()


def test_an_adapter_that_could_not_be_merged_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="experts") as refused:
        tuned(base("mixtral", tmp_path), "lora")
    assert "q_proj" in refused.value.remedy


def test_experts_that_four_bits_would_leave_out_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="experts"):
        tuned(base("mixtral", tmp_path), "qlora")
