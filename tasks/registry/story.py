"""How a version came to be, as boxes and what came from what: for the command that explains it, and for its picture."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from infra.drawing import Box, svg
from infra.printable import size
from infra.storage import layout
from infra.storage.hub import fetched_as
from infra.storage.lineage import Node, trace
from infra.storage.receipt import Manifest, Receipt
from infra.storage.store import Store

PICTURE = "lineage.svg"
FILES = 5  # of rows that are named in a box
TITLES = {
    "weights": "Base weights",
    "tokenizer": "Tokenizer",
    "questions": "Questions of the evaluation",
    "overlap": "Questions found in the rows",
    "dataset": "Dataset",
    "diff": "What changed in the rows",
    "reference": "What the base thinks of the answers",
    "adapter": "Training",
    "model": "Model",
    "baseline": "Scores of the base",
    "scores": "Scores of the model",
    "fewshot": "Scores of the base, with examples",
    "incumbent": "Scores of what was in production",
    "verdict": "Verdict",
}
# What people ask of each first, as its summary calls it.
FIGURES = {
    "weights": ("architecture", "parameters", "dtype"),
    "tokenizer": ("tokens",),
    "dataset": ("train_rows", "validation_rows", "dropped", "train_tokens"),
    "adapter": ("method", "steps", "loss", "eval_loss"),
    "model": ("base", "dtype", "kl", "top1"),
    "verdict": ("outcome", "against"),
    "diff": ("since", "added", "removed", "changed"),
}
LIBRARIES = {
    "adapter": ("torch", "transformers", "peft", "deepspeed"),
    "model": ("torch", "transformers"),
    "baseline": ("lm-eval",),
    "scores": ("lm-eval",),
}
Edge = tuple[str, str]


@dataclass
class Story:
    """Boxes by name, and edges (a, b): b came from a. Not `dated`, equal contents have equal boxes."""

    store: Store
    dated: bool = True
    boxes: dict[str, Box] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    _known: dict[str, str] = field(default_factory=dict)  # by content: an artifact may have another role further up

    def take(self, node: Node) -> str:
        """Tell an artifact and all that it was made of; the name of its box."""
        content = node.receipt.content_sha256
        if content not in self._known:
            name = self._known[content] = node.role if node.role not in self.boxes else f"{node.role}-{content[:8]}"
            self.boxes[name] = artifact(name, node, self.dated)
            for box in _origins(self.store, node):
                self.boxes[box.id] = box
                self.edges.append((box.id, name))
        # How another version was made is told by its own story.
        for below in () if node.role in ("incumbent", "diff") else node.inputs:
            self.edges.append((self.take(below), self._known[content]))
        return self._known[content]


def story(store: Store, inputs: Mapping[str, Receipt], version: Box, dated: bool = True) -> Story:
    """Everything that a registration's inputs were made of, up to files of rows and the base's origin, and the version at
    the end. What the store has no more is a box that says so."""
    told, seen = Story(store, dated), set[str]()
    for role, receipt in sorted(inputs.items()):
        told.edges.append((told.take(trace(store, role, receipt, seen)), version.id))
    if {"base", "tokenizer"} <= set(told.boxes):  # its files are told with the weights'
        told.edges.append(("base", "tokenizer"))
    told.boxes[version.id] = version
    return told


def picture(told: Story, name: str) -> str:
    """All of that as an SVG."""
    return svg(f"What {name} was made of", [*told.boxes.values()], told.edges)


def artifact(name: str, node: Node, dated: bool) -> Box:
    """An artifact: hash, size, when it was made and how long that took, its figures, and with which libraries."""
    title = TITLES.get(node.role, node.role)
    manifest = node.manifest
    if manifest is None:
        return Box(name, f"{title}: GONE", [("sha256", node.receipt.content_sha256[:16])], "gone")
    lines = [("sha256", node.receipt.content_sha256[:16]), ("size", size(node.bytes))]
    if dated:
        lines.append(("made", manifest.created.replace("T", " ")[:16] + _took(manifest)))
    lines += [(name.replace("_", " "), _figure(manifest.summary[name])) for name in _figures(node.role, manifest)]
    lines += _scores(manifest)
    used = [f"{name} {manifest.versions[name]}" for name in LIBRARIES.get(node.role, ()) if name in manifest.versions]
    return Box(name, title, lines + ([("with", ", ".join(used))] if used and dated else []))


def _took(manifest: Manifest) -> str:
    seconds = manifest.seconds
    if not seconds:
        return ""
    return f", in {seconds:.2g} s" if seconds < 100 else f", in {seconds / 60:.0f} min"


def _figures(role: str, manifest: Manifest) -> list[str]:
    return [name for name in FIGURES.get(role, ()) if manifest.summary.get(name) is not None]


def _scores(manifest: Manifest) -> Iterator[tuple[str, str]]:
    scores: Any = manifest.summary.get("scores")
    for task, metrics in (scores if isinstance(scores, dict) else {}).items():
        for metric, value in metrics.items():
            yield f"{task} {metric}", _figure(value)


def _origins(store: Store, node: Node) -> Iterator[Box]:
    """Where from outside the store an artifact came from."""
    if node.manifest is not None and node.role == "weights":
        yield _base(store, node.manifest)
    if node.manifest is not None and node.manifest.origins:
        files = node.manifest.origins
        lines = [(PurePosixPath(file.uri).name, f"{size(file.size)}, {file.sha256[:12]}") for file in files[:FILES]]
        more = [("and", f"{len(files) - FILES} files more")] if len(files) > FILES else []
        rows = [("rows", _figure(node.manifest.summary.get("rows")))]
        yield Box(f"files of {node.role}", "Files of rows", lines + more + rows, "outside")


def _base(store: Store, manifest: Manifest) -> Box:
    name, _, commit = fetched_as(manifest.config).partition("@")
    named = name or PurePosixPath(str(manifest.config.get("model_name_or_path", "unknown"))).name
    files: Any = _source(store, manifest).get("files", [])
    lines = [("commit", commit)] if commit else []
    lines += [(file["name"], f"{size(file['size'])}, {file['sha256'][:12]}") for file in files[:2]]
    licence = str(manifest.summary.get("license") or "unknown")
    return Box("base", f"Base: {named}", [*lines, ("licence", licence)], "outside")


def _source(store: Store, manifest: Manifest) -> dict[str, Any]:
    """What the artifact says of the files that it was made of; empty where that cannot be read. Nothing is marked: who only
    tells changes nothing."""
    place = layout.join(layout.attempt(manifest.stage, manifest.key, manifest.attempt), "source.json")
    data = store.objects.get(place) or b""
    held = [file for file in manifest.files if file.path == "source.json"]
    whole = bool(held) and hashlib.sha256(data).hexdigest() == held[0].sha256
    return dict(json.loads(data)) if whole else {}


def _figure(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
