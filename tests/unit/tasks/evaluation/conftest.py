"""What evaluation's tests share: a platform, artifacts of a tiny random model, and a folder of tasks."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.settings import Platform, Settings
from infra.storage.receipt import Manifest, Receipt, content_sha256
from tests import tiny

TASK = """
task: colours
custom_dataset: !function utils.load
test_split: test
fewshot_split: train
fewshot_config: {sampler: first_n}
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
target_delimiter: ""
process_results: !function utils.score
generation_kwargs: {until: ["\\n"], do_sample: false, max_gen_toks: 4}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
  - {metric: secrets, aggregation: mean, higher_is_better: false}
"""
CHOICE = """
task: choices
custom_dataset: !function utils.load
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
doc_to_choice: ["red", "blue"]
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
# Scores how many secrets it can see, so that the stored results prove that there are none.
UTILS = """
import os
from datasets import Dataset, DatasetDict

def load(**_):
    rows = [{"question": f"What is {n}?", "answer": "red" if n % 2 else "blue"} for n in range(6)]
    return DatasetDict(test=Dataset.from_list(rows), train=Dataset.from_list(rows))

def score(doc, results):
    secrets = [name for name, value in os.environ.items() if "hush" in value]
    return {"exact_match": float(results[0] == doc["answer"]), "secrets": float(len(secrets))}
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return Settings(home=tmp_path_factory.mktemp("home")).platform()


@pytest.fixture(scope="module")
def committed(platform: Platform) -> Callable[[str, Path], Receipt]:
    """Commits a folder as the artifact of a stage."""

    def commit(stage: str, folder: Path) -> Receipt:
        key = uuid.uuid4().hex
        files = platform.store.upload(folder, f"stages/{stage}/{key}/a")
        manifest = Manifest(
            stage=stage,
            version=1,
            key=key,
            attempt="a",
            files=files,
            content_sha256=content_sha256(stage, files),
            config={},
            inputs={},
            summary={},
            versions={},
            created="2026-01-01",
        )
        return platform.store.receipt(platform.store.commit(manifest))

    return commit


@pytest.fixture(scope="module")
def tokenizer(committed: Callable[[str, Path], Receipt], tmp_path_factory: pytest.TempPathFactory) -> Receipt:
    return committed("tokenizer", tiny.tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def model(committed: Callable[[str, Path], Receipt], tmp_path_factory: pytest.TempPathFactory) -> Receipt:
    return committed("weights", tiny.model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tasks and the code that they call."""
    made = tmp_path / "tasks"
    made.mkdir()
    (made / "colours.yaml").write_text(TASK)
    (made / "choices.yaml").write_text(CHOICE)
    (made / "utils.py").write_text(UTILS)
    return made
