"""Loading a model as it is wanted, and seeing that an adapter is felt."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from infra.errors import BadModel
from infra.models import nf4
from infra.models.load import load
from tests import tiny

pytestmark = pytest.mark.heavy
IDS = torch.arange(9)[None]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA with random matrices in both halves."""
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
    chance = torch.Generator().manual_seed(3)
    for name, value in model.named_parameters():
        if "lora_B" in name:
            value.data = torch.randn(value.shape, generator=chance)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


def test_an_adapter_on_four_bits_says_what_peft_says(base: Path, adapter: Path) -> None:
    held = nf4.settings("float32")
    ours = load(base, "float32", held, adapter)
    theirs = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, quantization_config=nf4.bits_and_bytes(held), device_map="cpu"
    )
    wanted = nf4.as_loaded(PeftModel.from_pretrained(theirs, adapter).eval())
    with torch.inference_mode():
        assert torch.equal(ours(IDS).logits, wanted(IDS).logits)
        assert torch.equal(ours(IDS).logits, ours(IDS).logits), "the first pass must not change the next"


def test_an_adapter_that_changes_nothing_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    shutil.copyfile(adapter / "adapter_config.json", tmp_path / "adapter_config.json")
    tensors = {
        name: value * ("lora_A" in name) for name, value in load_file(adapter / "adapter_model.safetensors").items()
    }
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    with pytest.raises(BadModel, match="changes nothing"):
        load(base, adapter=tmp_path)


def test_an_adapter_of_another_base_is_refused_where_no_layer_of_it_fits(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    shutil.copyfile(adapter / "adapter_config.json", tmp_path / "adapter_config.json")
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({f"other.{name}": value for name, value in tensors.items()}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(BadModel, match="changes nothing"):
        load(base, adapter=tmp_path)


def test_the_adapters_own_ends_go_with_it(base: Path, adapter: Path, tmp_path: Path) -> None:
    shutil.copytree(adapter, tmp_path, dirs_exist_ok=True)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    assert load(base, adapter=tmp_path).generation_config.eos_token_id == [7, 9]
    assert load(base).generation_config.eos_token_id != [7, 9]
