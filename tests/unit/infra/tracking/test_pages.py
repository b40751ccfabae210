"""Pages go beside a run where there is room for them; where there is none, nothing fails and nothing waits."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.tracking import pages
from tests.registered import make
from tests.s3 import free_ports

pytestmark = pytest.mark.heavy


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return make(tmp_path / "home").on.tracking_uri


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "report.html").write_text("<p>rows</p>")
    return tmp_path / "report.html"


def run(uri: str, location: str | None) -> str:
    client = MlflowClient(uri)
    return str(client.create_run(client.create_experiment("some", artifact_location=location)).info.run_id)


def test_a_page_lies_beside_the_database_and_is_replaced(uri: str, page: Path, tmp_path: Path) -> None:
    made = run(uri, pages.room(uri))
    for text in ("<p>rows</p>", "<p>more</p>"):
        page.write_text(text)
        assert pages.attach(uri, made, [page], "data")
    assert [path.read_text() for path in (tmp_path / "home" / "mlartifacts").rglob("report.html")] == ["<p>more</p>"]
    assert [item.path for item in MlflowClient(uri).list_artifacts(made, "data")] == ["data/report.html"]


def test_a_place_that_cannot_be_reached_costs_the_page_alone(
    uri: str, page: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pages, "DEADLINE_S", 1.0)
    for name, value in {"KEY_ID": "key", "ACCESS_KEY": "canary"}.items():
        monkeypatch.setenv(f"AWS_{'SECRET_' if name == 'ACCESS_KEY' else 'ACCESS_'}{name}", value)
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert not pages.attach(uri, run(uri, "s3://nowhere/runs"), [page], "data")
    assert "the run has no copy of data" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    ("root", "there"),
    [("mlflow-artifacts:/1/a", True), ("s3://b/1", True), ("file:///mlruns/1", False), ("/mlruns/1", False)],
)
def test_a_servers_own_folder_is_not_ours(root: str, there: bool) -> None:
    assert pages.reachable("https://mlflow.example", root) is there


@pytest.mark.parametrize(("root", "there"), [("/home/mlartifacts/1/a", True), ("/project/mlruns/1", False)])
def test_beside_a_database_lie_only_its_own_files(root: str, there: bool) -> None:
    assert pages.reachable("sqlite:////home/mlflow.db", root) is there
    assert pages.reachable("sqlite:////home/mlflow.db", f"file://{root}") is there
