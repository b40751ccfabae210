import json
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.errors import BadMerge
from infra.models import nf4, tensors
from tasks.merging import lora, parity, worker
from tasks.merging.config import MergeConfig
from tasks.merging.parity import Parity
from tests import jobs
from tests.unit.tasks.merging.conftest import QUANTIZATION, Bench

pytestmark = pytest.mark.heavy


def merged(bench: Bench, adapter: Path, base: str, dtype: str, out: Path) -> dict[str, tensors.Tensor]:
    out.mkdir()
    training = json.loads((adapter / "training.json").read_bytes())
    worker.merge_weights(bench.base, adapter, training, base, dtype, out)
    return tensors.open_folder(out)


KINDS: list[dict[str, Any]] = [
    {},
    {"use_rslora": True},
    {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.0.mlp.up_proj": 5, "v_proj": 3}},
    {"target_modules": ["q_proj"]},
]


@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bit_equal_to_peft_on_a_float32_base(bench: Bench, tmp_path: Path, options: dict[str, Any], dtype: str) -> None:
    # The stored bfloat16 base is read as float32, peft merges there, and the sum is cast: what the recipe promises.
    adapter = bench.adapter_folder(**options)
    theirs = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(bench.base, dtype=torch.float32), adapter
    ).merge_and_unload()
    state = theirs.to(getattr(torch, dtype)).state_dict()
    ours = merged(bench, adapter, "original", dtype, tmp_path / "out")
    assert all(torch.equal(tensor.read(), state[name]) for name, tensor in ours.items())


def test_bit_equal_to_peft_on_a_dequantised_base(bench: Bench, tmp_path: Path) -> None:
    adapter = bench.adapter_folder("qlora")
    base = AutoModelForCausalLM.from_pretrained(
        bench.base, dtype=torch.bfloat16, quantization_config=nf4.bits_and_bytes(QUANTIZATION), device_map="cpu"
    ).dequantize()
    state = PeftModel.from_pretrained(base.float(), adapter).merge_and_unload().bfloat16().state_dict()
    ours = merged(bench, adapter, "dequantized", "bfloat16", tmp_path / "out")
    assert all(torch.equal(tensor.read(), state[name]) for name, tensor in ours.items())


def spoil(adapter: Path, **values: Any) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("use_dora", True),
        ("modules_to_save", ["lm_head"]),
        ("bias", "all"),
        ("peft_type", "LOHA"),
        ("fan_in_fan_out", True),
        ("init_lora_weights", "pissa"),
    ],
)
def test_adapters_of_other_kinds_are_refused_by_name(bench: Bench, name: str, value: object) -> None:
    adapter = bench.adapter_folder()
    spoil(adapter, **{name: value})
    with pytest.raises(BadMerge, match="cannot be merged") as refusal:
        lora.read(adapter, tensors.open_folder(bench.base))
    assert name in refusal.value.place


def test_an_adapter_of_another_base_is_refused(bench: Bench) -> None:
    targets = tensors.open_folder(bench.base)
    name = "model.layers.1.self_attn.q_proj.weight"
    adapter = bench.adapter_folder()
    with pytest.raises(BadMerge, match="does not fit"):
        lora.read(adapter, targets | {name: targets["model.norm.weight"]})
    with pytest.raises(BadMerge, match="does not store"):
        lora.read(adapter, {key: value for key, value in targets.items() if key != name})


