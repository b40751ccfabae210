"""What goes and what stays: random stores against a plain statement of the rule, then each rule by its own example."""

import hashlib
import json
import os
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.frozen import digest
from infra.storage import collect, layout, listing
from infra.storage.garbage import Doomed, Roots, Scan, doomed
from infra.storage.objects import LocalObjects
from infra.storage.receipt import FileEntry, Manifest, Receipt, content_sha256
from infra.storage.s3 import S3Objects
from infra.storage.store import Store
from infra.storage.verify import Survey, check
from tests.artifacts import committed, stored, whole

DAY = 86400
STAGES = ("weights", "data", "training", "merging", "registry")


@dataclass
class Made:
    """One input key as a test draws it: numbers of what it was made of, and how old each thing is in days."""

    inputs: list[int]
    parts: list[int]
    age: int
    committed: bool
    condemned: bool
    remade: bool
    lost: list[int]
    checkpoints: list[tuple[int, bool]]
    running: bool
    registered: bool


@st.composite
def stores(draw: st.DrawFn) -> list[Made]:
    made: list[Made] = []
    ages, few = st.sampled_from([0, 1, 8, 30]), st.integers(0, 2)
    for number in range(draw(st.integers(1, 7))):
        below = st.lists(st.integers(0, number - 1), max_size=3, unique=True) if number else st.just([])
        made.append(
            Made(
                inputs=draw(below),
                parts=draw(below) if draw(few) == 0 else [],
                age=draw(ages),
                committed=draw(few) > 0,
                condemned=draw(few) == 0,
                remade=draw(few) == 0,
                lost=draw(st.lists(ages, max_size=2)),
                checkpoints=draw(st.lists(st.tuples(ages, st.booleans()), max_size=2)),
                running=draw(st.integers(0, 4)) == 0,
                registered=draw(few) == 0,
            )
        )
    return made


@dataclass
class World:
    """A drawn store on disk: which object is how old, and what each attempt is."""

    root: Path
    ages: dict[str, int] = field(default_factory=dict)
    attempts: dict[int, list[str]] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return Store(LocalObjects(self.root))

    def put(self, key: str, data: bytes, age: int) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        at = time.time() - age * DAY - 60
        os.utime(path, (at, at))
        self.ages[key] = age

    def left(self) -> set[str]:
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}


def name(number: int) -> tuple[str, str]:
    return STAGES[number % len(STAGES)], digest(number)


def built(drawn: list[Made], root: Path) -> World:
    world, receipts = World(root), dict[int, Receipt]()
    for number, made in enumerate(drawn):
        stage, key = name(number)
        ids = [uuid.uuid4().hex for _ in range(1 + made.remade)]
        world.attempts[number] = ids
        entry = FileEntry(path="file", size=1, sha256=hashlib.sha256(b"x").hexdigest())
        inputs = {f"in-{one}": receipts[one] for one in made.inputs}
        parts = {f"part-{one}": receipts[one] for one in made.parts}
        content = content_sha256(stage, [entry], parts)
        receipts[number] = Receipt(stage=stage, key=key, attempt=ids[-1], uri="", content_sha256=content)
        for generation, attempt in enumerate(ids, 1):
            world.put(f"{layout.attempt(stage, key, attempt)}/file", b"x", made.age)
            manifest = Manifest(
                stage=stage, version=1, key=key, attempt=attempt, generation=generation, files=[entry],
                content_sha256=content, config={}, inputs=inputs, parts=parts, summary={}, versions={}, created="",
                replaces=ids[0] if generation > 1 else "",
            )  # fmt: skip
            if made.committed:
                world.put(layout.manifest(stage, key, generation), manifest.record(), made.age)
        if made.committed and made.condemned:
            world.put(layout.tombstone(stage, key, ids[-1]), b"corrupt", made.age)
        for age in made.lost:
            world.put(f"{layout.attempt(stage, key, uuid.uuid4().hex)}/file", b"x", age)
        for age, done in made.checkpoints:
            at = f"{layout.home(stage, key)}/checkpoints/00000010-{uuid.uuid4().hex}"
            world.put(f"{at}/state", b"x", age)
            if done:
                world.put(f"{at}/COMMIT.json", b"{}", age)
        if made.running:
            spec = {"inputs": {role: held.model_dump() for role, held in inputs.items()}}
            world.put(layout.job(stage, key, ids[-1], "spec.json"), json.dumps(spec).encode(), 30)
            world.put(layout.job(stage, key, ids[-1], "heartbeat.json"), b"{}", 0)
    return world


