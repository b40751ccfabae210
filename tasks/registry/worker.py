"""Bring MLflow to what the receipts say: a version with its card, tags and figures, and the alias last."""

import json
import re
import time
from pathlib import PurePosixPath
from typing import Any

from pydantic import JsonValue

from infra.drawing import Box
from infra.launch.work import Summary, Work, main
from infra.storage.hub import fetched_as
from infra.storage.receipt import Manifest, Receipt
from infra.tracking.database import REGISTRATION
from infra.tracking.pages import attach
from infra.tracking.versions import CONTENT, INCUMBENT, Versions
from tasks.registry.card import Card, Figures, Scores, render
from tasks.registry.config import RegisterConfig
from tasks.registry.promotion import VERDICT
from tasks.registry.story import PICTURE, picture, story

REPORT = {"dataset": ("report.html", "report.json"), "diff": ("diff.html",)}


def work(job: Work[RegisterConfig]) -> Summary:
    """A hold is registered too, so that it can be looked at, but moves no alias."""
    config, model = job.config, job.receipt("model")
    card = describe(job)
    text = render(card)
    (job.out / "card.md").write_text(text, encoding="utf-8")
    lineage = story(job.platform.store, job.spec.inputs, Box("version", config.name, kind="result"), dated=False)
    (job.out / PICTURE).write_text(picture(lineage, config.name), encoding="utf-8")
    (job.out / "card.json").write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    job.beat("registering")
    versions = Versions(job.platform.tracking_uri)
    trained = job.receipt("adapter").summary.get("mlflow_run_id")
    run_id = versions.ensure_run(str(trained or ""), f"luthier/{config.name}", model.content_sha256)
    versions.record(run_id, figures(card), int(time.time() * 1000))
    told = tags(card, model, job.spec.key) | {INCUMBENT: _incumbent(job)} | _diff(job)
    number = versions.ensure(config.name, model.uri, told, run_id, text)
    if card.promote:
        versions.point(config.name, config.alias, number)
    alias = config.alias if card.promote else None
    made: dict[str, JsonValue] = {"name": config.name, "version": number, "alias": alias}
    made["uri"] = f"models:/{config.name}/{number}"
    (job.out / "registration.json").write_text(json.dumps(made, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return {**made, "promoted": card.promote, "run_id": run_id, "report": _attached(job, run_id)}


def _attached(job: Work[RegisterConfig], run_id: str) -> str:
    """Where MLflow has the data's report, as it names artifacts; empty where it has none. The tag leads to the store in any
    case. Beside it is what changed in the data."""
    files = []
    for role in REPORT.keys() & job.spec.inputs.keys():
        held = {file.path for file in job.platform.store.manifest(job.receipt(role)).files}
        for name in held.intersection(REPORT[role]):
            (job.scratch / name).write_bytes(job.read(role, name))
            files.append(job.scratch / name)
    there = bool(files) and attach(job.platform.tracking_uri, run_id, sorted(files), "data")
    return f"runs:/{run_id}/data/{REPORT['dataset'][0]}" if there else ""


def _diff(job: Work[RegisterConfig]) -> dict[str, str]:
    """A tag with the place of what changed in the data since the version in production."""
    return {"luthier.data_diff": f"{job.receipt('diff').uri}/diff.html"} if "diff" in job.spec.inputs else {}


def _incumbent(job: Work[RegisterConfig]) -> str:
    """The content of the model that the verdict compares with; empty where it compares with none."""
    scores = job.platform.store.manifest(job.receipt("verdict")).inputs.get("incumbent")
    return job.platform.store.manifest(scores).inputs["model"].content_sha256 if scores else ""


def describe(job: Work[RegisterConfig]) -> Card:
    """The card's content, from the receipts and from the manifest of the model, which names its base."""
    weights = job.platform.store.manifest(job.receipt("model")).inputs["weights"]
    origin = job.platform.store.manifest(weights)
    verdict = json.loads((job.inputs["verdict"] / "verdict.json").read_bytes())
    return Card(
        name=job.config.name,
        alias=job.config.alias,
        base=_base_name(origin),
        base_model=fetched_as(origin.config),
        base_sha256=weights.content_sha256,
        uri=job.receipt("model").uri,
        report=f"{job.receipt('dataset').uri}/report.html",
        promote=verdict["promote"],
        failed=_lines(job.receipt("verdict").summary.get("failed")),
        outcome=verdict.get("outcome", ""),
        against=verdict.get("against", ""),
        meaning=str(job.receipt("verdict").summary.get("meaning", "")),
        compared=verdict.get("compared", []),
        weights=weights.summary,
        data=job.receipt("dataset").summary,
        training=job.receipt("adapter").summary,
        merge=job.receipt("model").summary,
        before=_scores(job.receipt("baseline")),
        after=_scores(job.receipt("scores")),
        lineage={name: receipt.content_sha256 for name, receipt in job.spec.inputs.items()},
    )


def _base_name(origin: Manifest) -> str:
    # The path would say where it lay on some machine; its last part says what it is.
    return PurePosixPath(str(origin.config.get("model_name_or_path", "unknown"))).name


def _lines(value: JsonValue) -> list[str]:
    return [str(line) for line in value] if isinstance(value, list) else []


def _scores(receipt: Receipt) -> Scores:
    found: Any = receipt.summary.get("scores")
    return found if isinstance(found, dict) else {}


def tags(card: Card, model: Receipt, registration: str) -> dict[str, str]:
    """What a version can be found by: its content, that of everything it came from, the verdict, and the key of its
    registration, which leads to everything else that the store has about it."""
    lineage = {f"luthier.{name}_sha256": sha for name, sha in card.lineage.items() if name != "model"}
    return {
        CONTENT: model.content_sha256,
        REGISTRATION: registration,
        "luthier.base": card.base,
        "luthier.base_sha256": card.base_sha256,
        "luthier.data_report": card.report,
        "luthier.incumbent": card.against,
        VERDICT: card.outcome or ("promote" if card.promote else "hold"),
        **lineage,
    }


def figures(card: Card) -> dict[str, float]:
    """Scores of base and tuned model and the parity, under names that MLflow allows."""
    found = {"parity/kl": card.merge.get("kl"), "parity/top1": card.merge.get("top1")}
    for side, scores in (("base", card.before), ("tuned", card.after)):
        found |= _flat(side, scores)
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def _flat(side: str, scores: Scores) -> Figures:
    return {
        re.sub(r"[^\w./ -]", "_", f"{side}/{task}/{metric}"): value
        for task, metrics in scores.items()
        for metric, value in metrics.items()
    }


if __name__ == "__main__":
    main(RegisterConfig, work)
