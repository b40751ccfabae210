"""R1: SIGKILL at named points of every stage. A rerun finishes, nothing is torn, no committed stage is done twice."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.storage.receipt import Receipt
from tests import jobs, toy
from tests.benchmarks.figures import figure, note
from tests.faults.kills import environment, kill
from tests.faults.points import FLOW, Point, arm, points, struck
from tests.faults.points import STAGES as POINTS
from tests.faults.stages import Chain, begin, judged
from tests.s3 import Server
from tests.toy import Toy

SOME = ("work to begin", "input fetched", "file half written", "record to be created", "record created")
STAGES = (
    "gate",
    "tokenizer",
    "weights",
    "data",
    "registry",
    "merging",
    "evaluation",
    "training",
)  # the quick ones first
ROOT = str(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A store in which a gate has judged."""
    with environment({"PYTHONPATH": ROOT}):
        return judged(tmp_path_factory.mktemp("judged"))


def test_a_stage_killed_at_some_points_finishes_when_it_is_run_again(verdict: Chain, tmp_path: Path) -> None:
    told = kill(verdict, "gate", tmp_path, SOME)
    assert told.wrong == []
    assert told.kills == len(SOME)


@pytest.mark.parametrize("stage", [*POINTS, "flow"])
def test_every_point_is_a_call_that_there_is(stage: str) -> None:
    for point in (FLOW if stage == "flow" else points(stage)).values():
        nodes = ast.parse((Path(ROOT) / f"{point.module.replace('.', '/')}.py").read_text()).body
        for name in point.function.split("."):
            found = [node for node in nodes if getattr(node, "name", "") == name]
            assert found, f"{point.module} has no {point.function}"
            nodes = getattr(found[0], "body", [])


@pytest.mark.slow
def test_a_stage_killed_at_every_point_finishes_when_it_is_run_again(verdict: Chain, tmp_path: Path) -> None:
    told = kill(verdict, "gate", tmp_path)
    assert told.wrong == []
    assert told.kills == len(points("gate"))


@pytest.mark.slow
@pytest.mark.s3
def test_a_bucket_takes_kills_as_a_folder_does(verdict: Chain, tmp_path: Path, s3: Server, s3_root: str) -> None:
    told = kill(verdict, "gate", tmp_path, ("first file stored", "record to be created", "record created"), s3_root)
    assert told.wrong == []
    assert told.kills == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOW)
def test_a_killed_flow_leaves_nothing_that_a_new_one_minds(name: str, luthier_home: Path, tmp_path: Path) -> None:
    code = "from tests.toy import run, Toy; run(Toy(value=3))"
    with environment(arm(tmp_path / "armed", FLOW[name])):
        flow = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    assert flow.returncode == -9
    assert struck(tmp_path / "armed")
    receipt = toy.run(Toy(value=3))
    on = jobs.platform(luthier_home)
    assert json.loads(on.store.read(receipt, "made.txt")) == 3
    assert len([key for key in on.store.objects.list("stages/toy/") if "/MANIFEST" in key]) == 1


@pytest.mark.slow
def test_a_fault_strikes_only_where_it_is_told_to(luthier_home: Path, tmp_path: Path) -> None:
    never = Point("infra.launch.work", "_tell", "before", "no such file")
    with environment(arm(tmp_path / "never", never)):
        first: Receipt = toy.run(Toy(value=1))
    assert not struck(tmp_path / "never")
    assert first.summary["launches"] == 1


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A tiny run, of which each proof makes what it needs and finds what others made."""
    return begin(tmp_path_factory.mktemp("begun"))


@pytest.mark.proof
@pytest.mark.heavy
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_killed_at_every_point_finishes_when_it_is_run_again(
    stage: str, begun: Chain, tmp_path: Path
) -> None:
    with environment({"PYTHONPATH": ROOT}):
        told = kill(begun.reach(stage), stage, tmp_path)
    note(f"R1 {told.stage}: {told.kills} kills; {told.wrong or 'all well'}")
    share = max(0.0, 1 - len(told.wrong) / told.kills)
    figure(f"R1.{told.stage}", share, target=1.0, better="higher", unit="share", n=told.kills)
    assert told.wrong == []
    assert told.kills >= 12
