"""Artifacts from one store into another, as they are: same key, same attempt, every byte checked on the way."""

import uuid
from pathlib import Path

from infra.launch.scratch import scratch
from infra.storage import layout
from infra.storage.receipt import Manifest, Receipt
from infra.storage.store import Store


def copy(source: Store, target: Store, receipt: Receipt, room: Path) -> None:
    """Copy an artifact and its parts, through one file at a time below `room`; nothing is done where it is there already.

    Raises Corrupt where a file is not what was committed.
    """
    manifest = source.manifest(receipt)
    for part in manifest.parts.values():
        copy(source, target, part, room)
    if target.find(manifest.stage, manifest.key) is not None:
        return
    prefix = layout.attempt(manifest.stage, manifest.key, manifest.attempt)
    with scratch(room, f"copy-{uuid.uuid4().hex}") as folder:
        for file in manifest.files:
            path, at = folder / "file", f"{prefix}/{file.path}"
            with path.open("wb") as out:
                out.writelines(source.objects.blocks(at))
            _, sha = target.objects.upload(path, at)
            if sha != file.sha256:
                target.objects.delete(at)
                raise source.corrupt(manifest, at, sha, file.sha256)
    target.commit(Manifest.model_validate(manifest.model_dump() | {"generation": 1, "replaces": ""}))
