"""Two committed datasets, told apart by what the store holds of them: their sources are gone."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Refused
from infra.frozen import Frozen
from infra.launch.step import Step, spec
from infra.launch.work import Work, commit
from infra.settings import Platform, Settings
from infra.storage.receipt import Receipt
from tasks.data import changes, diff_page, diff_worker, diffing, stage, worker
from tasks.data.changes import Changes, Question
from tasks.data.config import DataConfig
from tests import tiny

pytestmark = pytest.mark.heavy

Commit = Callable[..., Receipt]
Ask = Callable[..., Changes]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return Settings(home=tmp_path_factory.mktemp("home"), store="").platform()


def put(platform: Platform, name: str, folder: Path) -> Receipt:
    """A folder as an artifact."""
    step = Step(name, 1, Frozen(), material={"one": uuid.uuid4().hex})
    return commit(platform, spec(step, uuid.uuid4().hex), folder, {})


@pytest.fixture
def committed(platform: Platform, tokenizer_folder: Path, tmp_path: Path) -> Commit:
    """Commits a dataset of rows, and removes their file."""
    tokenizer = put(platform, "tokenizer", tokenizer_folder)

    def of(rows: list[Any], name: str = "rows.jsonl", **fields: Any) -> Receipt:
        room = tmp_path / uuid.uuid4().hex
        (room / "out").mkdir(parents=True)
        path = room / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = DataConfig.model_validate({"train_files": [str(path)], "num_proc": 1, "validation_split": 0} | fields)
        told = spec(stage.step(config, tokenizer), uuid.uuid4().hex)
        job = Work(config, {"tokenizer": tokenizer_folder}, told, platform, room / "out", room)
        made = commit(platform, told, job.out, worker.work(job), job.parts)
        path.unlink()
        return made

    return of


@pytest.fixture
def ask(platform: Platform, tmp_path: Path) -> Ask:
    def of(before: Receipt, after: Receipt, rows: int = 10) -> Changes:
        room = tmp_path / uuid.uuid4().hex
        return diffing.look(Question(before=before, after=after, rows=rows, scratch=room), platform)

    return of


def text(shown: Any) -> str:
    return "".join(part.text for part in shown.parts)


def test_rows_that_left_came_and_changed_are_shown(committed: Commit, ask: Ask) -> None:
    rows = tiny.rows(30)
    other = {"messages": [*rows[3]["messages"][:-1], {"role": "assistant", "content": "Quite another answer"}]}
    new = {"prompt": "q", "completion": "<script>alert(1)</script>"}
    told = ask(committed(rows), committed([*rows[:3], other, *rows[5:], new], max_length=4096))
    assert (told.same, told.changed, told.removed, told.added) == (28, 1, 1, 1)
    (changed,), (removed,), (added,) = (told.examples[kind] for kind in ("changed", "removed", "added"))
    assert changed.before is not None
    assert changed.after is not None
    assert "Quite another answer" in text(changed.after)
    assert (changed.before.place, changed.after.place) == ("rows.jsonl:4", "rows.jsonl:4")
    assert [part.text for part in changed.after.parts if part.learned][-1] == f"Quite another answer{tiny.END}"
    assert removed.before is not None
    assert removed.before.place == "rows.jsonl:5"
    assert added.after is not None
    assert added.after.place == "rows.jsonl:30"
    assert (told.before.rows, told.after.rows) == (30, 30)
    assert told.settings == {"max_length": (2048, 4096)}
    assert told.one_tokenizer
    page = diff_page.page(told, "a.yaml", "<b>")
    assert "<script" not in page
    assert "Quite another answer" in page


def test_the_answers_of_a_pair_are_told_apart(committed: Commit, ask: Ask) -> None:
    pairs = [{"prompt": f"{at} and 1?", "chosen": f"It is {at + 1}.", "rejected": "No idea."} for at in range(9)]
    told = ask(committed(pairs), committed([*pairs[:-1], pairs[8] | {"rejected": "Why?"}]))
    (changed,) = told.examples["changed"]
    for side, wrong in ((changed.before, "No idea."), (changed.after, "Why?")):
        assert side is not None
        answers = [(part.text.removesuffix(tiny.END), part.rejected) for part in side.parts if part.learned]
        assert answers == [("It is 9.", False), (wrong, True)]
    page = diff_page.page(told, "a", "b")
    assert page.count('<del class="rejected"') == 2
    assert "answers that people did not want" in page
    liked = [
        {"prompt": pair["prompt"], "completion": pair["chosen"], "label": at != 4} for at, pair in enumerate(pairs)
    ]
    other = [*liked[:4], liked[4] | {"label": True}, *liked[5:]]
    fields = {"format": "unpaired_preference"}
    (changed,) = ask(committed(liked, **fields), committed(other, **fields)).examples["changed"]
    sides = [[part.rejected for part in side.parts if part.learned] for side in (changed.before, changed.after) if side]
    assert sides == [[True], [False]], "the same answer, liked now"


def test_a_dataset_is_itself(committed: Commit, ask: Ask) -> None:
    one = committed(tiny.rows(20))
    told = ask(one, one)
    assert (told.same, told.changed, told.removed, told.added) == (20, 0, 0, 0)
    assert told.before == told.after
    assert told.distance == 0
    assert told.examples == {"added": (), "removed": (), "changed": ()}


def test_the_process_answers_or_says_what_is_wrong(
    committed: Commit, platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in platform.environment().items():
        monkeypatch.setenv(name, value)
    one, two = committed(tiny.rows(20)), committed(tiny.rows(21))
    told = changes.ask(Question(before=one, after=two, rows=1, scratch=tmp_path / "scratch"))
    assert (told.same, told.added) == (20, 1)
    gone = one.model_copy(update={"content_sha256": "0" * 64})
    with pytest.raises(Exception, match="not committed"):
        changes.ask(Question(before=gone, after=two, rows=1, scratch=tmp_path / "more"))


def test_one_that_tells_no_places_is_refused(platform: Platform, tmp_path: Path, ask: Ask, committed: Commit) -> None:
    one = committed(tiny.rows(20))
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "index.json").write_text('{"prompt_loss_weight":0.1}')
    old = put(platform, "data", tmp_path / "old")
    with pytest.raises(Refused, match="does not tell where its rows stood"):
        ask(old, one)


def test_the_comparison_with_a_version_stays_as_pages_and_counts(
    committed: Commit, platform: Platform, tmp_path: Path
) -> None:
    rows = tiny.rows(31)  # as of no other test: what is committed keeps the names of its files
    before, after = committed(rows, "`a|b`.jsonl"), committed(rows[:20], max_length=4096)
    overlap = after.model_copy(update={"summary": {"questions": 60, "questions_hit": 7}})
    step = stage.diff_step("tickets/3", before, after, overlap)
    told, room = spec(step, uuid.uuid4().hex), tmp_path / "job"
    (room / "out").mkdir(parents=True)
    summary = diff_worker.work(Work(step.config, {}, told, platform, room / "out", room))
    assert (summary["since"], summary["same"], summary["removed"]) == ("tickets/3", 20, 11)
    page = (room / "out" / "diff.md").read_text()
    assert "| rows that left |  | 11 |" in page
    assert "Of 60 questions of the evaluation 7 stand in the rows of now." in page
    assert "| max_length | `2048` | `4096` |" in page
    assert "'a¦b'.jsonl` | 31 | 0 |" in page
    assert Changes.model_validate_json((room / "out" / "diff.json").read_text()).removed == 11
    assert "the data of tickets/3" in (room / "out" / "diff.html").read_text()


def test_the_key_of_a_comparison_has_both_datasets(committed: Commit) -> None:
    one, other = committed(tiny.rows(5)), committed(tiny.rows(6))
    assert stage.diff_step("t/1", one, other).key != stage.diff_step("t/1", other, one).key
    assert stage.diff_step("t/1", one, other).worker == "tasks.data.diff_worker"