def expected(drawn: list[Made], world: World, unreferenced: bool) -> set[str]:
    """The objects that stay, said as plainly as it can be said."""
    homes = {number: layout.home(*name(number)) + "/" for number in range(len(drawn))}
    inside = {number: [key for key in world.ages if key.startswith(home)] for number, home in homes.items()}
    waiting = [
        number
        for number, made in enumerate(drawn)
        if made.registered
        or made.running
        or any(world.ages[key] < 7 for key in inside[number])
        or (not unreferenced and made.committed and not made.condemned)
    ]
    waiting += [one for made in drawn if made.running for one in made.inputs]
    needed: set[int] = set()
    while waiting:
        number = waiting.pop()
        if number not in needed:
            needed.add(number)
            waiting += [*drawn[number].inputs, *drawn[number].parts] if drawn[number].committed else []
    stays = {key for key in world.ages if key.startswith("jobs/")}
    for number, made in enumerate(drawn):
        done = any(commit for _, commit in made.checkpoints)
        goes = number not in needed and ((made.committed and not done) or (done and unreferenced))
        current = world.attempts[number][-1]
        for key in inside[number]:
            folder = key.rpartition("/")[0]
            if "/checkpoints/" in key:
                old = not any(f"{folder}/COMMIT.json" == other for other in inside[number])
                old = old and world.ages[key] >= 7
            elif "MANIFEST" in key:
                old = False
            else:
                mine = key.split("/")[3] == current and (made.committed or made.running or made.registered)
                old = world.ages[key] >= 7 and not mine
            if not goes and not old:
                stays.add(key)
    return stays


def roots(drawn: list[Made], world: World) -> Roots:
    told = []
    for number, made in enumerate(drawn):
        if made.registered:
            told.append((f"s3://elsewhere/{layout.attempt(*name(number), world.attempts[number][-1])}", ""))
    return Roots.of(told)


