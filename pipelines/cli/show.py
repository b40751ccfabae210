"""`luthier show`: everything that is known of one version, or of one training."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from infra import settings
from infra.errors import LuthierError
from infra.printable import size
from infra.settings import Platform
from infra.storage.lineage import Node, locate, trace
from infra.storage.receipt import Manifest
from pipelines.cli import runs, screen, versions

if TYPE_CHECKING:
    from infra.tracking.lookup import Lookup, Training, Version

# What each artifact's figures are called here, in the order of a run.
_PARTS = {
    "overlap": "Questions in the rows",
    "data": "Data",
    "training": "Training",
    "merging": "Merge and parity",
    "gate": "Verdict",
}
# The section of a recipe that each stage's config came from.
_SECTIONS = {
    "weights": "base",
    "data": "data",
    "training": "train",
    "merging": "merge",
    "evaluation": "evaluate",
    "gate": "gate",
    "registry": "register",
}


def show(
    run: Annotated[str, typer.Argument(metavar="RUN|VERSION", help="tickets/3, tickets@candidate, or train-1a2b3c4d")],
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Tell everything about a version or a training: scores, parity, data, verdict, recipe, lineage, where to look."""
    platform = settings.load().platform()
    look = versions.lookup(platform)
    training = look.training(run)
    told = _training(platform, training) if training else _version(platform, look, look.version(run))
    if json:
        screen.as_json(told)
    else:
        _tell(told)


def _version(platform: Platform, look: "Lookup", one: "Version") -> dict[str, Any]:
    place = f"{look.uri}/#/models/{one.name}/versions/{one.number}" if look.uri.startswith("http") else look.uri
    record = versions.registration(platform.store, one)
    about: dict[str, Any] = {
        "aliases": [*one.aliases],
        "made": screen.when(one.created_ms),
        "verdict": one.tags.get("luthier.verdict"),
        "mlflow": place,
        "load": f"models:/{one.name}/{one.number}",
        "run_id": one.run_id,
        "store": one.source,
    }
    scores: Any = [
        [task, metric, base, tuned]
        for task, metrics in runs.scores(record).items()
        for metric, (base, tuned) in metrics.items()
    ]
    nodes = _nodes(platform, "registration", record) or _nodes(platform, "model", _model(platform, one))
    return {"title": f"{one.name} version {one.number}", "about": about, "scores": scores} | _story(nodes)


def _training(platform: Platform, one: "Training") -> dict[str, Any]:
    about: dict[str, Any] = {
        "status": one.status.lower(),
        "started": screen.when(one.started_ms),
        "mlflow": platform.tracking_uri,
        "run_id": one.run_id,
    }
    curve = {name: value for name, value in sorted(one.figures.items()) if "/" not in name}
    nodes = _nodes(platform, "adapter", platform.store.find("training", one.key) if one.key else None)
    told = _story(nodes)
    if not nodes:  # nothing was committed: what MLflow has is all there is
        told["recipe"] = {"train": {**one.params}}
    return {"title": one.name, "about": about, "curve": {**curve}} | told


def _model(platform: Platform, one: "Version") -> Manifest | None:
    try:
        return locate(platform.store, one.source, one.content)
    except LuthierError as error:
        screen.note(str(error))
        return None


def _nodes(platform: Platform, role: str, manifest: Manifest | None) -> list[tuple[int, Node]]:
    return [] if manifest is None else list(trace(platform.store, role, platform.store.receipt(manifest)).below())


def _story(nodes: list[tuple[int, Node]]) -> dict[str, Any]:
    """Figures by part, the recipe by section, and the lineage, as the commit records have them."""
    committed = {node.receipt.stage: node.manifest for _, node in reversed(nodes) if node.manifest}
    figures: Any = {title: {**committed[stage].summary} for stage, title in _PARTS.items() if stage in committed}
    recipe: Any = {section: {**committed[stage].config} for stage, section in _SECTIONS.items() if stage in committed}
    return {"figures": figures, "recipe": recipe, "lineage": [_told(depth, node) for depth, node in nodes]}


def _told(depth: int, node: Node) -> dict[str, Any]:
    return {
        "depth": depth,
        "role": node.role,
        "stage": node.receipt.stage,
        "key": node.receipt.key,
        "content_sha256": node.receipt.content_sha256,
        "uri": node.receipt.uri,
        "bytes": node.bytes,
        "state": "gone" if node.manifest is None else "told above" if node.again else "whole",
    }


def _tell(told: dict[str, Any]) -> None:
    screen.heading(told["title"])
    screen.pairs(told["about"])
    if told.get("curve"):
        screen.heading("Newest figures of the curve")
        screen.pairs(told["curve"])
    if told.get("scores"):
        screen.heading("Before and after")
        rows = [
            [task, metric, screen.figure(base), screen.figure(tuned)] for task, metric, base, tuned in told["scores"]
        ]
        screen.table(["task", "metric", "base", "tuned"], rows)
    for title, figures in told["figures"].items():
        screen.heading(title)
        screen.pairs(figures)
    screen.heading("Recipe")
    screen.say(yaml.safe_dump(told["recipe"], sort_keys=False, allow_unicode=True).rstrip())
    screen.heading("Lineage")
    for node in told["lineage"]:
        _tell_node(node)
    if not told["lineage"]:
        screen.say("  nothing of it is in the store")


def _tell_node(node: dict[str, Any]) -> None:
    state = {"whole": size(node["bytes"]), "told above": "see above", "gone": "GONE"}[node["state"]]
    screen.say(f"{'  ' * (node['depth'] + 1)}{node['role']}: {node['stage']} {node['key'][:12]}, {state}")
    if node["state"] == "whole":
        screen.say(f"{'  ' * (node['depth'] + 2)}  {node['uri']}")
