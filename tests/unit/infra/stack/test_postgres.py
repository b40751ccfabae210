"""One setting for both databases; a password in it is never repeated."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import Refused, Unreachable
from infra.stack import postgres
from infra.stack.ports import HOST, choose
from infra.stack.processes import Record, born, wait_gone


@pytest.mark.parametrize(
    ("setting", "meaning"),
    [
        ("sqlite", "sqlite"),
        ("postgres", "postgres"),
        ("postgresql://u:p@db:5432/main", "postgresql://u:p@db:5432/main"),
        ("postgres://u:p@db/main", "postgresql://u:p@db/main"),
    ],
)
def test_what_the_setting_means(setting: str, meaning: str) -> None:
    assert postgres.understand(setting) == meaning


@pytest.mark.parametrize("setting", ["mysql://u:hush@db", "u:hush@db", "Postgres:hush", "postgresql://"])
def test_anything_else_is_refused_without_being_repeated(setting: str) -> None:
    with pytest.raises(Refused) as refused:
        postgres.understand(setting)
    assert "LUTHIER_DATABASE" in refused.value.place
    assert "hush" not in str(refused.value)


def test_two_databases_beside_the_one_that_is_named() -> None:
    found = postgres.addresses("postgresql://u:p%40ss@db:5433/main?ssl=disable")
    assert found == {
        "prefect": "postgresql+asyncpg://u:p%40ss@db:5433/luthier_prefect?ssl=disable",
        "mlflow": "postgresql+psycopg://u:p%40ss@db:5433/luthier_mlflow?ssl=disable",
    }


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    port = choose(11000 + os.getpid() % 9000, [])
    with pytest.raises(Unreachable) as lost:
        postgres.ensure(f"postgresql://u:hush@{HOST}:{port}/main")
    assert f"{HOST}:{port}" in lost.value.place
    assert "hush" not in str(lost.value)


def test_without_binaries_the_remedy_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="Postgres is not installed") as refused:
        postgres.find_binaries()
    assert "apt-get install postgresql" in refused.value.remedy


def test_the_newest_of_debians_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(postgres, "DEBIAN", tmp_path)
    for version in ("9.6", "13", "15"):
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        (folder / "postgres").touch()
        (folder / "initdb").touch()
    assert postgres.find_binaries() == tmp_path / "15" / "bin"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts Postgres as another user")
def test_a_folder_that_the_servers_user_cannot_enter_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(Refused, match="may not enter") as refused:
        postgres.admit(closed / "home" / "postgres", "nobody")
    assert "chmod o+x" in refused.value.remedy


def test_the_lock_of_a_zombie_is_removed_and_that_of_a_running_server_kept(tmp_path: Path) -> None:
    zombie, lock = subprocess.Popen([sys.executable, "-c", ""]), tmp_path / "postmaster.pid"
    assert not wait_gone([Record(pid=zombie.pid, born=born(zombie.pid), started=0)], 10)
    lock.write_text(f"{os.getpid()}\n/data\n")
    postgres.forget_dead(lock)
    assert lock.exists()
    lock.write_text(f"{zombie.pid}\n/data\n")
    postgres.forget_dead(lock)
    assert not lock.exists()
    zombie.wait()