@settings(max_examples=40)
@given(drawn=stores(), unreferenced=st.booleans())
def test_what_is_needed_stays_and_verifies_and_all_else_that_is_old_is_gone(
    drawn: list[Made], unreferenced: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = built(drawn, Path(folder) / "store")
        cutoff = time.time() - 7 * DAY
        before = {number: world.store.find(*name(number)) for number in range(len(drawn))}
        garbage = [*doomed(Scan.of(world.store), roots(drawn, world), cutoff, unreferenced)]
        assert world.left() == set(world.ages), "nothing goes by looking"
        swept = collect.sweep(world.store, garbage, cutoff, lambda _: None)
        assert (swept.spared, swept.left) == ([], [])
        stays = expected(drawn, world, unreferenced)
        assert world.left() == stays
        assert sum(one.objects for one in garbage) == len(world.ages) - len(stays)
        for number, manifest in before.items():
            if any(key.startswith(layout.home(*name(number)) + "/MANIFEST") for key in stays):
                assert world.store.find(*name(number)) == manifest
        again = [*doomed(Scan.of(world.store), roots(drawn, world), cutoff, unreferenced)]
        assert again == []


def aged(store: Store, key: str, days: float = 8) -> None:
    """Make everything under a key so old."""
    at = time.time() - days * DAY
    for path in (Path(store.uri.removeprefix("file://")) / key).rglob("*"):
        os.utime(path, (at, at))


def old(store: Store, cutoff: float, **more: bool) -> list[Doomed]:
    return [*doomed(Scan.of(store), Roots.of([]), cutoff, **more)]


def attempt(manifest: Manifest) -> str:
    return layout.attempt(manifest.stage, manifest.key, manifest.attempt) + "/"


def test_jobs_probes_and_lost_attempts_go_on_either_store(store: Store) -> None:
    kept = committed(store, {"file": b"1"})
    lost = stored(store, {"file": b"12"})
    store.objects.put(layout.join("probe", uuid.uuid4().hex), b"first")
    store.objects.put(layout.job("toy", kept.key, kept.attempt, "outcome.json"), b"{}")
    for other in ("probe/of-another", "stages/toy/short/file", "notes.txt", "snapshots/ab/x.json"):
        store.objects.put(other, b"{}")
    cutoff = listing.now(store.objects) + 60  # everything was written before
    found = old(store, cutoff)
    assert {one.place.partition("/")[0] for one in found} == {"stages", "probe", "jobs"}
    assert attempt(lost) in {one.place for one in found}
    assert not old(store, cutoff - 3600)
    swept = collect.sweep(store, found, cutoff, lambda _: None)
    assert len(swept.gone) == 3
    left = set(store.objects.list(""))
    assert left > {"probe/of-another", "stages/toy/short/file", "notes.txt", "snapshots/ab/x.json"}
    assert len(left) == 4 + 2
    assert store.find("toy", kept.key) is not None


@pytest.mark.s3
def test_unfinished_uploads_of_ours_below_our_root_are_ended(s3_root: str, s3_client: S3Objects) -> None:
    store, beside = Store(S3Objects(s3_root)), Store(S3Objects(s3_root + "-beside"))
    ours = f"stages/toy/{'0' * 64}/{uuid.uuid4().hex}/model.safetensors"
    for client, key in ((store, ours), (store, "theirs/model.safetensors"), (beside, ours)):
        client.objects._call("create_multipart_upload", Key=client.objects.prefix + key)  # type: ignore[attr-defined]
    assert collect.unfinished(store, listing.now(store.objects) - 60) == []
    (found,) = collect.unfinished(store, listing.now(store.objects) + 60)
    assert found.key == ours
    listing.abort(store.objects, found)
    listing.abort(store.objects, found)
    assert [one.key for one in listing.unfinished(store.objects)] == ["theirs/model.safetensors"]
    assert [one.key for one in listing.unfinished(beside.objects)] == [ours]


def test_torn_temporary_files_of_a_folder_are_uploads_too(tmp_path: Path) -> None:
    store = Store(LocalObjects(tmp_path))
    at = tmp_path / "stages" / "toy" / ("0" * 64) / uuid.uuid4().hex
    at.mkdir(parents=True)
    (at / f".part-{uuid.uuid4().hex}").write_bytes(b"x" * 10)
    (tmp_path / ".part-of-others").write_bytes(b"")
    (found,) = collect.unfinished(store, time.time() + 60)
    listing.abort(store.objects, found)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".part-of-others"]


def test_what_cannot_be_read_is_not_touched(tmp_path: Path) -> None:
    store = Store(LocalObjects(tmp_path))
    receipt = committed(store, {"file": b"1"})
    lost = stored(store, {"file": b"2"})
    store.objects.put(layout.manifest("toy", receipt.key, 2), b"{")
    strange = committed(store, {"file": b"1"}, key="2" * 64)
    store.objects.put(f"stages/toy/{strange.key}/of a newer Luthier", b"")
    store.condemn(store.manifest(strange))
    cutoff = time.time() + 60
    assert old(store, cutoff, unreferenced=True) == []
    assert len(Scan.of(store).unread()) == 2
    assert store.objects.size(attempt(lost) + "file") == 1


def test_an_attempt_that_is_committed_while_garbage_is_collected_stays(tmp_path: Path) -> None:
    store = Store(LocalObjects(tmp_path))
    mine, lost = stored(store, {"file": b"1"}), stored(store, {"file": b"2"}, key="1" * 64)
    aged(store, "stages")
    cutoff = time.time() - 7 * DAY
    garbage = old(store, cutoff)
    assert {one.place for one in garbage} == {attempt(mine), attempt(lost)}
    store.commit(mine)
    swept = collect.sweep(store, garbage, cutoff, lambda _: None)
    assert [one.place for one in swept.gone] == [attempt(lost)]
    assert [one.place for one in swept.spared] == [attempt(mine)]
    assert store.find("toy", mine.key) == mine


