"""Evaluation end to end on a tiny random model: what is stored, what a task may see, what is refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from infra.errors import BadTask
from infra.models import nf4
from infra.models.adapted import Base
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.evaluation import asking, stage, worker
from tasks.evaluation.config import EvaluateConfig
from tests import jobs, tiny

pytestmark = pytest.mark.heavy


def config(folder: Path, **fields: Any) -> EvaluateConfig:
    given = {"tasks": ["colours", "choices"], "include_path": str(folder), "trust_tasks": True, "dtype": "float32"}
    return EvaluateConfig(**given | fields)


def test_scores_and_samples_are_stored_and_no_task_sees_a_secret(
    platform: Platform, folder: Path, model: Receipt, tokenizer: Receipt, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "SOME_SECRET_OF_MINE"):
        monkeypatch.setenv(name, "hush")
    receipt = stage.run(config(folder), model, tokenizer, platform)
    scores = receipt.summary["scores"]
    assert isinstance(scores, dict)
    assert set(scores) == {"colours", "choices"}
    assert scores["colours"]["secrets"] == 0
    assert receipt.summary["n"] == {"colours": 6, "choices": 6}

    results = json.loads(platform.store.read(receipt, "results.json"))
    assert results["colours"]["exact_match"]["n"] == 6
    assert results["colours"]["secrets"]["higher_is_better"] is False
    assert 0 <= results["choices"]["acc"]["value"] <= 1
    samples = [json.loads(line) for line in platform.store.read(receipt, "samples/colours.jsonl").splitlines()]
    assert [sample["doc_id"] for sample in samples] == list(range(6))
    assert len({sample["prompt_hash"] for sample in samples}) == 6
    listed = platform.store.read(stage.questions(config(folder), platform), "questions.jsonl").splitlines()
    known = {one["doc_id"]: one["doc_hash"] for one in map(json.loads, listed) if one["task"] == "colours"}
    assert known == {sample["doc_id"]: sample["doc_hash"] for sample in samples}
    spec = json.loads(platform.store.read(receipt, "spec.json"))
    assert spec["tasks"]["colours"]["documents"] == 6
    for name in ("results.json", "spec.json"):
        assert str(platform.home).encode() not in platform.store.read(receipt, name)


@pytest.mark.slow
def test_a_second_run_makes_the_same_bytes(
    platform: Platform, folder: Path, model: Receipt, tokenizer: Receipt
) -> None:
    first = stage.run(config(folder), model, tokenizer, platform)
    platform.store.condemn(platform.store.manifest(first))
    second = stage.run(config(folder), model, tokenizer, platform)
    assert second.attempt != first.attempt
    assert second.content_sha256 == first.content_sha256


@pytest.mark.slow
def test_examples_change_the_prompts_and_the_key(
    platform: Platform, folder: Path, model: Receipt, tokenizer: Receipt
) -> None:
    asked = config(folder, tasks=["colours"], limit=2)
    assert stage.step(asked, model, tokenizer).key != stage.step(asked, model, tokenizer, 2).key
    assert stage.step(asked, model, tokenizer).key == stage.step(asked, model, tokenizer, 0).key
    few = stage.run(asked, model, tokenizer, platform, num_fewshot=2)
    assert few.summary["num_fewshot"] == 2
    assert few.summary["n"] == {"colours": 2}
    assert json.loads(platform.store.read(few, "spec.json"))["tasks"]["colours"]["num_fewshot"] == 2


def test_the_key_follows_the_tasks_content_and_not_its_place(
    folder: Path, tmp_path: Path, model: Receipt, tokenizer: Receipt
) -> None:
    first = stage.step(config(folder), model, tokenizer).key
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "utils.pyc").write_bytes(b"made by an import")
    moved = folder.rename(tmp_path / "elsewhere")
    assert stage.step(config(moved, batch_size=2), model, tokenizer).key == first
    (moved / "utils.py").write_text("# scores otherwise")
    assert stage.step(config(moved), model, tokenizer).key != first


def test_a_task_folder_is_refused_until_it_is_trusted(folder: Path, model: Receipt, tokenizer: Receipt) -> None:
    with pytest.raises(BadTask, match="code") as refused:
        stage.step(config(folder, trust_tasks=False), model, tokenizer)
    assert "trust_tasks: true" in refused.value.remedy


@pytest.mark.slow
def test_a_merged_model_is_asked_with_the_template_it_was_trained_on(
    platform: Platform, folder: Path, committed: Callable[[str, Path], Receipt], tokenizer: Receipt, tmp_path: Path
) -> None:
    tiny.model(tiny.tokenizer(tmp_path / "merged" / "model"))
    (tmp_path / "merged" / "model" / "chat_template.jinja").write_text("TRAINED {{ messages[0]['content'] }}")
    asked = config(folder, tasks=["colours"], limit=2, apply_chat_template=True)
    receipt = stage.run(asked, committed("merging", tmp_path / "merged"), tokenizer, platform)
    samples = [json.loads(line) for line in platform.store.read(receipt, "samples/colours.jsonl").splitlines()]
    wanted = [hashlib.sha256(f"TRAINED What is {n}?".encode()).hexdigest() for n in range(2)]
    assert [sample["prompt_hash"] for sample in samples] == wanted


@pytest.mark.slow
def test_an_unknown_task_is_refused_with_names_near_it(
    platform: Platform, folder: Path, model: Receipt, tokenizer: Receipt
) -> None:
    with pytest.raises(BadTask, match="no such evaluation task") as refused:
        stage.run(config(folder, tasks=["colour"]), model, tokenizer, platform)
    assert "colours" in refused.value.remedy


@pytest.mark.slow
def test_a_mistake_in_a_tasks_code_is_refused_with_its_place(
    platform: Platform, folder: Path, model: Receipt, tokenizer: Receipt
) -> None:
    (folder / "utils.py").write_text("def load(**_):\n    raise KeyError('column')\n\ndef score(doc, results): ...\n")
    with pytest.raises(BadTask, match="column") as refused:
        stage.run(config(folder), model, tokenizer, platform)
    assert refused.value.place == "utils.py:2"


def asked_here(platform: Platform, config: EvaluateConfig, model: Receipt, tokenizer: Receipt) -> tuple[bytes, bytes]:
    """The spec and what was answered, asked in this process as the asking process does it."""
    job = jobs.job(platform, "evaluation", config, {"model": model, "tokenizer": tokenizer})
    asking.ask(worker._question(job))
    return (job.out / "spec.json").read_bytes(), (job.out / "samples" / "choices.jsonl").read_bytes()


def test_an_adapter_that_was_not_merged_is_asked_on_its_base_in_four_bits_and_so_is_the_base(
    platform: Platform, folder: Path, model: Receipt, tokenizer: Receipt, tmp_path: Path
) -> None:
    base = Base(content_sha256=model.content_sha256, dtype="float32", quantization=nf4.settings("float32"))
    (adapter(tmp_path / "kept" / "model").parent / "base.json").write_text(base.model_dump_json())
    kept = jobs.keep(platform, "merging", tmp_path / "kept", inputs={"weights": model})
    four_bits = config(folder, tasks=["choices"], load_in_4bit=True)
    before = asked_here(platform, four_bits, model, tokenizer)
    after = asked_here(platform, four_bits, kept, tokenizer)
    plain = asked_here(platform, config(folder, tasks=["choices"]), model, tokenizer)
    assert before[0] == after[0]
    assert len({before[1], after[1], plain[1]}) == 3


def adapter(folder: Path) -> Path:
    """A LoRA of the tiny model with something in it, and the tokenizer beside it."""
    chance, matrices = np.random.default_rng(0), {}
    for layer in range(2):
        at = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        matrices[f"{at}.lora_A.weight"] = chance.standard_normal((4, 64)).astype(np.float32)
        matrices[f"{at}.lora_B.weight"] = chance.standard_normal((64, 4)).astype(np.float32)
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    tiny.tokenizer(folder)
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file(matrices, folder / "adapter_model.safetensors")
    return folder
