"""The same rows prepared in the ways that people know, each from the file on: what our own preparation is measured beside."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import tiny
from tests.benchmarks.figures import cpu

AT_ONCE = 512


def raw(tokenizer: Any, path: Path) -> None:
    """What anyone would write who needs neither masks nor checks: one rendering, and the fastest call there is."""
    with path.open(encoding="utf-8") as file:
        conversations = [json.loads(line)["messages"] for line in file]
    texts = tokenizer.apply_chat_template(conversations, tokenize=False)
    for start in range(0, len(texts), AT_ONCE):
        tokenizer.backend_tokenizer.encode_batch_fast(texts[start : start + AT_ONCE], add_special_tokens=False)


def mapped(tokenizer: Any, path: Path) -> None:
    """`datasets.map`, row by row."""
    _map(path, lambda row: {"input_ids": _ids(tokenizer, row["messages"])}, batched=False)


def mapped_in_batches(tokenizer: Any, path: Path) -> None:
    """`datasets.map` with batched=True."""
    _map(path, lambda rows: {"input_ids": _ids(tokenizer, rows["messages"])}, batched=True)


def _ids(tokenizer: Any, messages: Any) -> Any:
    return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)


def _map(path: Path, function: Callable[[Any], Any], batched: bool) -> None:
    with tempfile.TemporaryDirectory() as cache:
        _dataset(path, cache).map(function, batched=batched, remove_columns=["messages"])


def _dataset(path: Path, cache: str) -> Any:
    import datasets  # noqa: PLC0415 - seconds

    datasets.disable_progress_bars()
    return datasets.Dataset.from_json(str(path), cache_dir=cache)


# SmolLM2's template, with the marks that TRL needs to tell answers from the rest.
_MARKED = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}{% endif %}\
{{ '<|im_start|>' + message['role'] + '\\n' }}{% if message['role'] == 'assistant' %}\
{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}\
{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def trl(tokenizer: Any, path: Path) -> float:
    """CPU-seconds of what SFTTrainer does to the rows while it is made, with assistant_only_loss; reading is counted,
    loading a model is not."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - seconds
    from trl import SFTConfig, SFTTrainer  # noqa: PLC0415 - seconds

    spent: list[float] = []

    class Timed(SFTTrainer):  # type: ignore[misc]  # TRL brings no types
        def _prepare_dataset(self, *given: Any, **named: Any) -> Any:
            made: list[Any] = []
            spent.append(cpu(lambda: made.append(super(Timed, self)._prepare_dataset(*given, **named))))
            return made[0]

    own, tokenizer.chat_template = tokenizer.chat_template, _MARKED
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows: list[Any] = []
            spent.append(cpu(lambda: rows.append(_dataset(path, folder))))
            model = AutoModelForCausalLM.from_pretrained(tiny.model(Path(folder) / "model", len(tokenizer)))
            config = SFTConfig(f"{folder}/out", assistant_only_loss=True, use_cpu=True, bf16=False, report_to=[])
            Timed(model, config, train_dataset=rows[0], processing_class=tokenizer)
    finally:
        tokenizer.chat_template = own
    return sum(spent)


def trl_packed(lengths: Any, capacity: int) -> tuple[float, int]:
    """CPU-seconds that TRL's best-fit-decreasing packing of rows of these lengths takes, and the sequences that it makes."""
    import datasets  # noqa: PLC0415 - seconds
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415
    from trl import pack_dataset  # noqa: PLC0415

    datasets.disable_progress_bars()
    edges = np.concatenate([[0], np.cumsum(lengths)])
    ids = pa.LargeListArray.from_arrays(pa.array(edges), pa.array(np.zeros(edges[-1], np.int32)))
    rows = datasets.Dataset(pa.table({"input_ids": ids}))
    made: list[Any] = []
    # One batch is the whole, as TRL packs within batches only.
    spent = cpu(lambda: made.append(pack_dataset(rows, capacity, "bfd", {"batch_size": len(rows)})))
    return spent, len(made[0])
