"""One Prefect server for all flow tests, and none of the user's settings; stages that are faked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from infra.storage.store import Store
from tasks.base import stage as base
from tasks.data import stage as data
from tasks.evaluation import stage as evaluation
from tasks.gate import stage as gate
from tasks.merging import stage as merging
from tasks.registry import stage as registry
from tasks.training import stage as training
from tests.e2e import recipes
from tests.flows.fakes import Fakes

# Of every artifact's files those that are more than text.
READ = {
    "report.json": '{"max_length": 8, "suggested_max_length": 8, "lengths": {"width": 1, "rows": [1], "above": 0}}',
}


@pytest.fixture(scope="session", autouse=True)
def prefect_harness() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fakes:
    fakes = Fakes()
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(base, "tokenizer", fakes.stage("tokenizer"))
    monkeypatch.setattr(base, "weights", fakes.stage("weights"))
    for name, module in {
        "data": data,
        "training": training,
        "merging": merging,
        "evaluation": evaluation,
        "gate": gate,
        "registry": registry,
    }.items():
        monkeypatch.setattr(module, "run", fakes.stage(name))
    monkeypatch.setattr(evaluation, "questions", fakes.stage("questions"))
    monkeypatch.setattr(data, "overlap", fakes.stage("overlap"))
    monkeypatch.setattr(data, "diff", fakes.stage("diff"))
    monkeypatch.setattr(Store, "read", lambda _store, _receipt, name: READ.get(name, name).encode())
    return fakes


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    return str(recipes.write(tmp_path / "project", evaluate={"baseline_num_fewshot": 5}))
