"""Broken servers, each named with what mends it. The real ones are asked in tests/e2e."""

import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.doctor import servers
from infra.doctor.finding import Finding
from infra.settings import Settings
from infra.stack.state import Folder, State
from tests.answers import Answer, answering
from tests.s3 import free_ports

POOLS = Answer(body='[{"name": "luthier"}]')
API = {"/api/work_pools/filter": POOLS, "/api/admin/version": Answer(body='"3.8.8"')}
ONLINE = {"/api/work_pools/luthier/workers": Answer(body='[{"status": "ONLINE"}]')}


def prefect(answers: Mapping[str, Answer], path: str = "/api", **environment: str) -> Finding:
    with answering(answers) as url:
        return servers.prefect({"PREFECT_API_URL": url + path, **environment})


def mlflow(answers: Mapping[str, Answer], monkeypatch: pytest.MonkeyPatch) -> Finding:
    with answering(answers) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        return servers.mlflow(Settings(), {})


def test_prefect_with_a_worker_is_well() -> None:
    found = prefect(API | ONLINE)
    assert found.state == "ok"
    assert "1 worker(s) in luthier" in found.said


def test_no_prefect_server_is_no_fault() -> None:
    assert servers.prefect({}).state == "note"


@pytest.mark.parametrize(
    ("answers", "path", "environment", "said", "remedy"),
    [
        (API, "/api", {}, "no worker is online in luthier", "prefect worker start"),
        (API | {"/api/work_pools/filter": Answer(401)}, "/api", {}, "answers 401", "PREFECT_API_AUTH_STRING"),
        (API | {"/api/work_pools/filter": Answer(401)}, "/api", {"PREFECT_API_KEY": "k"}, "401", "PREFECT_API_KEY"),
        ({"/": Answer(body="<html>")}, "", {}, "is no Prefect API", "ends in /api"),
        (API | ONLINE | {"/api/admin/version": Answer(body='"3.1.0"')}, "/api", {}, "3.1.0, older", "upgrade"),
    ],
)
def test_prefect(answers: Mapping[str, Answer], path: str, environment: dict[str, str], said: str, remedy: str) -> None:
    found = prefect(answers, path, **environment)
    assert found.state in ("bad", "warn")
    assert said in found.said
    assert remedy in found.remedy


def test_a_port_where_nobody_listens() -> None:
    found = servers.prefect({"PREFECT_API_URL": f"http://127.0.0.1:{free_ports(1)[0]}/api"})
    assert found.state == "bad"
    assert "nobody answers (" in found.said
    assert "is the server up" in found.remedy


def test_what_is_no_address() -> None:
    found = servers.prefect({"PREFECT_API_URL": "prefect.example"})
    assert "prefect.example" in found.said
    assert "http://" in found.remedy


SEARCH = "/api/2.0/mlflow/registered-models/search"


@pytest.mark.parametrize(
    ("answers", "said", "remedy"),
    [
        ({SEARCH: Answer(401)}, "401", "MLFLOW_TRACKING_PASSWORD"),
        ({SEARCH: Answer(403, "Invalid Host header")}, "Invalid Host", "MLFLOW_SERVER_ALLOWED_HOSTS"),
        ({"/": Answer(404)}, "no model registry", "MLFLOW_TRACKING_URI"),
        ({SEARCH: Answer(body="{}"), "/version": Answer(body="2.9.2")}, "version 2.9.2", "upgrade the server"),
    ],
)
def test_mlflow(answers: Mapping[str, Answer], said: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = mlflow(answers, monkeypatch)
    assert found.state == "bad"
    assert said in found.said
    assert remedy in found.remedy


def test_mlflow_of_today_and_of_none_are_well(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert mlflow({SEARCH: Answer(body="{}"), "/version": Answer(body="3.17.2")}, monkeypatch).state == "ok"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/new/mlflow.db")
    assert servers.mlflow(Settings()).state == "ok"


def test_the_hub_and_its_token() -> None:
    with answering({"/api/whoami-v2": Answer(body='{"name": "ada"}')}) as url:
        assert "as ada" in servers.hub({"HF_ENDPOINT": url, "HF_TOKEN": "hf_good"}).said
        assert servers.hub({"HF_ENDPOINT": url}).state == "note"
    with answering({"/api/whoami-v2": Answer(401)}) as url:
        found = servers.hub({"HF_ENDPOINT": url, "HF_TOKEN": "hf_secret"})
    assert found.state == "bad"
    assert "does not take the token" in found.said
    assert "hf_secret" not in found.said + found.remedy
    gone = servers.hub({"HF_ENDPOINT": f"http://127.0.0.1:{free_ports(1)[0]}"})
    assert gone.state == "warn"
    assert "HF_ENDPOINT" in gone.remedy


def test_a_proxy_before_a_server_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000", "http_proxy": "http://proxy.example:3128"}
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = servers.proxies(environment)
    assert found.state == "bad"
    assert "MLFLOW_TRACKING_URI" in found.said
    assert found.remedy == "add 127.0.0.1 to NO_PROXY"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert servers.proxies(environment).state == "ok"


def test_the_stack(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert servers.stack(tmp_path).state == "note"
    folder.keep(State(ports={"prefect": free_ports(1)[0]}))
    assert "down" in servers.stack(tmp_path).said


def test_a_port_of_the_stack_that_somebody_took(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as stranger:
        port = stranger.getsockname()[1]
        Folder(tmp_path).keep(State(ports={"prefect": port}))
        found = servers.stack(tmp_path)
    assert found.state == "bad"
    assert f"port {port}, that of prefect, is taken by" in found.said
    assert "another port" in found.remedy


def test_secrets_that_others_may_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.keep(State())
    folder.env.write_text("")
    folder.env.chmod(0o644)
    found = servers.stack(tmp_path)
    assert found.state == "bad"
    assert found.remedy == f"chmod 600 {folder.env}"
