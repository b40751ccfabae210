"""Questions are listed as lm-eval would ask them, by the kinds of tasks that there are; without a model or a secret."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import BadTask
from infra.settings import Platform
from tasks.evaluation import stage
from tasks.evaluation.config import EvaluateConfig

pytestmark = pytest.mark.heavy

# A group of the four forms that a question can have: generated, chosen, several beginnings with one end, a whole text.
GROUP = """
group: forms
task: [written, chosen, begun, whole]
"""
TASKS = {
    "written": 'output_type: generate_until\ndoc_to_text: "Q: {{question}}\\nA:"\ndoc_to_target: "{{answers}}"',
    "chosen": "output_type: multiple_choice\ndoc_to_text: question\ndoc_to_target: right\ndoc_to_choice: choices",
    "begun": "output_type: multiple_choice\ndoc_to_text: right\ndoc_to_target: end\ndoc_to_choice: choices",
    "whole": 'output_type: loglikelihood_rolling\ndoc_to_text: ""\ndoc_to_target: question',
}
UTILS = """
import os, sys
from datasets import Dataset, DatasetDict

def load(**_):
    secrets = sum("hush" in value for value in os.environ.values())
    rows = [
        {"question": f"What is {n}, {secrets} {'torch' in sys.modules}?", "answers": ["red", "Rot"], "right": n % 2,
         "choices": ["x red", "y blue"], "end": "ends"}
        for n in range(5)
    ]
    return DatasetDict(validation=Dataset.from_list(rows))
"""


@pytest.fixture
def forms(tmp_path: Path) -> Path:
    folder = tmp_path / "forms"
    folder.mkdir()
    (folder / "forms.yaml").write_text(GROUP)
    (folder / "utils.py").write_text(UTILS)
    for name, text in TASKS.items():
        head = f"task: {name}\ncustom_dataset: !function utils.load\nvalidation_split: validation\n"
        (folder / f"{name}.yaml").write_text(head + text + "\n")
    return folder


def config(folder: Path, **fields: Any) -> EvaluateConfig:
    given = {"tasks": ["forms"], "include_path": str(folder), "trust_tasks": True}
    return EvaluateConfig.model_validate(given | fields)


def test_every_form_of_question_is_listed_without_model_or_secret(
    platform: Platform, forms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hush")
    receipt = stage.questions(config(forms, limit=1), platform)
    assert receipt.summary == {"n": dict.fromkeys(TASKS, 5)}
    lines = [json.loads(line) for line in platform.store.read(receipt, "questions.jsonl").splitlines()]
    assert [(line["task"], line["doc_id"]) for line in lines] == [(task, n) for task in sorted(TASKS) for n in range(5)]
    second = {line["task"]: (line["text"], line["targets"], line["choices"]) for line in lines if line["doc_id"] == 1}
    asked, choices = "What is 1, 0 False?", ["x red", "y blue"]
    assert second == {
        "written": (f"Q: {asked}\nA:", ["red", "Rot"], []),
        "chosen": (asked, ["y blue"], choices),
        "begun": ("y blue", ["ends"], choices),
        "whole": (asked, [asked], []),
    }
    assert len({line["doc_hash"] for line in lines}) == 5


def test_the_key_has_what_decides_which_documents_are_asked(forms: Path, tmp_path: Path) -> None:
    first = stage.questions_step(config(forms)).key
    same = config(
        forms,
        limit=3,
        num_fewshot=3,
        dtype="float32",
        batch_size=1,
        seed=7,
        baseline_num_fewshot=5,
        tasks=["forms"] * 2,
    )
    assert stage.questions_step(same).key == first
    assert stage.questions_step(config(forms.rename(tmp_path / "moved"))).key == first
    moved = tmp_path / "moved"
    other = config(moved, tasks=["written"])
    (moved / "more.txt").write_text("read by a task")
    assert len({first, *(stage.questions_step(one).key for one in (other, config(moved)))}) == 3


def test_a_task_folder_is_not_run_until_it_is_trusted(forms: Path) -> None:
    with pytest.raises(BadTask, match="code"):
        stage.questions_step(config(forms, trust_tasks=False))


@pytest.mark.slow
def test_a_mistake_in_a_task_is_refused_with_its_place(platform: Platform, forms: Path) -> None:
    (forms / "utils.py").write_text("def load(**_):\n    raise KeyError('column')\n")
    with pytest.raises(BadTask, match="column") as refused:
        stage.questions(config(forms), platform)
    assert refused.value.place == "utils.py:2"


@pytest.mark.slow
def test_rows_that_are_not_beside_a_task_are_named(platform: Platform, forms: Path) -> None:
    rows = "dataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\ntest_split: test\n"
    (forms / "written.yaml").write_text(f"task: written\n{rows}{TASKS['written']}\n")
    with pytest.raises(BadTask, match=r"'\./rows\.jsonl'") as refused:
        stage.questions(config(forms), platform)
    assert refused.value.place == "evaluate.include_path"
