"""Broken machines, each named with what mends it."""

import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.doctor import machine
from infra.settings import Settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LUTHIER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_settings_that_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.settings().state == "ok"
    monkeypatch.setenv("LUTHIER_HOME", "/somewhere")
    assert machine.settings().said == "LUTHIER_HOME"


def test_a_setting_that_does_not_exist_names_the_near_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_STROE", "s3://bucket")
    found = machine.settings()
    assert found.state == "bad"
    assert "LUTHIER_STROE" in found.said
    assert "LUTHIER_STORE" in found.remedy


def test_a_setting_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_SILENCE_S", "long")
    found = machine.settings()
    assert found.state == "bad"
    assert "LUTHIER_SILENCE_S" in found.said
    assert "number" in found.remedy


def test_what_is_installed_here_is_within_its_ranges() -> None:
    assert {finding.state for finding in machine.packages()} <= {"ok", "warn"}


def test_a_package_of_another_version_is_named_with_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.160.0" if name == "fastapi" else real(name))
    (found,) = [finding for finding in machine.packages() if finding.state == "bad"]
    assert "fastapi 0.160.0 is outside <0.151,>=0.139" in found.said
    assert "pip install luthier" in found.remedy


def test_a_stage_whose_packages_are_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "lm-eval":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    (found,) = [finding for finding in machine.packages() if "lm-eval not installed" in finding.said]
    assert found.state == "warn"
    assert "nothing can be evaluated" in found.said
    assert found.remedy == "pip install 'luthier[evaluate]'"


def test_another_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.9.2")
    found = machine.packages()[0]
    assert found.state == "bad"
    assert "Python 3.9.2 is outside" in found.said


def test_a_home_with_room_leaves_nothing_behind(tmp_path: Path) -> None:
    found = machine.home(Settings(home=tmp_path / "home"))
    assert "GiB free" in found.said
    assert list((tmp_path / "home").iterdir()) == []


def test_a_full_disk(tiny_disk: Path) -> None:
    found = machine.home(Settings(home=tiny_disk / "home"))
    assert found.state == "bad"
    assert "No space left on device" in found.said
    assert "free some of the disk" in found.remedy
    assert list((tiny_disk / "home").iterdir()) == []


@pytest.mark.parametrize(("free", "state"), [(2**30, "bad"), (10 * 2**30, "warn"), (30 * 2**30, "note"), (2**40, "ok")])
def test_how_much_room_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**40, 2**40 - free, free))
    assert machine.home(Settings(home=tmp_path)).state == state


def test_a_home_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    found = machine.home(Settings(home=tmp_path / "home"))
    assert found.state == "bad"
    assert "LUTHIER_HOME" in found.remedy


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = machine.compiler({"include": str(tmp_path)})
    assert found.state == "warn"
    assert "no c++, ninja, Python.h: zero2_offload" in found.said
    assert "python3-dev" in found.remedy
