"""The environment becomes a platform, or an error that names the variable."""

from pathlib import Path

import pytest

from infra import settings
from infra.errors import BadRecipe, StoreRefused


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LUTHIER_STORE", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "home"


def test_without_more_all_is_below_home(home: Path) -> None:
    platform = settings.load().platform()
    assert platform.store.uri == f"file://{home}/store"
    assert platform.tracking_uri == f"sqlite:///{home}/mlflow.db"
    assert not any((home / "store").rglob("*")), "the probe left something behind"


def test_a_child_with_that_environment_finds_the_same_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    platform = settings.load().platform()
    monkeypatch.chdir(tmp_path)
    for name, value in platform.environment().items():
        monkeypatch.setenv(name, value)
    assert settings.load().platform() == platform


def test_a_changed_tracking_server_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings.load().platform()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert settings.load().platform().tracking_uri == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LUTHIER_SILENCE_S", "soon"),
        ("LUTHIER_STORE_DEADLINE_S", "0"),
        ("LUTHIER_LAUNCHER", "moon"),
        ("LUTHIER_CACHE_BYTES", "-1"),
        ("LUTHIER_SHARDS", "ray://127.0.0.1:10001"),
        ("LUTHIER_SHARDS", "tcp://127.0.0.1:8786"),  # the store is a folder that no other node sees
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadRecipe) as caught:
        settings.load()
    assert (caught.value.place, caught.value.value) == (name, value)
    assert caught.value.remedy


@pytest.mark.parametrize("uri", ["ftp://somewhere", "s3://", "s3://key:hunter2@bucket", "file:///proc/nowhere"])
def test_a_store_that_cannot_be_used_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("LUTHIER_STORE", uri)
    with pytest.raises(StoreRefused) as caught:
        settings.load().platform()
    assert caught.value.remedy
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("shared", "fits"), [("", True), ("home", True), ("elsewhere", False)])
def test_a_folder_as_store_must_be_shared_with_a_cluster(
    monkeypatch: pytest.MonkeyPatch, home: Path, shared: str, fits: bool
) -> None:
    monkeypatch.setenv("LUTHIER_SHARDS", "tcp://127.0.0.1:8786")
    monkeypatch.setenv("LUTHIER_SHARED_ROOT", str(home.parent / shared))
    if fits:
        assert settings.load().shards
        return
    with pytest.raises(BadRecipe) as caught:
        settings.load()
    assert "LUTHIER_SHARED_ROOT" in caught.value.remedy


def test_a_bucket_is_seen_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_SHARDS", "tls://127.0.0.1:8786")
    monkeypatch.setenv("LUTHIER_STORE", "s3://bucket")
    assert settings.load().shards
