"""Remove garbage from a store, beside whatever runs on it: each thing is looked at once more just before it goes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from infra.errors import Corrupt
from infra.storage import layout, listing
from infra.storage.garbage import Doomed, is_ours
from infra.storage.listing import Seen, Unfinished
from infra.storage.store import Store


@dataclass
class Swept:
    """What became of garbage: gone, spared because it had changed by then, or still listed after it was deleted."""

    gone: list[Doomed] = field(default_factory=list)
    spared: list[Doomed] = field(default_factory=list)
    left: list[Doomed] = field(default_factory=list)


def sweep(store: Store, garbage: Iterable[Doomed], cutoff: float, told: Callable[[Doomed], object]) -> Swept:
    """Delete what still is as old as `cutoff` and still not in use. Commit records go before what they name, so that
    nothing that is half deleted looks whole; then everything is listed again."""
    swept = Swept()
    for one in garbage:
        told(one)
        objects = [*listing.seen(store.objects, one.place)]
        if not _still(store, one, objects, cutoff):
            swept.spared.append(one)
            continue
        for item in sorted(objects, key=_order):
            store.objects.delete(item.key)
        swept.gone.append(one)
    for one in swept.gone:
        if any(listing.seen(store.objects, one.place)):
            swept.left.append(one)
    return swept


def _order(item: Seen) -> tuple[int, int, str]:
    """Older commit records first, so that none of them is ever the newest; then the marks; then the files."""
    name = item.key.rsplit("/", 1)[-1]
    number = layout.generation(name)
    if number is not None and item.key.count("/") == 3:
        return 0, number, item.key
    return (0, 0, item.key) if name == "COMMIT.json" else (1, 0, item.key)


def _still(store: Store, one: Doomed, objects: list[Seen], cutoff: float) -> bool:
    """Whether it is as old as it was, of no job that has given a sign of life, and not committed meanwhile."""
    if not objects or max(item.changed for item in objects) >= cutoff:
        return False
    top, *named = one.place.rstrip("/").split("/")
    if top != "stages":
        return True
    stage, key = named[:2]
    attempt = named[-1].rpartition("-")[2] if len(named) > 2 else ""
    jobs = listing.seen(store.objects, f"jobs/{stage}/{key}/{attempt}")
    if any(item.changed >= cutoff for item in jobs):
        return False
    if one.kind == "checkpoint":
        return not any(item.key.endswith("/COMMIT.json") for item in objects)
    return one.kind == "artifact" or _is_not_committed(store, stage, key, attempt)


def _is_not_committed(store: Store, stage: str, key: str, attempt: str) -> bool:
    try:
        manifest = store.newest(stage, key)
    except Corrupt:
        return False  # which attempt it names cannot be read
    return manifest is None or manifest.attempt != attempt


def unfinished(store: Store, cutoff: float) -> list[Unfinished]:
    """Uploads of ours below the store's root that nobody has ended; StoreRefused where they may not be listed."""
    return [one for one in listing.unfinished(store.objects) if one.begun < cutoff and _is_upload(one)]


def _is_upload(one: Unfinished) -> bool:
    folder, _, name = one.key.rpartition("/")
    return is_ours(f"{folder}/file" if name.startswith(".part-") else one.key)
