"""Reads the scores, judges, and writes the verdict for machines and for people."""

import json
from pathlib import Path
from typing import Any

from infra.launch.work import Summary, Work, main
from tasks.gate.config import GateConfig
from tasks.gate.report import page
from tasks.gate.verdict import Scores, judge


def work(job: Work[GateConfig]) -> Summary:
    """Fill verdict.json and verdict.md."""
    scores = {name: _scores(folder) for name, folder in job.inputs.items()}
    verdict = judge(job.config, scores["baseline"], scores["scores"])
    columns = {
        _heading(name, job.inputs[name]): scores[name] for name in ("baseline", "fewshot", "scores") if name in scores
    }
    text = json.dumps(verdict.model_dump(mode="json"), indent=2) + "\n"
    (job.out / "verdict.json").write_text(text, encoding="utf-8")
    (job.out / "verdict.md").write_text(page(verdict, columns), encoding="utf-8")
    return {"promote": verdict.promote, "failed": list(verdict.failed())}


def _scores(folder: Path) -> Scores:
    """task → metric → value, as the evaluation stage stored them."""
    return {
        task: {name: entry["value"] for name, entry in metrics.items()}
        for task, metrics in _json(folder / "results.json").items()
    }


def _heading(name: str, folder: Path) -> str:
    shots = _json(folder / "spec.json")["num_fewshot"]
    return f"{'tuned' if name == 'scores' else 'base'} {shots}-shot"


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main(GateConfig, work)
