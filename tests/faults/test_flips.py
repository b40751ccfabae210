"""R4: one flipped bit or a cut, anywhere in artifacts, commit records and checkpoints, is found; what is marked is made anew."""

import random
from pathlib import Path

import pytest

from infra.storage.objects import LocalObjects
from infra.storage.receipt import Manifest, Receipt, content_sha256
from infra.storage.store import Store
from infra.storage.verify import Fault, Survey, check, condemn
from tasks.training.checkpoints import Checkpoints, Origin, Shape, files
from tests.artifacts import stored
from tests.benchmarks.figures import figure

KEY = "a" * 64
FILES = {
    "shard": {"tokens.bin": bytes(range(256)) * 4, "rows.npy": b"r" * 40},
    "data": {"report.json": b'{"rows": 8}', "pieces.npy": b"p" * 100},
    "weights": {"model.safetensors": bytes(range(200)) * 9, "config.json": b"{}"},
    "training": {"adapter_model.safetensors": b"adapter" * 50, "training.json": b"{}"},
    "merging": {"model/model.safetensors": b"merged" * 300, "MLmodel": b"flavors: {}"},
    "registry": {"card.md": b"# A card\n"},
}
MADE_OF = {
    "shard": (),
    "data": (),
    "weights": (),
    "training": ("data", "weights"),
    "merging": ("training", "weights"),
    "registry": ("merging",),
}


def made(store: Store) -> Receipt:
    """The registration at the end of a chain of artifacts; the dataset has a part, the training two checkpoints."""
    receipts: dict[str, Receipt] = {}
    for stage in FILES:
        parts = {"shard-0": receipts["shard"]} if stage == "data" else {}
        receipts[stage] = commit(store, stage, {name: receipts[name] for name in MADE_OF[stage]}, parts)
        if stage == "training":
            save(store)
    return receipts["registry"]


def commit(store: Store, stage: str, inputs: dict[str, Receipt], parts: dict[str, Receipt]) -> Receipt:
    manifest = stored(store, FILES[stage], stage, KEY)
    told = {"inputs": inputs, "config": {"max_steps": 6, "seed": 42}, "summary": {"loss": 0.25}, "seconds": 1.5}
    whole = Manifest.model_validate(manifest.model_dump() | told | {"parts": parts})
    content = content_sha256(stage, whole.files, parts)
    return store.receipt(store.commit(whole.model_copy(update={"content_sha256": content})))


def save(store: Store) -> None:
    root = Path(store.uri.removeprefix("file://")).parent / "checkpoint"
    (root / "global_step").mkdir(parents=True)
    (root / "global_step" / "optim.pt").write_bytes(bytes(range(250)) * 3)
    (root / "trainer_state.json").write_bytes(b'{"log_history": []}')
    shape = Shape(engine="deepspeed", zero_stage=2, world_size=2)
    origin = Origin(weights="w", dataset="d", seed=42, train_batch_size=4, accumulation=1, versions={"torch": "2"})
    saving = Checkpoints(store, KEY, "a1", shape, origin)
    for step in (10, 20):
        saving.save(root, step)


def verified(store: Store, registration: Receipt) -> list[Fault]:
    """What `luthier verify VERSION` finds."""
    survey = Survey(store)
    survey.chain([registration])
    survey.training(KEY, files)
    return [*survey.faults, *check(survey, lambda _: None)]


def spoilt(data: bytes, chance: random.Random) -> bytes:
    """The same with one bit flipped, or cut somewhere."""
    at = chance.randrange(len(data))
    if chance.random() < 0.2:
        return data[:at]
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


def found(folder: Path, times: int) -> int:
    """In how many of so many spoilt stores, of each kind of object in turn, something was found."""
    store = Store(LocalObjects(folder / "store"))
    registration = made(store)
    assert verified(store, registration) == []
    places = sorted(path for path in (folder / "store").rglob("*") if path.is_file())
    assert len(places) == 11 + len(FILES) + 2 * 3
    chance, caught = random.Random(4), 0
    for number in range(times):
        path = places[number % len(places)]
        whole = path.read_bytes()
        path.write_bytes(spoilt(whole, chance))
        caught += bool(verified(store, registration))
        path.write_bytes(whole)
    assert verified(store, registration) == []
    return caught


def test_twenty_spoilt_objects_are_found(tmp_path: Path) -> None:
    assert found(tmp_path, 20) == 20


@pytest.mark.proof
def test_a_thousand_spoilt_objects_are_found(tmp_path: Path) -> None:
    caught = found(tmp_path, 1000)
    figure("R4", caught / 1000, target=1.0, better="higher", unit="share", n=1000)
    assert caught == 1000


@pytest.mark.parametrize("stage", ["shard", "weights", "merging"])
@pytest.mark.parametrize("what", ["file", "record", "empty record"])
def test_what_is_marked_is_made_anew_and_nothing_else(tmp_path: Path, stage: str, what: str) -> None:
    store = Store(LocalObjects(tmp_path / "store"))
    registration = made(store)
    home = tmp_path / "store" / "stages" / stage / KEY
    path = (
        home / "MANIFEST.json" if "record" in what else next(item for item in home.rglob("*.*") if item.parent != home)
    )
    path.write_bytes(b"" if "empty" in what else path.read_bytes()[:-1] + b"!")
    faults = verified(store, registration)
    assert {fault.place.split("/")[1] for fault in faults} == {stage}
    assert condemn(store, faults) == 1
    assert store.find(stage, KEY) is None
    unspoilt = set(FILES) - {stage, *(("data",) if stage == "shard" else ())}  # a dataset is whole where its shards are
    assert all(store.find(other, KEY) for other in unspoilt)
    commit(store, stage, {name: store.receipt(store.newest(name, KEY)) for name in MADE_OF[stage]}, {})  # type: ignore[arg-type]
    again = store.find(stage, KEY)
    assert again is not None
    assert again.generation == 2
    assert verified(store, registration) == []


def test_what_is_missing_is_found(tmp_path: Path) -> None:
    store = Store(LocalObjects(tmp_path / "store"))
    registration = made(store)
    store.objects.delete(f"stages/weights/{KEY}/MANIFEST.json")
    assert [(fault.place, fault.actual) for fault in verified(store, registration)] == [
        (f"stages/weights/{KEY}", "no commit record")
    ]
