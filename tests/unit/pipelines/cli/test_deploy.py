"""`luthier deploy` before it reaches a server, and what it says of servers that will not have it."""

from pathlib import Path

import pytest
import yaml

from infra.errors import BadRecipe, Refused, Unreachable
from pipelines.cli import deploy, init
from tests.s3 import free_ports
from tests.script import Script, serving


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, luthier_home: Path) -> Path:
    """A project, entered, and an environment that names no server."""
    init.init(tmp_path / "parts")
    monkeypatch.chdir(tmp_path / "parts")
    for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(deploy, "PATIENCE_S", 0.1)
    return tmp_path / "parts"


def deploy_to(server: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", server.api)
    deploy.deploy()


def test_without_a_server_it_says_how_to_get_one(project: Path) -> None:
    with pytest.raises(Refused, match="no Prefect server is named") as refused:
        deploy.deploy()
    assert "luthier up" in refused.value.remedy


def test_without_a_prefect_yaml_it_says_where_one_comes_from(project: Path) -> None:
    (project / "prefect.yaml").unlink()
    with pytest.raises(Refused, match=r"no prefect\.yaml") as refused:
        deploy.deploy()
    assert "luthier init" in refused.value.remedy


def test_a_server_that_does_not_answer_is_told_with_its_address(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = f"http://127.0.0.1:{free_ports(1)[0]}/api"
    monkeypatch.setenv("PREFECT_API_URL", api)
    with pytest.raises(Unreachable, match="does not answer") as lost:
        deploy.deploy()
    assert lost.value.place.startswith(api)
    assert "luthier doctor" in lost.value.remedy


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_says_which_variable_holds_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with serving([status], {"detail": "no"}) as server, pytest.raises(Refused, match="let us in") as refused:
        deploy_to(server, monkeypatch)
    assert "PREFECT_API_AUTH_STRING" in refused.value.remedy


@pytest.mark.parametrize(
    ("status", "reply"), [(200, "<html>pages</html>"), (405, "<html>no</html>"), (404, {}), (422, {})]
)
def test_an_address_without_an_api_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, status: int, reply: object
) -> None:
    with serving([status], reply) as server, pytest.raises(Refused, match="no Prefect API") as refused:
        deploy_to(server, monkeypatch)
    assert "/api" in refused.value.remedy


def test_what_is_no_address_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "prefect.example:4200")
    with pytest.raises(Refused, match="no Prefect API"):
        deploy.deploy()


@pytest.mark.parametrize(
    ("variable", "value", "header"),
    [
        ("PREFECT_API_KEY", "pnu_key", "Bearer pnu_key"),
        ("PREFECT_API_AUTH_STRING", "user:password", "Basic dXNlcjpwYXNzd29yZA=="),
    ],
)
def test_the_key_of_a_cloud_and_the_password_of_a_server_are_sent(
    project: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, header: str
) -> None:
    monkeypatch.setenv(variable, value)
    with serving([401], {}) as server, pytest.raises(Refused):
        deploy_to(server, monkeypatch)
    assert server.logins == [header]


def spoil(project: Path, **parameters: object) -> None:
    """Other parameters in the one deployment of the project."""
    path = project / "prefect.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["deployments"][0]["parameters"] = parameters
    path.write_text(yaml.safe_dump(raw))


@pytest.mark.parametrize(
    "parameters",
    [
        {"recipe": "recipes/gone.yaml"},
        {"recipe": "recipes/parts.yaml", "overrides": {"train.max_step": 3}},
        {"recipe": "recipes/parts.yaml", "overrides": {"train.num_processes": 3}},
        {"recipe": "recipes/parts.yaml", "overrides": {"train.training_args": {"no_such_argument": 1}}},
    ],
)
def test_nothing_is_asked_of_a_server_when_a_recipe_is_wrong(
    project: Path, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, object]
) -> None:
    spoil(project, **parameters)
    with serving([200], {}) as server, pytest.raises(BadRecipe):
        deploy_to(server, monkeypatch)
    assert not server.asked
