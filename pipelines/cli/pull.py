"""`luthier pull`: a version's files in a folder of one's own."""

import json
import uuid
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import Corrupt, Refused
from infra.launch.scratch import scratch
from infra.printable import line, size
from infra.storage import export
from infra.storage.hub import fetched_as
from infra.storage.receipt import Manifest
from pipelines.cli import screen, versions

TOKENIZER = "components/tokenizer/"
Part = tuple[Manifest, dict[str, str]]  # an artifact, and the names that some of its files get


def pull(
    version: versions.Spec,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a folder that does not exist or is empty")],
    adapter: Annotated[bool, typer.Option("--adapter", help="the adapter alone, as PEFT reads it")] = False,
) -> None:
    """Copy a version out of the store: safetensors, tokenizer and card. DIR is there whole, or not at all."""
    found = versions.find(version)
    apart = adapter or found.base is not None
    parts = _adapter(found) if adapter and found.base is None else [(found.model, model_files(found.model))]
    base = belongs_on(found) if apart else ""
    need = sum(file.size for manifest, names in parts for file in manifest.files if file.path in names)
    with export.new_folder(folder, need) as new:
        _fill(found, parts, new)
        if apart:
            _name_base(found, new / "adapter_config.json")
        (new / "README.md").write_text(found.readme(".", base), encoding="utf-8")
    _tell(found, folder, need, base)


def model_files(model: Manifest) -> dict[str, str]:
    """The files of a version that make the model, or the adapter, by the names that they have beside each other."""
    return _beside(model, "model/")


def _fill(found: versions.Found, parts: list[Part], new: Path) -> None:
    with scratch(found.platform.home / "work", f"pull-{uuid.uuid4().hex}") as room:
        for manifest, names in parts:
            screen.progress(f"fetching {manifest.stage} {manifest.key[:12]} …")
            lies = versions.fetch(found.platform, found.platform.store.receipt(manifest), room / manifest.stage)
            for file in manifest.files:
                if file.path in names:
                    export.copy(lies / file.path, file, new / names[file.path])


def _adapter(found: versions.Found) -> list[Part]:
    """The adapter's files, and the tokenizer with the template it was trained on, which lies with the merged model;
    Refused where all weights were trained, Corrupt where the adapter is gone."""
    receipt = found.input("adapter")
    if receipt is None:
        raise Corrupt(
            "the adapter of this version is not in the store any more",
            value=f"{found.version}",
            remedy="leave --adapter out: the merged model is there",
        )
    manifest = found.platform.store.manifest(receipt)
    names = {file.path: file.path for file in manifest.files if file.path.startswith("adapter_")}
    if not names:
        raise Refused(
            "this version has no adapter: all its weights were trained",
            value=f"{found.version}",
            remedy="leave --adapter out",
        )
    return [(manifest, names), (found.model, _beside(found.model, TOKENIZER))]


def _beside(artifact: Manifest, prefix: str) -> dict[str, str]:
    return {file.path: file.path.removeprefix(prefix) for file in artifact.files if file.path.startswith(prefix)}


def belongs_on(found: versions.Found) -> str:
    """In words, on which base the adapter belongs."""
    weights = found.model.inputs["weights"]
    training = json.loads(found.platform.store.read(found.model.inputs["adapter"], "training.json"))
    four_bit = ", in 4 bits (NF4) when it was trained" if training.get("quantization") else ""
    return f"{line(found.base_name())} in {weights.summary.get('dtype')} (content sha256 {weights.content_sha256}){four_bit}"


def _name_base(found: versions.Found, config: Path) -> None:
    """A base from a hub is named so that PEFT finds it; any other keeps the hash that it was trained on."""
    name, _, revision = fetched_as(found.origin()).partition("@")
    if name:
        told = json.loads(config.read_bytes()) | {"base_model_name_or_path": name, "revision": revision or None}
        config.write_text(json.dumps(told, indent=2, sort_keys=True) + "\n")


def _tell(found: versions.Found, folder: Path, need: int, base: str) -> None:
    at = json.dumps(str(folder))
    screen.say(f"{found.version} is in {folder} ({size(need)}, every sha256 checked). Its card: {folder / 'README.md'}")
    if base:
        lies = found.input("weights")
        screen.say(f"It belongs on {base}.")
        place = lies and (lies.summary.get("weights") or lies.uri)  # where the store only refers to them, it says so
        screen.say(f"That base lies at {place}" if place else "That base is not in the store any more.")
        screen.say(f'  PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("<that base>"), {at})')
    else:
        screen.say(f"  AutoModelForCausalLM.from_pretrained({at}), AutoTokenizer.from_pretrained({at})")
        screen.say(f"  vllm serve {at}")
