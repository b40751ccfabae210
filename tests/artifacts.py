"""Makes small committed artifacts, the way a worker does."""

import tempfile
import uuid
from pathlib import Path

from infra.storage import layout
from infra.storage.receipt import Manifest, Receipt, content_sha256
from infra.storage.store import Store

KEY = "0" * 64


def stored(store: Store, files: dict[str, bytes], stage: str = "toy", key: str = KEY) -> Manifest:
    """Upload files as a new attempt; the manifest that would commit them."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(data)
        return of_folder(store, Path(folder), stage, key)


def of_folder(
    store: Store, folder: Path, stage: str, key: str = KEY, parts: dict[str, Receipt] | None = None
) -> Manifest:
    """Upload a folder as a new attempt; the manifest that would commit it."""
    attempt = uuid.uuid4().hex
    entries = store.upload(folder, layout.attempt(stage, key, attempt))
    return Manifest(
        stage=stage,
        version=1,
        key=key,
        attempt=attempt,
        files=entries,
        content_sha256=content_sha256(stage, entries, parts),
        config={},
        inputs={},
        parts=parts or {},
        summary={},
        versions={},
        created="2026-01-01T00:00:00+00:00",
    )


def committed(store: Store, files: dict[str, bytes], stage: str = "toy", key: str = KEY) -> Receipt:
    """Upload files and commit them."""
    return store.receipt(store.commit(stored(store, files, stage, key)))


def whole(store: Store, part: Receipt, stage: str = "toy", key: str = KEY) -> Receipt:
    """Commit an artifact of one file and one part."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "index.json").write_bytes(b"{}")
        return store.receipt(store.commit(of_folder(store, Path(folder), stage, key, {"part-0": part})))


def place(store: Store, receipt: Receipt, name: str) -> str:
    """The key under which a file of an artifact lies."""
    return layout.join(layout.attempt(receipt.stage, receipt.key, receipt.attempt), name)