def test_an_attempt_whose_job_gives_a_sign_of_life_meanwhile_stays(tmp_path: Path) -> None:
    store = Store(LocalObjects(tmp_path))
    mine = stored(store, {"file": b"1"})
    aged(store, "stages")
    cutoff = time.time() - 7 * DAY
    garbage = old(store, cutoff)
    store.objects.put(layout.job("toy", mine.key, mine.attempt, "heartbeat.json"), b"{}")
    assert collect.sweep(store, garbage, cutoff, lambda _: None).gone == []
    assert old(store, cutoff) == []


def test_a_stage_that_commits_all_the_while_loses_nothing(tmp_path: Path) -> None:
    store = Store(LocalObjects(tmp_path))
    for number in range(20):
        stored(store, {"file": b"lost"}, key=f"{number:064x}")
    aged(store, "stages")
    garbage = [f"{one.place}file" for one in old(store, time.time() - 3600)]
    done = threading.Event()

    def collecting() -> None:
        while not done.is_set():
            cutoff = time.time() - 3600
            collect.sweep(store, old(store, cutoff), cutoff, lambda _: None)

    collector = threading.Thread(target=collecting)
    collector.start()
    try:
        made = [committed(store, {"file": bytes([n])}, key=f"{n % 20:064x}", stage=f"toy_{n % 2}") for n in range(40)]
        part = committed(store, {"tokens.bin": b"1"}, "shard")
        made.append(whole(store, part))
    finally:
        done.set()
        collector.join()
    assert not set(garbage) & set(store.objects.list("stages/"))
    survey = Survey(store)
    survey.chain(made)
    assert [*survey.faults, *check(survey, lambda _: None)] == []


def test_records_go_before_files_and_the_oldest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(LocalObjects(tmp_path))
    first = committed(store, {"file": b"1"})
    store.condemn(store.manifest(first))
    second = committed(store, {"file": b"1"})
    store.condemn(store.manifest(second))
    (found,) = old(store, time.time() + 60)
    assert found.reason == "found corrupt"
    deleted: list[str] = []
    monkeypatch.setattr(store.objects, "delete", deleted.append)
    swept = collect.sweep(store, [found], time.time() + 60, lambda _: None)
    assert [key.rpartition("/")[2] for key in deleted[:2]] == ["MANIFEST.json", "MANIFEST.2.json"]
    assert swept.left == [found], "what is still listed afterwards is said to be"


def test_adapters_of_a_kept_training_stay_with_it(tmp_path: Path) -> None:
    store = Store(LocalObjects(tmp_path))
    model = committed(store, {"adapter": b"1"}, "training")
    kept, other = (committed(store, {"adapter": b"2"}, "trajectory", f"{n}" * 64) for n in (1, 2))
    store.objects.put(f"stages/training/{model.key}/trajectory/00000010.json", kept.model_dump_json().encode())
    roots = Roots.of([(model.uri, "")])
    found = [*doomed(Scan.of(store), roots, time.time() + 60, unreferenced=True)]
    assert [one.place for one in found] == [f"stages/trajectory/{other.key}/"]


def test_what_a_key_has_learned_stays_and_is_known(tmp_path: Path) -> None:
    objects = LocalObjects(tmp_path)
    objects.put(layout.learned("training", "a" * 64), b"{}")
    scan = Scan.of(Store(objects))
    assert (scan.unparsed, scan.jobs) == (0, {})


def test_what_is_old_in_a_folder_is_told_by_its_file_system_whatever_this_machines_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, real = Store(LocalObjects(tmp_path)), time.time()
    stored(store, {"file": b"1"})
    monkeypatch.setattr(time, "time", lambda: real + 2 * 86400)
    cutoff = listing.now(store.objects) - 3600
    assert [*doomed(Scan.of(store), Roots(frozenset(), frozenset()), cutoff)] == []
    assert not list(tmp_path.glob(".part-*"))
