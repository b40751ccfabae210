"""Each server of the stack is killed in the middle of a training: nothing that was made is lost."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL
from typing import Any

import psutil
import pytest

from infra.storage.s3 import S3Objects
from tests.e2e import recipes
from tests.e2e.stack import SERVICES, Stack

pytestmark = [pytest.mark.proof, pytest.mark.s3]

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recipes.write(
        tmp_path_factory.mktemp("outages"), train={"max_steps": 150, "save_steps": 25}, register={"name": "outages"}
    )


def until(condition: Callable[[], Any], seconds: float) -> Any:
    """What the condition gives as soon as it gives something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.5)
    return found


@pytest.mark.timeout(2400)
@pytest.mark.parametrize("victim", SERVICES)
def test_a_server_killed_during_the_training_costs_nothing(
    stack: Stack, recipe: Path, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"train.seed": SERVICES.index(victim)}
    run = start(stack, recipe, changes)
    until(lambda: training(stack, run), 480)
    made = manifests(stack, monkeypatch)
    pid = stack.pids()[victim]
    os.kill(pid, SIGKILL)
    until(lambda: not psutil.pid_exists(pid), 30)
    time.sleep(15)  # an outage, so that whoever speaks to it notices
    assert f"{victim} is up after" in stack("up")
    state = ended(stack, run)
    if state["type"] != "COMPLETED":
        assert re.search(r"Lost|Unreachable|Crashed|heartbeat", str(state["message"])), state
        again = start(stack, recipe, changes)
        state = ended(stack, again)
    assert state["type"] == "COMPLETED", state
    assert made.items() <= manifests(stack, monkeypatch).items(), "what was committed before is as it was"
    version = stack.mlflow("registered-models/alias?name=outages&alias=candidate")["model_version"]
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert tags["luthier.verdict"] == "promote"


def start(stack: Stack, recipe: Path, changes: dict[str, Any]) -> str:
    """The id of a run of the deployment, once the server has it."""
    parameters = json.dumps({"recipe": str(recipe), "overrides": changes})
    said = stack.shell(f"prefect deployment run finetune/quickstart --params '{parameters}'", 120)
    return re.search(r"UUID: ([0-9a-f-]{36})", said)[1]  # type: ignore[index]


def training(stack: Stack, run: str) -> bool:
    """Whether the training of that run has taken its first steps."""
    asked = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": ["training-progress"]}}}
    return bool(stack.prefect("artifacts/filter", asked))


def ended(stack: Stack, run: str) -> dict[str, Any]:
    """The last state of a run."""

    def state() -> dict[str, Any] | None:
        found: dict[str, Any] = stack.prefect(f"flow_runs/{run}")["state"]
        return found if found["type"] in ENDED else None

    return until(state, 900)


def manifests(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes | None]:
    """Every commit record in the store."""
    for name, value in stack.variables.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    objects = S3Objects(stack.variables["LUTHIER_STORE"])
    return {key: objects.get(key) for key in objects.list("stages/") if "/MANIFEST" in key}
