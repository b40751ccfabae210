"""A Postgres server that is not ours: it is used as it is, and neither started nor ended."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from infra.stack import postgres, processes
from infra.stack.services import Plan
from infra.stack.state import Credentials, Folder
from infra.stack.supervise import ROLES
from tests.e2e.stack import begin, finish
from tests.s3 import free_ports

pytestmark = [
    pytest.mark.proof,
    pytest.mark.s3,
    pytest.mark.skipif(
        not shutil.which("initdb") and not list(postgres.DEBIAN.glob("*/bin/initdb")),
        reason="there is no Postgres here: apt-get install postgresql",
    ),
]


def password_of(address: str) -> str:
    return urlsplit(address).password or ""


@pytest.fixture
def room() -> Iterator[Path]:
    """Where we are root, Postgres runs as another user, who must get in."""
    made = Path(tempfile.mkdtemp(prefix="luthier-databases-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def server(room: Path) -> Iterator[str]:
    """The address of a Postgres with one user and no database of ours."""
    folder = Folder(room / "theirs")
    plan = Plan(folder, dict(zip(ROLES, free_ports(len(ROLES)), strict=True)), Credentials(), {})
    service = postgres.service(plan)
    folder.root.mkdir(parents=True)
    service.prepare()
    record = processes.spawn(
        service.command, service.environment, folder.log("postgres"), service.cwd, "theirs", service.user
    )
    base = postgres.private_url(plan.ports["postgres"], plan.secrets.postgres)
    try:
        end = time.monotonic() + 60
        while not postgres._ready(base):
            assert time.monotonic() < end, folder.log("postgres").read_text()
            time.sleep(0.2)
        yield base
    finally:
        assert processes.alive(record), "it is not ours to end"
        processes.stop(record, "theirs", service.signal, 20)


def test_a_server_of_the_users_own(room: Path, server: str) -> None:
    stack = begin(room / "home")
    try:
        said = stack("up", LUTHIER_DATABASE=server)
        assert "up after" in said
        assert "postgres starts" not in said
        assert password_of(server) not in said
        assert "already up" in stack("up"), "the address is remembered"
        stack.mlflow("experiments/create", {"name": "kept"})
        stack("down")
        stack("up")
        assert stack.mlflow("experiments/get-by-name?experiment_name=kept")["experiment"]["name"] == "kept"
        assert not (stack.home / "mlflow.db").exists()
        assert not [name for name in os.listdir(stack.home / "prefect") if name.startswith("prefect.db")]
    finally:
        finish(stack)


def test_a_server_that_does_not_let_us_in_is_named_without_its_password(room: Path, server: str) -> None:
    stack = begin(room / "home")
    wrong = server.replace(password_of(server), "hunter2-hunter2")
    said = stack("up", LUTHIER_DATABASE=wrong, status=2)
    assert "does not let us in" in said
    assert "hunter2" not in said
    finish(stack)
