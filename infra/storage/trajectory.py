"""A training's trajectory: the adapter of every committed checkpoint as an artifact, found by its step."""

from infra.frozen import canonical
from infra.storage import layout
from infra.storage.receipt import Receipt, input_key
from infra.storage.store import Store

STAGE = "trajectory"


def key(training: str, step: int) -> str:
    """The key of the adapter that a training had after a step."""
    return input_key(STAGE, 1, {"training": training, "step": step}, {})


def note(store: Store, training: str, step: int, adapter: Receipt) -> None:
    """Have a committed adapter found by its step."""
    place = layout.join(layout.trajectory(training), f"{step:08d}.json")
    store.objects.put(place, canonical(adapter.model_dump(mode="json")))


def entries(store: Store, training: str) -> dict[int, Receipt]:
    """The adapters of a training by step, oldest first; each may be merged and evaluated like the last one."""
    found = {}
    for place in sorted(store.objects.list(layout.trajectory(training) + "/")):
        data = store.objects.get(place)
        if data is not None:
            found[int(place.rsplit("/", 1)[-1].removesuffix(".json"))] = Receipt.model_validate_json(data)
    return found
