"""A whole recipe on a tiny model: everything that the quickstart has, in seconds."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests import tiny

TASK = """\
task: echo
dataset_path: json
dataset_kwargs:
  data_files: {{test: {documents}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 4, do_sample: false}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""


def write(folder: Path, **overrides: Any) -> Path:
    """A model, rows, an evaluation task and a recipe over them in `folder`; the recipe's path.

    Overrides are sections whose fields win: `train={"max_steps": 8}`.
    """
    model = tiny.model(tiny.tokenizer(folder / "model"))
    rows = tiny.rows(120)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents = [
        {"prompt": row["messages"][-2]["content"], "answer": row["messages"][-1]["content"]} for row in rows[:6]
    ]
    (folder / "tasks").mkdir()
    (folder / "tasks" / "documents.jsonl").write_text("".join(json.dumps(item) + "\n" for item in documents))
    (folder / "tasks" / "echo.yaml").write_text(TASK.format(documents=folder / "tasks" / "documents.jsonl"))
    recipe: dict[str, dict[str, Any]] = {
        "base": {"model_name_or_path": str(model), "license": "apache-2.0", "dtype": "float32"},
        "data": {"train_files": ["rows.jsonl"], "max_length": 256, "validation_split": 0.1},
        "train": {
            "tuning": {"method": "qlora", "lora_r": 4, "lora_alpha": 8},
            "bf16": False,
            "max_steps": 6,
            "save_steps": 2,
            "train_batch_size": 4,
            "num_processes": 2,
            "deepspeed": "zero2",
        },
        "merge": {"dtype": "float32", "parity_prompts": 4},
        "evaluate": {"tasks": ["echo"], "include_path": "tasks", "trust_tasks": True, "baseline_num_fewshot": None},
        "gate": {"bars": [{"task": "echo", "metric": "exact_match", "min": 0.0}]},
        "register": {"name": "tiny-tickets"},
    }
    for section, fields in overrides.items():
        recipe[section] = recipe[section] | fields
    path = folder / "recipe.yaml"
    path.write_text("# When to use it: in tests\n" + yaml.safe_dump(recipe))
    return path
