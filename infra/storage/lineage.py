"""From a registered model back to everything that it was made of, by what the commit records say."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from infra.errors import Corrupt, Refused
from infra.storage.receipt import Manifest, Receipt
from infra.storage.store import Store

SOURCE = re.compile(r"/stages/(?P<stage>[^/]+)/(?P<key>[^/]+)/(?P<attempt>[^/]+)/?\Z")


@dataclass(frozen=True)
class Node:
    """An artifact under the name that the one above it gave it. `manifest` is None where the store has it no more;
    `again` marks one whose inputs are told further up."""

    role: str
    receipt: Receipt
    manifest: Manifest | None
    inputs: tuple["Node", ...] = ()
    parts: tuple[Manifest, ...] = ()
    again: bool = False

    @property
    def bytes(self) -> int:
        """The size of all its files, those of its parts among them."""
        whole = (self.manifest, *self.parts) if self.manifest else ()
        return sum(file.size for manifest in whole for file in manifest.files)

    def below(self, depth: int = 0) -> Iterator[tuple[int, "Node"]]:
        """This node and all below it with their depth, each before its inputs."""
        yield depth, self
        for node in self.inputs:
            yield from node.below(depth + 1)


def locate(store: Store, source: str, content: str) -> Manifest:
    """The whole artifact that a registered source names; a store that was moved is the same store.

    Refused where the source is none of ours, Corrupt where files are gone or the content is not `content`.
    """
    match = SOURCE.search(source)
    if match is None or not content:
        raise Refused(
            "the version was not registered by Luthier",
            place=source,
            remedy="load it with MLflow; `luthier runs` lists the versions that Luthier knows",
        )
    manifest = store.find(match["stage"], match["key"])
    if manifest is None or manifest.content_sha256 != content:
        raise Corrupt(
            "the model of this version is not in the store",
            place=source,
            value=f"looked in {store.uri}",
            remedy="set LUTHIER_STORE to the store it was made in; if it was deleted, run its recipe again: the same "
            "content gets a version anew",
        )
    return manifest


def trace(store: Store, role: str, receipt: Receipt, seen: set[str] | None = None) -> Node:
    """The tree of what an artifact was made of; each artifact's inputs are told once."""
    seen = set() if seen is None else seen
    manifest = whole(store, receipt)
    receipt = store.receipt(manifest) if manifest else receipt  # a receipt may still name the place before a move
    if receipt.content_sha256 in seen or manifest is None:
        return Node(role, receipt, manifest, again=manifest is not None)
    seen.add(receipt.content_sha256)
    ordered = sorted(manifest.inputs.items(), key=lambda item: (item[0] != "model", item[0]))  # what most hangs on
    inputs = tuple(trace(store, name, below, seen) for name, below in ordered)
    parts = tuple(part for held in manifest.parts.values() if (part := whole(store, held)) is not None)
    return Node(role, receipt, manifest, inputs, parts)


def whole(store: Store, receipt: Receipt) -> Manifest | None:
    """The manifest behind a receipt, or None where its files or its record are gone."""
    manifest = store.find(receipt.stage, receipt.key)
    return manifest if manifest is not None and manifest.content_sha256 == receipt.content_sha256 else None
