"""Reads the scores, judges, and writes the verdict for machines and for people."""

import json
from pathlib import Path
from typing import Any

from infra.launch.work import Summary, Work, main
from tasks.gate.comparing import Compared, compare
from tasks.gate.config import GateConfig
from tasks.gate.picture import PICTURE, drawn
from tasks.gate.prompting import prompting, told
from tasks.gate.report import meaning, page
from tasks.gate.samples import paired
from tasks.gate.verdict import Scores, judge
from tasks.gate.worse import Worse, worse

ROLES = {"baseline": "base", "fewshot": "base", "incumbent": "in production", "scores": "tuned"}


def work(job: Work[GateConfig]) -> Summary:
    """Fill verdict.json, verdict.md and, where there is a version in production, a picture of the differences."""
    scores = {name: _scores(job.inputs[name]) for name in ROLES if name in job.inputs}
    verdict = judge(job.config, scores["baseline"], scores["scores"], _compared(job), _worse(job), _prompting(job))
    columns = {_heading(name, job.inputs[name]): score for name, score in scores.items()}
    enough = " ".join(told(verdict.prompting, _shots(job.inputs["fewshot"]))) if verdict.prompting else ""
    text = json.dumps(verdict.model_dump(mode="json"), indent=2) + "\n"
    (job.out / "verdict.json").write_text(text, encoding="utf-8")
    (job.out / "verdict.md").write_text(page(verdict, columns, enough), encoding="utf-8")
    if verdict.compared:
        (job.out / PICTURE).write_text(drawn(verdict), encoding="utf-8")
    summary: Summary = {"promote": verdict.promote, "outcome": verdict.outcome, "failed": list(verdict.failed())}
    if verdict.compared:
        summary |= {"against": verdict.against, "meaning": meaning(verdict)}
    return summary | ({"prompting": enough} if enough else {})


def _compared(job: Work[GateConfig]) -> list[Compared]:
    if "incumbent" not in job.inputs:
        return []
    ours, theirs = job.inputs["scores"], job.inputs["incumbent"]
    asked = {one: paired(one, ours, theirs) for one in job.config.comparisons()}
    return compare(asked, job.config.incumbent)


def _worse(job: Work[GateConfig]) -> list[Worse]:
    if "incumbent" not in job.inputs:
        return []
    ours, theirs = job.inputs["scores"], job.inputs["incumbent"]
    questions = job.inputs.get("questions")
    return [one for asked in job.config.comparisons() for one in worse(asked, ours, theirs, questions)]


def _prompting(job: Work[GateConfig]) -> list[Compared]:
    return prompting(job.config, job.inputs["scores"], job.inputs["fewshot"]) if "fewshot" in job.inputs else []


def _scores(folder: Path) -> Scores:
    """task → metric → value, as the evaluation stage stored them."""
    return {
        task: {name: entry["value"] for name, entry in metrics.items()}
        for task, metrics in _json(folder / "results.json").items()
    }


def _heading(name: str, folder: Path) -> str:
    return f"{ROLES[name]} {_shots(folder)}-shot"


def _shots(folder: Path) -> int:
    return int(_json(folder / "spec.json")["num_fewshot"])


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main(GateConfig, work)