def test_a_merged_model_passes_and_loads_everywhere_with_the_same_logits(bench: Bench, tmp_path: Path) -> None:
    adapter = jobs.keep(bench.on, "training", bench.adapter_folder("qlora"))
    inputs = {"weights": bench.weights, "tokenizer": bench.tokenizer, "adapter": adapter, "dataset": bench.dataset}
    receipt, again = (jobs.made(bench.on, "merging", MergeConfig(), inputs, worker.work) for _ in range(2))
    assert receipt.content_sha256 == again.content_sha256
    assert receipt.summary["base"] == "dequantized"
    assert receipt.summary["parity"] == "passed"
    folder = bench.on.cache.materialise(bench.on.store, receipt, tmp_path / "model")
    assert json.loads((folder / "parity.json").read_bytes())["prompts"] == 6
    ids = AutoTokenizer.from_pretrained(folder / "model")("Ticket 1: my red printer", return_tensors="pt").input_ids
    plain = AutoModelForCausalLM.from_pretrained(folder / "model")(ids).logits
    loaded = mlflow.transformers.load_model(str(folder))
    assert torch.equal(loaded.model(ids).logits, plain)
    assert loaded.tokenizer.chat_template == AutoTokenizer.from_pretrained(folder / "model").chat_template
    service = mlflow.pyfunc.load_model(str(folder))
    assert torch.equal(service.get_raw_model().model(ids).logits, plain)
    short, long = (service.predict(["Ticket"], params={"max_new_tokens": count}) for count in (1, 9))
    assert len(short[0]) < len(long[0])


def test_the_template_of_the_data_goes_with_the_model(bench: Bench, tmp_path: Path) -> None:
    prompts = (bench.room / "data-files" / "prompts.jsonl").read_text()
    template = "{% for message in messages %}[{{ message['content'] }}]{% endfor %}"
    dataset = bench.artifact("other", {"prompts.jsonl": prompts, "chat_template.jinja": template})
    adapter = jobs.keep(bench.on, "training", bench.adapter_folder())
    inputs = {"weights": bench.weights, "tokenizer": bench.tokenizer, "adapter": adapter, "dataset": dataset}
    receipt = jobs.made(bench.on, "merging", MergeConfig(), inputs, worker.work)
    folder = bench.on.cache.materialise(bench.on.store, receipt, tmp_path / "model")
    for place in ("model", "components/tokenizer"):
        assert AutoTokenizer.from_pretrained(folder / place).chat_template == template


def test_the_wrong_base_is_caught_by_parity(bench: Bench) -> None:
    adapter = jobs.keep(bench.on, "training", bench.adapter_folder("qlora"))
    inputs = {"weights": bench.weights, "tokenizer": bench.tokenizer, "adapter": adapter, "dataset": bench.dataset}
    config = MergeConfig(base="original", max_kl=1e-5)
    with pytest.raises(BadMerge, match="does not behave like the adapter") as refusal:
        jobs.made(bench.on, "merging", config, inputs, worker.work)
    assert "KL" in refusal.value.value
    assert "merge.base: auto" in refusal.value.remedy


def test_a_full_fine_tune_is_only_cast(bench: Bench, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    AutoModelForCausalLM.from_pretrained(bench.base, dtype=torch.float32).save_pretrained(whole)
    (whole / "training.json").write_text(json.dumps({"method": "full", "dtype": "float32", "quantization": None}))
    ours = merged(bench, whole, "none", "bfloat16", tmp_path / "out")
    assert all(
        torch.equal(ours[name].read(), tensor.read()) for name, tensor in tensors.open_folder(bench.base).items()
    )


def test_dequantising_what_never_was_quantised_is_refused(bench: Bench) -> None:
    with pytest.raises(BadMerge, match="nothing to dequantise"):
        worker._base(MergeConfig(base="dequantized"), {"method": "lora", "quantization": None})


@pytest.mark.parametrize("kl", [0.06, float("nan")])
def test_a_certificate_outside_the_bounds_fails_the_stage(kl: float) -> None:
    found = Parity.model_construct(kl=kl, max_kl=kl, top1=1.0, greedy_match=1.0, prompts=1, tokens=1)
    with pytest.raises(BadMerge):
        worker.require_parity(found, MergeConfig(), "original")


def test_answers_read_together_are_read_as_if_alone(bench: Bench) -> None:
    model = AutoModelForCausalLM.from_pretrained(bench.base, dtype=torch.float32).eval()
    prompt, answers = [5, 6, 7, 8], [[9, 10], [11, 12, 13, 14]]
    together = parity.log_probabilities(model, prompt, answers)
    for held, answer in zip(together, answers, strict=True):
        (alone,) = parity.log_probabilities(model, prompt, [answer])
        assert held.shape == (len(answer), 512)
        torch.testing.assert_close(held, alone, rtol=0, atol=1e-5)
