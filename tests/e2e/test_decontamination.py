"""From lm-eval's task files to the rows that hold a question, with real workers: the quickstart's rows hold none."""

import json
from pathlib import Path

import pytest

from infra.settings import Settings
from infra.storage.receipt import Receipt
from pipelines.recipe import load
from tasks.base import stage as base
from tasks.data import stage as data
from tasks.evaluation import stage as evaluation
from tests.e2e import recipes

pytestmark = pytest.mark.heavy

TICKETS = Path(__file__).parents[2] / "configs" / "tickets"


def test_a_held_out_ticket_among_the_rows_is_found_and_the_quickstarts_own_rows_are_clean(tmp_path: Path) -> None:
    platform = Settings(home=tmp_path / "home", store="").platform()
    held = json.loads((TICKETS / "heldout.jsonl").read_text(encoding="utf-8").splitlines()[7])
    question, answer = held["prompt"], held["expected"]
    planted = tmp_path / "planted.jsonl"
    planted.write_text(json.dumps({"text": f"Seen before: {question.upper()} → {answer}"}) + "\n", encoding="utf-8")

    recipe = load("quickstart")
    with_one = recipe.data.model_copy(update={"train_files": [*recipe.data.train_files, str(planted)]})
    questions = evaluation.questions(recipe.evaluate, platform)
    overlap = data.overlap(with_one, questions, platform)
    assert questions.summary["n"] == {"tickets": 60}
    figures = [overlap.summary[name] for name in ("rows", "rows_hit", "questions", "questions_hit", "answers_hit")]
    assert figures == [401, 1, 60, 1, 1]
    (hit,) = json.loads(platform.store.read(overlap, "overlap.json"))["hits"]
    assert (hit["place"], hit["task"], hit["doc_id"]) == ("planted.jsonl:1", "tickets", 7)
    assert data.overlap(with_one, questions, platform) == overlap


@pytest.mark.slow
def test_another_evaluation_that_finds_the_same_rows_makes_no_dataset_anew(tmp_path: Path) -> None:
    platform = Settings(home=tmp_path / "home", store="").platform()
    recipe = load(str(recipes.write(tmp_path / "project", data={"decontamination": "drop"})))
    tokenizer = base.tokenizer(recipe.base, platform)

    def prepared() -> tuple[Receipt, Receipt]:
        overlap = data.overlap(recipe.data, evaluation.questions(recipe.evaluate, platform), platform)
        return overlap, data.run(recipe.data, tokenizer, platform, overlap)

    overlap, dataset = prepared()
    report = json.loads(platform.store.read(dataset, "report.json"))
    assert overlap.summary["questions_hit"] == 6
    assert report["dropped_why"] == {"in the evaluation": overlap.summary["rows_hit"]}

    documents = tmp_path / "project" / "tasks" / "documents.jsonl"
    asked = documents.read_text(encoding="utf-8")
    documents.write_text(asked + json.dumps({"prompt": "What does no row ask?", "answer": "This."}) + "\n")
    more, again = prepared()
    assert more.summary["questions"] == 7
    assert more.content_sha256 != overlap.content_sha256
    assert again == dataset

    documents.write_text(asked.splitlines()[1] + "\n")
    fewer, other = prepared()
    assert fewer.summary["rows_hit"] == 1
    assert other.key != dataset.key
    assert other.summary["dropped"] == 1
