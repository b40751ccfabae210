"""docker/: what a careful reader would check in its files, without an engine."""

import importlib.util
import re
import stat
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from infra.errors import Refused
from infra.stack.ports import HOST
from infra.stack.services import Plan
from infra.stack.state import Credentials, Folder
from infra.stack.supervise import ROLES

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*Dockerfile"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
SECRETS = set(COMPOSE["secrets"])
NAMES_A_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|KEY|AUTH")


def awaited(condition: str) -> set[str]:
    """The services for which another waits in that way."""
    waits = [service.get("depends_on", {}) for service in SERVICES.values()]
    return {name for wait in waits for name, how in wait.items() if how["condition"] == condition}


def once() -> set[str]:
    """Those that are meant to end: what others wait for, and commands."""
    commands = {name for name, service in SERVICES.items() if service.get("profiles")}
    return awaited("service_completed_successfully") | commands


@pytest.fixture
def serve() -> ModuleType:
    spec = importlib.util.spec_from_file_location("serve", DOCKER / "serve.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plan(serve: ModuleType, tmp_path: Path) -> Plan:
    made: Plan = serve.Containers(Folder(tmp_path), ROLES, Credentials(), {}, {})
    return made


# compose.yaml


def test_the_services_are_those_of_luthier_up_one_that_deploys_and_one_for_commands() -> None:
    assert set(SERVICES) == {"postgres", "s3", "prefect", "mlflow", "worker", "deploy", "luthier"}
    assert once() == {"deploy", "luthier"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_and_writes_only_where_it_should(name: str) -> None:
    service = SERVICES[name]
    assert service["user"].partition(":")[0] not in ("", "0", "root")
    assert service["read_only"] is (name != "postgres")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    mounted = [volume.split(":") for volume in service.get("volumes", [])]
    assert {source for source, *_ in mounted} <= set(COMPOSE["volumes"])


def test_whoever_does_not_end_is_checked_and_waited_for() -> None:
    checked = {name for name, service in SERVICES.items() if "healthcheck" in service}
    assert checked == set(SERVICES) - once()
    assert awaited("service_healthy") <= checked
    assert awaited("service_started") == set()


def test_only_the_pages_are_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {name: [f"{HOST}:{ROLES[name]}:{ROLES[name]}"] for name in ("prefect", "mlflow")}


def test_no_secret_is_in_an_environment_or_on_a_command_line() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if NAMES_A_SECRET.search(name):
                assert name.endswith("_FILE"), name
                assert value.startswith("/run/secrets/"), name
        assert "@" not in str(service.get("command", "")) + str(service.get("environment", ""))


def test_each_gets_the_secrets_that_it_needs_and_no_others(serve: ModuleType) -> None:
    given = {name: set(service["secrets"]) - {"notify_url"} for name, service in SERVICES.items()}
    needed = {name: set(names) for name, names in serve.NEEDS.items()}
    assert given == {"postgres": {"postgres"}, "luthier": needed.pop("client"), **needed}
    assert set().union(*given.values()) == SECRETS - {"notify_url"} == set(Credentials.model_fields) - {"database"}


def test_the_gpu_file_changes_services_that_there_are() -> None:
    changed = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text(encoding="utf-8"))["services"]
    assert set(changed) == {name for name, service in SERVICES.items() if service["image"] == "luthier-train"}


# The secrets


def test_the_script_makes_every_secret_once_where_only_the_owner_gets_in(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    script.write_bytes((DOCKER / "secrets.sh").read_bytes())

    def run() -> dict[str, str]:
        subprocess.run(["sh", script], check=True, capture_output=True, timeout=20)
        return {path.name: path.read_text() for path in (tmp_path / ".secrets").iterdir()}

    made = run()
    assert set(made) == SECRETS
    assert all(COMPOSE["secrets"][name]["file"] == f".secrets/{name}" for name in made)
    assert stat.S_IMODE((tmp_path / ".secrets").stat().st_mode) == 0o700
    tokens = [value.rpartition(":")[2] for name, value in made.items() if name not in ("notify_url", "s3_key")]
    assert all(re.fullmatch("[0-9a-f]{48}", token) for token in tokens)
    assert len(set(tokens)) == len(tokens)
    (tmp_path / ".secrets" / "mlflow").unlink()
    again = run()
    assert again.pop("mlflow") != made.pop("mlflow")
    assert again == made


def test_secrets_reach_neither_git_nor_an_image() -> None:
    assert ".secrets/" in (DOCKER / ".gitignore").read_text().splitlines()
    first, *rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert first == "*"
    let_in = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    assert all((ROOT / name).exists() for name in let_in)
    assert [name for name in let_in if name.startswith(("docker", "."))] == ["docker/serve.py"]
    assert "**/__pycache__" in rules


# serve.py


def test_servers_listen_on_all_addresses_and_are_found_by_name(serve: ModuleType, plan: Plan) -> None:
    heard = {role: serve.listening(serve.service(plan, role).command) for role in ("s3", "prefect", "mlflow")}
    assert {"-ip.bind=0.0.0.0", f"-ip={HOST}"} <= set(heard["s3"])  # its inner parts find each other in the container
    for role in ("prefect", "mlflow"):
        assert heard[role][heard[role].index("--host") + 1] == "0.0.0.0"
        assert HOST not in heard[role]
    assert plan.client()["PREFECT_API_URL"] == "http://prefect:4200/api"
    assert plan.client()["AWS_ENDPOINT_URL"] == "http://s3:8333"
    asked = plan.client()["MLFLOW_TRACKING_URI"].removeprefix("http://")
    assert asked in SERVICES["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")


def test_the_browser_is_told_an_address_that_it_can_reach(serve: ModuleType, plan: Plan) -> None:
    set_here, known = SERVICES["prefect"]["environment"], serve.service(plan, "prefect").environment
    reachable = {name: value.replace("http://prefect:", f"http://{HOST}:") for name, value in known.items()}
    for name in ("PREFECT_SERVER_UI_API_URL", "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"):
        assert set_here[name] == reachable[name]


def test_a_role_without_its_secrets_is_refused(
    serve: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "SECRETS", tmp_path)
    (tmp_path / "s3_key").write_text("key")
    (tmp_path / "s3_secret").write_text("")
    with pytest.raises(Refused, match="s3_secret, s3_signing"):
        serve.understand("s3")
    (tmp_path / "s3_secret").write_text("secret\n")
    (tmp_path / "s3_signing").write_text("signing\n")
    (tmp_path / "postgres").write_text("not its business")
    known = serve.understand("s3")
    assert (known.s3_key, known.s3_secret, known.postgres) == ("key", "secret", "")
    assert serve.databases(known) == {}
    with pytest.raises(Refused, match="no such role"):
        serve.understand("s4")


# The Dockerfiles


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_stands_on_a_base_of_choice_and_runs_without_rights(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    first = next(line for line in text.splitlines() if not line.startswith("#"))
    assert first.startswith("ARG BASE_IMAGE=")
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert set(bases) == {"${BASE_IMAGE}"}
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001:10001"]
    assert SERVICES["worker"]["user"] == "10001:10001"
    assert "PYTHONDONTWRITEBYTECODE" not in text  # without bytecode every process of a run starts half a minute later
    assert not NAMES_A_SECRET.search(re.sub(r"^#.*$", "", text, flags=re.MULTILINE))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_versions_are_those_of_the_project(path: Path) -> None:
    text, project = path.read_text(encoding="utf-8"), tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    known = {line.partition("==")[0] for line in constraints if "==" in line}
    assert "uv" in known
    assert re.search(r"pip install .*-c constraints.txt uv\b", text)
    assert all("-c constraints.txt" in line or "--no-deps" in line for line in re.findall(r"uv pip install.*", text))
    named = re.findall(r"[\w-]+==[\w.]+", text)
    assert set(named) <= {*constraints, *re.findall(r"[\w-]+==[\w.]+", (ROOT / "Makefile").read_text())}
    python = re.search(r"BASE_IMAGE=python:(\d+\.\d+)", text)
    assert python
    assert project["requires-python"].startswith(f">={python[1]}")
    extras = {name for name in re.findall(r"--extra (\w+)", text) if name != "EXTRAS"}
    assert extras <= set(project["optional-dependencies"])
