"""The gate as a stage: real worker, scores as the evaluation stage stores them."""

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from infra.errors import BadTask
from infra.settings import Platform, Settings
from infra.storage.receipt import Manifest, Receipt, content_sha256
from tasks.gate import stage, worker
from tasks.gate.config import Bar, GateConfig
from tests import jobs


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.delenv("LUTHIER_STORE", raising=False)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    return Settings().platform()


def samples(value: float, documents: str) -> list[str]:
    """Sixty documents, of which this share was answered right."""
    hashes = {"prompt_hash": "p", "target_hash": "t", "filter": "none", "response": ["x"]}
    return [
        json.dumps({"doc_id": number, "doc_hash": f"{documents}{number}", "metrics": {"exact_match": right}} | hashes)
        + "\n"
        for number in range(60)
        for right in [float(number < round(60 * value))]
    ]


def scores(platform: Platform, folder: Path, value: float, shots: int = 0, documents: str = "d") -> Receipt:
    key = uuid.uuid4().hex
    folder = folder / key
    folder.mkdir()
    entry = {"value": value, "stderr": None, "n": 60, "higher_is_better": True}
    (folder / "results.json").write_text(json.dumps({"tickets": {"exact_match": entry}}))
    (folder / "spec.json").write_text(json.dumps({"num_fewshot": shots}))
    (folder / "samples").mkdir()
    (folder / "samples" / "tickets.jsonl").write_text("".join(samples(value, documents)))
    files = platform.store.upload(folder, f"stages/evaluation/{key}/a")
    manifest = Manifest(
        stage="evaluation",
        version=1,
        key=key,
        attempt="a",
        files=files,
        content_sha256=content_sha256("evaluation", files),
        config={},
        inputs={},
        summary={},
        versions={},
        created="2026-01-01",
    )
    return platform.store.receipt(platform.store.commit(manifest))


def test_promote_and_hold_are_both_results(platform: Platform, tmp_path: Path) -> None:
    base, few, tuned = (scores(platform, tmp_path, *args) for args in [(0.0, 0), (0.3, 5), (0.95, 0)])
    passed = stage.run(
        GateConfig(bars=[Bar(task="tickets", metric="exact_match", min=0.9)]), base, tuned, platform, few
    )
    enough = "On tickets it is shown to be better than the base with 5 examples in its prompt (0.95 beside 0.3 in exact_match on 60 documents)."
    assert passed.summary == {"promote": True, "outcome": "promote", "failed": [], "prompting": enough}
    text = platform.store.read(passed, "verdict.md").decode()
    assert "| task | metric | base 0-shot | base 5-shot | tuned 0-shot | change |" in text
    assert "| tickets | exact_match | 0 | 0.3 | 0.95 | +0.95 |" in text
    assert enough in text
    held = stage.run(GateConfig(bars=[Bar(task="tickets", metric="exact_match", min_gain=0.99)]), base, tuned, platform)
    assert held.summary["promote"] is False
    assert json.loads(platform.store.read(held, "verdict.json"))["checks"][0]["passed"] is False
    assert held.summary["failed"] == ["tickets exact_match: 0.95 (base 0), asked ≥ base + 0.99"]


def judged(platform: Platform, gate: GateConfig, **inputs: Receipt) -> Receipt:
    """A verdict by the worker in this process, under the inputs' names that the step gives them."""
    assert stage.step(gate, **inputs).inputs == inputs
    return jobs.made(platform, "gate", gate, inputs, worker.work)


def test_a_model_is_compared_with_the_version_in_production_document_by_document(
    platform: Platform, tmp_path: Path
) -> None:
    base, older, tuned, worse = (scores(platform, tmp_path, value) for value in (0.0, 0.8, 1.0, 0.4))
    gate = GateConfig(bars=[Bar(task="tickets", metric="exact_match", min=0.1)]).against("tickets/3")
    passed = judged(platform, gate, baseline=base, scores=tuned, incumbent=older)
    assert (passed.summary["outcome"], passed.summary["against"]) == ("promote", "tickets/3")
    (row,) = json.loads(platform.store.read(passed, "verdict.json"))["compared"]
    assert (row["n"], row["gained"], row["lost"], row["outcome"]) == (60, 12, 0, "passed")
    assert platform.store.read(passed, "verdict.svg").startswith(b"<svg")
    assert "| in production 0-shot |" in platform.store.read(passed, "verdict.md").decode()
    held = judged(platform, gate, baseline=base, scores=worse, incumbent=older)
    assert (held.summary["promote"], held.summary["outcome"]) == (False, "hold")
    told = platform.store.read(held, "verdict.md").decode()
    assert "## What tickets/3 answers better" in told
    assert "tickets 24: exact_match 1 → 0" in told
    same = judged(platform, gate, baseline=base, scores=older, incumbent=older)
    assert same.summary["outcome"] == "promote"  # 60 documents, none of which differs, and a margin of 0.05


def test_other_documents_are_not_compared(platform: Platform, tmp_path: Path) -> None:
    base, tuned = scores(platform, tmp_path, 0.0), scores(platform, tmp_path, 1.0)
    other = scores(platform, tmp_path, 0.8, documents="changed")
    gate = GateConfig(bars=[Bar(task="tickets", metric="exact_match", min=0.1)]).against("tickets/3")
    with pytest.raises(BadTask, match="different documents"):
        judged(platform, gate, baseline=base, scores=tuned, incumbent=other)


def test_a_bar_on_nothing_reaches_the_flow_as_bad_task(platform: Platform, tmp_path: Path) -> None:
    receipt = scores(platform, tmp_path, 1.0)
    with pytest.raises(BadTask, match="gate asks"):
        stage.run(GateConfig(bars=[Bar(task="tickets", metric="acc", min=0.9)]), receipt, receipt, platform)


def test_the_worker_needs_no_torch() -> None:
    heavy = "import sys, tasks.gate.worker; print(sorted({'torch', 'transformers', 'lm_eval'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
