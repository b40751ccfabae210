"""The contract of stage and worker, with real processes."""

import dataclasses
from pathlib import Path

import pytest

from infra import settings
from infra.errors import BadData, Corrupt, Crashed, LinkLost, Lost, LuthierError, NodeLost, OutOfMemory, Preempted
from infra.launch import produce as launching
from infra.launch.produce import produce
from infra.launch.resources import Resources
from infra.launch.step import Beat, Step
from infra.settings import Platform
from infra.storage.cache import verify
from tests import toy
from tests.toy import Toy


@pytest.fixture
def platform(luthier_home: Path) -> Platform:
    return settings.load().platform()


def left(platform: Platform) -> list[str]:
    return [path.name for path in (platform.home / "work").rglob("*")]


def test_what_was_made_is_committed_and_not_made_twice(platform: Platform, tmp_path: Path) -> None:
    config = Toy(value=7, notes=str(tmp_path))
    first = toy.run(config)
    again = toy.run(config)
    assert again == first
    assert first.summary["launches"] == 1
    assert len(list(tmp_path.glob("launch-*"))) == 1
    assert platform.store.read(first, "made.txt") == b"7"
    assert verify(platform.store, first) == []
    assert left(platform) == []


def test_what_a_worker_says_reaches_the_stage(platform: Platform, tmp_path: Path) -> None:
    beats: list[Beat] = []

    def heard(beat: Beat) -> None:
        beats.append(beat)
        if beat.phase == "working":
            (tmp_path / "go").touch()  # it waits for this

    toy.run(Toy(act="until", notes=str(tmp_path)), heard)
    assert ("working", 1, 2, {"loss": 0.5}) in [(beat.phase, beat.step, beat.steps, beat.figures) for beat in beats]


def test_inputs_arrive_as_folders_and_change_the_key(platform: Platform) -> None:
    model = toy.run(Toy(value=1))
    tuned = toy.run(Toy(), model=model)
    assert tuned.summary["seen"] == {"model": ["made.txt"]}
    assert tuned.key != toy.step(Toy()).key
    assert platform.store.manifest(tuned).inputs == {"model": model}


def test_what_the_key_knows_by_its_material_arrives_as_a_folder_too(platform: Platform) -> None:
    report = toy.run(Toy(value=1))
    step = Step("toy", 1, Toy(value=2), material={"found": "x"}, aside={"report": report}, module="tests.toy")
    made = produce(step, platform)
    assert made.summary["seen"] == {"report": ["made.txt"]}
    assert platform.store.manifest(made).inputs == {"report": report}
    assert produce(dataclasses.replace(step, aside={}), platform) == made


def test_a_stage_that_reconciles_runs_each_time_and_keeps_what_is_equal(platform: Platform, tmp_path: Path) -> None:
    step = toy.step(Toy(notes=str(tmp_path)), always=True)
    first, second = produce(step, platform), produce(step, platform)
    assert len(list(tmp_path.glob("launch-*"))) == 2
    assert second == first


def test_a_worker_that_has_learned_to_need_less_is_launched_again_and_every_launch_is_told(
    platform: Platform, tmp_path: Path
) -> None:
    beats: list[Beat] = []
    receipt = toy.run(Toy(act="less", notes=str(tmp_path)), beats.append)
    assert receipt.summary["launches"] == 3
    told = [beat.launches for beat in beats if beat.launches]
    assert [len(launches) for launches in told] == [1, 2, 3]
    assert [launch.outcome for launch in told[-1]] == ["Adapted", "Adapted", "committed"]
    assert [launch.change for launch in told[-1]] == ["8 → 4", "4 → 2", ""]
    assert [launch.reason for launch in told[-1]] == ["no room 4", "no room 2", ""]
    assert told[-1][1].notes == {"goes_on_from": "launch 1"}
    assert all(launch.started <= launch.ended for launch in told[-1])


def test_a_worker_that_never_needs_less_is_not_launched_for_ever(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(launching, "MAX_ADAPTATIONS", 1)
    with pytest.raises(OutOfMemory, match="no room"):
        toy.run(Toy(act="no room", notes=str(tmp_path)))
    assert len(list(tmp_path.glob("launch-*"))) == 2


def test_the_first_launch_that_succeeds_is_no_story(platform: Platform) -> None:
    beats: list[Beat] = []
    toy.run(Toy(value=3), beats.append)
    assert not [beat for beat in beats if beat.launches]


@pytest.mark.parametrize(
    ("act", "kind", "place", "value", "remedy"),
    [
        ("raise", BadData, "rows.jsonl:3", "{", "mend the row"),
        ("corrupt", Corrupt, "s3://bucket/key", "sha", "again"),
        ("memory", OutOfMemory, "", "", ""),
        ("bug", Crashed, "toy.py:", "", ""),
        ("full disk", Lost, "/somewhere", "", "free some space"),
        ("huge", Lost, "toy-", "bytes needed", "LUTHIER_HOME"),
    ],
)
def test_an_error_crosses_back_as_itself(
    platform: Platform, act: str, kind: type[LuthierError], place: str, value: str, remedy: str
) -> None:
    with pytest.raises(LuthierError) as caught:
        toy.run(Toy(act=act))
    assert type(caught.value) is kind
    assert place in caught.value.place
    assert value in caught.value.value
    assert remedy in caught.value.remedy
    assert left(platform) == []
    assert platform.store.find("toy", toy.step(Toy(act=act)).key) is None


def test_a_worker_that_exits_without_a_word_crashed(platform: Platform) -> None:
    with pytest.raises(Crashed, match="exit status 3") as caught:
        toy.run(Toy(act="exit"))
    assert Path(caught.value.place).is_file()


def test_of_several_nodes_the_first_commits_and_where_it_goes_without_a_word_all_start_again(
    platform: Platform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    step = toy.step(Toy(act="a node goes", notes=str(tmp_path), value=3))
    made = produce(dataclasses.replace(step, resources=Resources(nodes=2)), platform)
    assert platform.store.read(made, "made.txt") == b"3"
    assert len(list(tmp_path.glob("launch-*"))) == 4
    found = [path.read_text() for path in (platform.home / "store/jobs").rglob("launch.json")]
    assert sum("toy: node 0 was lost" in told and "rank 1: exit status 1" in told for told in found) == 1
    assert sum('"outcome":"committed"' in told for told in found) == 1
    assert "toy lost a node (1 of 10): toy: node 0 was lost" in caplog.text
    assert "pre-empted" not in caplog.text
    (done,) = (platform.home / f"store/jobs/toy/{made.key}/{made.attempt}").glob("outcome-1.json")
    assert '"state":"done"' in done.read_text()


def test_a_stage_that_leaves_again_and_again_fails_with_the_last_reason(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "MAX_PREEMPTIONS", 0)
    with pytest.raises(Crashed) as caught:
        toy.run(Toy(act="a dark way"))
    assert caught.value.value == "the last time: nodes 0 (a) and 1 (b) do not reach each other any more"


@pytest.mark.parametrize(
    ("leave", "said"),
    [
        (Preempted("x"), "was pre-empted"),
        (NodeLost("x"), "lost a node"),
        (LinkLost("x"), "has nodes that do not reach each other"),
    ],
)
def test_what_made_a_launch_end_is_called_what_it_was(leave: Preempted, said: str) -> None:
    assert launching._how(leave) == said
