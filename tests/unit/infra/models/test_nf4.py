from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from infra.models import nf4, tensors
from tests import tiny

pytestmark = pytest.mark.heavy

QUANTIZATION = {
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_compute_dtype": "bfloat16",
}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_bit_equal_to_a_model_loaded_in_4_bits_and_dequantised(tmp_path: Path, tied: bool, dtype: torch.dtype) -> None:
    folder = tiny.model(tmp_path, tied=tied)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, quantization_config=nf4.bits_and_bytes(QUANTIZATION), device_map="cpu"
    )
    layers = {name for name, value in model.named_parameters() if value.dtype == torch.uint8}
    assert nf4.quantised_weights(folder, QUANTIZATION) == layers
    assert len(layers) == 14
    state = model.dequantize().state_dict()
    for name, tensor in tensors.open_folder(folder).items():
        value = tensor.read().to(dtype)
        value = nf4.roundtrip(value, QUANTIZATION) if name in layers else value
        assert torch.equal(value, state[name]), name
