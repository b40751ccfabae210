"""How servers are started: on loopback, with no secret where others can read it, and deaf to the caller's own settings."""

import re
from pathlib import Path

import pytest

from infra.errors import Refused
from infra.stack.ports import HOST
from infra.stack.services import STORE, Plan, Service
from infra.stack.state import Credentials, Folder
from infra.stack.supervise import ROLES

SHELL = {
    "PATH": "/usr/bin:/bin",
    "HF_HUB_OFFLINE": "1",
    "AWS_PROFILE": "of-the-caller",
    "PREFECT_API_KEY": "of-the-caller",
    "MLFLOW_TRACKING_TOKEN": "of-the-caller",
    "LUTHIER_DATABASE": "postgresql://of-the-caller",
    "LUTHIER_NOTIFY_URL": "https://of-the-caller",
    "LUTHIER_SILENCE_S": "5",
}
ADDRESS = "postgresql://user:of-the-server@host/luthier_x"


@pytest.fixture
def plan(folder: Folder) -> Plan:
    ports = {role: 11000 + number for number, role in enumerate(ROLES)}
    return Plan(folder, ports, Credentials(), {"prefect": ADDRESS, "mlflow": ADDRESS}, SHELL)


@pytest.fixture
def all_services(plan: Plan) -> list[Service]:
    return [plan.s3(), plan.prefect(), plan.mlflow(), plan.worker()]


def test_no_command_line_holds_a_secret(plan: Plan, all_services: list[Service]) -> None:
    secrets = [value for value in plan.secrets.model_dump().values() if value]
    for service in all_services:
        line = " ".join(service.command)
        assert not [secret for secret in [*secrets, "of-the-server"] if secret in line], service.name


def test_every_server_is_bound_to_loopback(all_services: list[Service]) -> None:
    for service in all_services:
        if service.ports:
            assert HOST in " ".join(service.command)
        assert "0.0.0.0" not in " ".join([*service.command, *service.environment.values()])


def test_the_callers_own_settings_lead_no_server_elsewhere(all_services: list[Service]) -> None:
    for service in all_services:
        leaked = {name for name, value in service.environment.items() if "of-the-caller" in value}
        assert not leaked, service.name
        assert service.environment["HF_HUB_OFFLINE"] == "1"


def test_the_worker_has_the_callers_knobs_and_the_stacks_addresses(plan: Plan) -> None:
    environment = plan.worker().environment
    assert environment["LUTHIER_SILENCE_S"] == "5"
    assert plan.client().items() <= environment.items()


def test_only_who_needs_a_secret_has_it(plan: Plan, all_services: list[Service]) -> None:
    has = {service.name: set(service.environment.values()) for service in all_services}
    assert [name for name in has if plan.secrets.s3_secret in has[name]] == ["s3", "mlflow", "worker"]
    assert [name for name in has if plan.secrets.prefect in has[name]] == ["prefect", "worker"]
    assert [name for name in has if ADDRESS in has[name]] == ["prefect", "mlflow"]


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        (f"{STORE}/stages/merging/key/attempt", True),
        ("s3://luthier/store-of-another/stages/x", False),
        ("s3://elsewhere/luthier/store/stages/x", False),
        ("file:///etc", False),
        ("https://elsewhere/?s3://luthier/store/stages/", False),
    ],
)
def test_versions_come_from_our_store_only(plan: Plan, source: str, allowed: bool) -> None:
    pattern = plan.mlflow().environment["MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX"]
    assert bool(re.search(pattern, source)) is allowed


def test_what_a_server_reads_at_its_start_is_private(plan: Plan, tmp_path: Path) -> None:
    plan.s3().prepare()
    plan.mlflow().prepare()
    written = [path for path in plan.folder.root.rglob("*") if path.is_file()]
    assert {path.name for path in written} == {"security.toml", "mlflow-auth.ini", "mlflow-users.db"}
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}


def test_a_program_that_is_missing_is_named_with_its_remedy(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="SeaweedFS is not installed") as refused:
        plan.s3()
    assert "pip install" in refused.value.remedy
