"""`luthier runs`: what was made here, the newest first."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra import settings
from infra.settings import Platform
from infra.storage.receipt import Manifest
from pipelines.cli import screen, versions

if TYPE_CHECKING:
    from infra.tracking.lookup import Training, Version

Scores = dict[str, dict[str, tuple[object, object]]]
SHOWN = 2  # metrics of a version in one row


def runs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="how many of each")] = 20,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """List registered versions with their scores before and after, and trainings that became no version."""
    platform = settings.load().platform()
    look = versions.lookup(platform)
    every = look.versions()
    made = [_version(platform, one) for one in every[:limit]]
    registered = {one.run_id for one in every}
    trained = [_training(one) for one in look.trainings() if one.run_id not in registered][:limit]
    if json:
        screen.as_json({"versions": made, "trainings": trained})
    else:
        _show(platform, made, trained)


def scores(registration: Manifest | None) -> Scores:
    """(base, tuned) by task and metric, from the record of a registration."""
    before, after = (_scores(registration, side) for side in ("baseline", "scores"))
    return {
        task: {metric: (before.get(task, {}).get(metric), value) for metric, value in metrics.items()}
        for task, metrics in after.items()
    }


def _scores(registration: Manifest | None, side: str) -> dict[str, dict[str, object]]:
    receipt = registration.inputs.get(side) if registration else None
    found: Any = receipt.summary.get("scores") if receipt else None
    return found if isinstance(found, dict) else {}


def method(registration: Manifest | None) -> str:
    """How the adapter was tuned: lora, qlora, full …; a dash where that is not known."""
    adapter = registration.inputs.get("adapter") if registration else None
    return str(adapter.summary.get("method", "–")) if adapter else "–"


def _version(platform: Platform, one: "Version") -> dict[str, Any]:
    record = versions.registration(platform.store, one)
    told = {
        task: {metric: {"base": _number(base), "tuned": _number(tuned)} for metric, (base, tuned) in metrics.items()}
        for task, metrics in scores(record).items()
    }
    return {
        "name": one.name,
        "version": one.number,
        "aliases": [*one.aliases],
        "created": one.created_ms,
        "base": one.tags.get("luthier.base", "–"),
        "method": method(record),
        "verdict": one.tags.get("luthier.verdict", "–"),
        "scores": told,
    }


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _training(one: "Training") -> dict[str, Any]:
    kept = {name: one.figures.get(name) for name in ("loss", "eval_loss")}
    return {
        "name": one.name,
        "run_id": one.run_id,
        "started": one.started_ms,
        "status": one.status,
        "method": one.params.get("method", "–"),
        **kept,
    }


def _show(platform: Platform, made: list[dict[str, Any]], trained: list[dict[str, Any]]) -> None:
    if not made and not trained:
        screen.say(f"Nothing was trained or registered yet in {platform.tracking_uri}.")
        screen.say("`luthier run quickstart` makes a first version; MLFLOW_TRACKING_URI names another server.")
        return
    if made:
        head = ["version", "made", "base", "method", "base → tuned", "verdict"]
        screen.table(head, [_row(one) for one in made], fold=["base"])
    if trained:
        screen.heading("Trainings that became no version")
        head = ["training", "started", "status", "method", "loss", "held-out loss"]
        screen.table(head, [_training_row(one) for one in trained])
    screen.note("`luthier show` tells everything about one of them")


def _row(one: dict[str, Any]) -> list[str]:
    return [
        screen.stack([f"{one['name']}/{one['version']}", *(f"@{alias}" for alias in one["aliases"])], " "),
        screen.when(one["created"])[:10],
        str(one["base"]),
        str(one["method"]),
        _brief(one["scores"]),
        str(one["verdict"]),
    ]


def _brief(told: dict[str, Any]) -> str:
    found = [
        f"{metric} {screen.figure(pair['base'])} → {screen.figure(pair['tuned'])}"
        for metrics in told.values()
        for metric, pair in metrics.items()
    ]
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return screen.stack(found[:SHOWN] + more, ", ") or "–"


def _training_row(one: dict[str, Any]) -> list[str]:
    return [
        str(one["name"]),
        screen.when(one["started"]),
        str(one["status"]).lower(),
        str(one["method"]),
        screen.figure(one["loss"]),
        screen.figure(one["eval_loss"]),
    ]
