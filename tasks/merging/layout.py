"""What lies beside the weights of a model or of an adapter, so that others load and use it as it was trained."""

import json
import shutil
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from infra.launch.work import Work
from tasks.merging.config import MergeConfig


def copy_tokenizer(job: Work[MergeConfig], folder: Path) -> None:
    """The tokenizer, with the chat template that the rows were rendered with, which need not be the base's; there is none
    for plain text."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(job.inputs["tokenizer"].iterdir()):
        if file.name != "source.json":
            shutil.copyfile(file, folder / file.name)
    trained = job.inputs["dataset"] / "chat_template.jinja"
    if trained.exists() and trained.stat().st_size:
        shutil.copyfile(trained, folder / trained.name)


def write_generation_config(base: bytes, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """The base's generation_config.json, ending where the rows that were trained on end."""
    config = json.loads(base)
    ends = config.get("eos_token_id")
    ends = ends if isinstance(ends, list) else [ends] if ends is not None else []
    # The answers that were trained on end with the tokenizer's eos; a model that does not stop there talks on.
    if tokenizer.eos_token_id not in ends:
        ends = [tokenizer.eos_token_id, *ends]
    config |= {"eos_token_id": ends[0] if len(ends) == 1 else ends, "pad_token_id": tokenizer.pad_token_id}
    (folder / "generation_config.json").write_text(as_json(config))


def is_licence(name: str) -> bool:
    """Whether a file's name is that of a licence or notice."""
    return name.upper().startswith(("LICENSE", "LICENCE", "NOTICE", "COPYING"))


def as_json(value: object) -> str:
    """JSON for people, the same bytes for the same value."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
