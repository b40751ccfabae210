"""A tiny model that learns to send a ticket to the right team: a run with something to see on every page."""

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.numpy import load_file, save_file

from tests.e2e import recipes

NAME = "ticket-teams"
TEAMS = {
    "printer": "red",
    "router": "green",
    "laptop": "blue",
    "badge": "amber",
    "invoice": "violet",
    "parcel": "white",
}
FAULTS = ("is broken", "does not start", "was lost", "makes a noise", "is too slow", "has expired")
TASK = """\
task: teams
dataset_path: json
dataset_kwargs: {{data_files: {{test: {exam}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{completion}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 4, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""


def write(folder: Path) -> Path:
    """Rows, an exam of others, the model and a recipe over them in `folder`; the recipe's path."""
    recipe = recipes.write(
        folder,
        base={"model_name_or_path": str(folder / "tiny-llama")},
        data={"max_length": 64},
        train={
            "tuning": {"method": "qlora", "lora_r": 16, "lora_alpha": 32},
            "learning_rate": 5.0e-3,
            "train_batch_size": 8,
            "max_steps": 40,
            "save_steps": 20,
        },
        evaluate={"tasks": ["teams"]},
        gate={"bars": [{"task": "teams", "metric": "exact_match", "min": 0.5, "min_gain": 0.3}]},
        register={"name": NAME},
    )
    base = (folder / "model").rename(folder / "tiny-llama")
    sharpen(base / "model.safetensors")
    rows = tickets()
    exam = folder / "tasks" / "exam.jsonl"
    exam.write_text(lines(rows[:24]))
    (folder / "rows.jsonl").write_text(lines([conversation(row) for row in rows[24:]]))
    (folder / "tasks" / "teams.yaml").write_text(TASK.format(exam=exam))
    return recipe


def sharpen(weights: Path) -> None:
    """Let a model of random weights be sure of something: its output is the tied embedding, which no adapter changes."""
    held = load_file(weights)
    held["model.norm.weight"] *= 8
    save_file(held, weights, metadata={"format": "pt"})


def tickets() -> list[dict[str, str]]:
    """Every thing with every fault, some of them urgent, in an order that is always the same."""
    found = [
        {"prompt": f"My {thing} {fault}.{hurry}", "completion": team}
        for (thing, team), fault, hurry in itertools.product(TEAMS.items(), FAULTS, ("", " Please look at it soon."))
    ]
    random.Random(0).shuffle(found)
    return found


def conversation(row: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    turns = (("user", "prompt"), ("assistant", "completion"))
    return {"messages": [{"role": role, "content": row[field]} for role, field in turns]}


def lines(rows: Sequence[Mapping[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
