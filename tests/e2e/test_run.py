"""`luthier run` as a user types it: a whole run, its version rerun and verified, a changed merge; and a run that was killed."""

import json
import math
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests import tiny
from tests.e2e import recipes
from tests.e2e.commands import BIN, plain, run

STAGES = (
    "tokenizer",
    "weights",
    "questions",
    "overlap",
    "data",
    "training",
    "merging",
    "evaluation",
    "gate",
    "registry",
)


def luthier(home: Path, recipe: Path, *more: str) -> "subprocess.Popen[str]":
    """The command in a process of its own, its output in `home`/log."""
    home.mkdir(exist_ok=True)
    with (home / "log").open("a") as log:
        return subprocess.Popen(
            [str(BIN / "luthier"), "run", str(recipe), *more],
            env={**os.environ, "LUTHIER_HOME": str(home), "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )


def finish(running: "subprocess.Popen[str]", home: Path) -> str:
    """Wait for its end, which must be a good one; everything said so far."""
    status = running.wait(timeout=400)
    said = (home / "log").read_text()
    assert status == 0, said[-6000:]
    return said


def say(home: Path, *arguments: str) -> str:
    """Another command on the same home, to its good end."""
    return run([str(BIN / "luthier"), *arguments], {**plain(), "LUTHIER_HOME": str(home)}, timeout_s=400)


def worked(home: Path) -> dict[str, int]:
    """How many workers each stage has started."""
    jobs = home / "store" / "jobs"
    return {stage: len(list((jobs / stage).glob("*/*/spec.json"))) for stage in STAGES}


def summary(home: Path, stage: str) -> dict[str, object]:
    """The summary of a stage's only manifest."""
    (manifest,) = (home / "store" / "stages" / stage).glob("*/MANIFEST.json")
    found: dict[str, object] = json.loads(manifest.read_text())["summary"]
    return found


def test_a_whole_run_then_nothing_is_done_twice_and_a_new_merge_redoes_only_what_follows(tmp_path: Path) -> None:
    recipe, home = recipes.write(tmp_path / "project"), tmp_path / "home"
    said = finish(luthier(home, recipe), home)
    once = dict.fromkeys(STAGES, 1) | {"evaluation": 2}
    assert worked(home) == once
    assert "tiny-tickets version 1" in said
    assert summary(home, "registry")["promoted"] is True

    say(home, "rerun", "tiny-tickets/1")  # the same recipe, out of the commit records
    assert worked(home) == once
    assert "all as committed" in say(home, "verify", "--all")

    finish(
        luthier(home, recipe, "--set", "merge.base=original", "--set", "merge.max_kl=5", "--set", "merge.min_top1=0"),
        home,
    )
    now = worked(home)
    assert now.pop("gate") in (1, 2)  # equal scores need no new verdict
    assert now == {stage: count for stage, count in once.items() if stage != "gate"} | {
        "merging": 2,
        "evaluation": 3,
        "registry": 2,
    }


@pytest.mark.proof
def test_everything_that_a_version_was_made_of_comes_out_the_same_and_is_told(tmp_path: Path) -> None:
    recipe, home = recipes.write(tmp_path / "project"), tmp_path / "home"
    finish(luthier(home, recipe), home)
    (rows,) = (home / "store" / "stages" / "data").glob("*/MANIFEST.json")
    assert [file["uri"] for file in json.loads(rows.read_text())["origins"]] == [str(recipe.parent / "rows.jsonl")]
    explained = say(home, "explain", "tiny-tickets", "--svg", str(tmp_path / "it.svg"))
    for words in ("rows.jsonl", "licence apache-2.0", "deepspeed", "@candidate, set by its run"):
        assert words in explained
    before = worked(home)
    said = say(home, "rerun", "tiny-tickets/1", "--check")
    assert "every artifact came out equal" in said
    assert worked(home) == before, "nothing of the store was used or changed"
    assert not list((home / "work").glob("rerun-*"))
    said = say(
        home, "rerun", "tiny-tickets/1", "--check", "--from", "evaluation", "--store", f"file://{tmp_path}/fresh"
    )
    assert "every artifact came out equal" in said
    assert not list((tmp_path / "fresh" / "jobs" / "training").glob("*"))
    (recipe.parent / "rows.jsonl").write_text('{"messages": []}\n')
    refused = run(
        [str(BIN / "luthier"), "rerun", "tiny-tickets/1"], {**plain(), "LUTHIER_HOME": str(home)}, 100, status=2
    )
    assert "rows.jsonl: changed" in refused


@pytest.mark.proof  # CI has the same kill, with equal bytes after it, in test_training.py
def test_a_run_killed_in_training_leaves_no_orphan_and_the_same_command_finishes_it(tmp_path: Path) -> None:
    recipe, home = recipes.write(tmp_path / "project", train={"max_steps": 60, "save_steps": 5}), tmp_path / "home"
    victim = luthier(home, recipe)
    checkpoints = home / "store" / "stages" / "training"
    wait_until(lambda: any(checkpoints.rglob("COMMIT.json")), victim)
    below = psutil.Process(victim.pid).children(recursive=True)
    assert len(below) >= 4  # worker, torchrun, two ranks
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    _, alive = psutil.wait_procs(below, timeout=60)
    assert [process for process in alive if "tasks." in " ".join(process.cmdline())] == []
    for process in alive:  # Prefect's own embedded server is not ours to watch
        process.kill()

    finish(luthier(home, recipe), home)
    assert worked(home) == dict.fromkeys(STAGES, 1) | {"training": 2, "evaluation": 2}
    trained = summary(home, "training")
    assert str(trained["resumed_from"]).startswith("checkpoint-")
    assert trained["steps"] == 60


def wait_until(condition: object, running: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + 300
    while not condition():  # type: ignore[operator]
        assert running.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.proof
def test_documents_are_learned_end_to_end(tmp_path: Path) -> None:
    recipe = recipes.write(
        tmp_path / "project",
        data={"train_files": ["documents.jsonl"], "overlong": "split", "max_length": 64},
        train={"tuning": {"method": "full"}, "max_steps": 20, "save_steps": 10, "learning_rate": 5.0e-3},
    )
    rows = tiny.rows(120)
    documents = [{"text": "\n".join(turn["content"] for turn in row["messages"] * 3)} for row in rows]
    (recipe.parent / "documents.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    home = tmp_path / "home"
    assert "tiny-tickets version 1" in finish(luthier(home, recipe), home)
    data, training = summary(home, "data"), summary(home, "training")
    assert data["split"] == data["train_rows"] + data["validation_rows"] == 120  # type: ignore[operator]
    assert data["dropped"] == 0
    assert training["loss"] < 0.7 * math.log(tiny.VOCAB), "random weights know nothing of the vocabulary"  # type: ignore[operator]
