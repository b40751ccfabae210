"""A cluster that is not there, one without workers, and one that works."""

from pathlib import Path

import pytest

from infra.doctor import shards as module
from infra.settings import Settings
from tests.cluster import cluster
from tests.s3 import free_ports

pytestmark = [pytest.mark.heavy, pytest.mark.slow]


def own(tmp_path: Path, address: str) -> Settings:
    return Settings(store=f"file://{tmp_path}/store", shared_root=str(tmp_path), shards=address)


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 1.0)
    found = module.shards(own(tmp_path, f"tcp://127.0.0.1:{free_ports(1)[0]}"))
    assert found.state == "bad"
    assert "no scheduler answers" in found.said


def test_without_workers_and_with_one(tmp_path: Path, luthier_home: Path) -> None:
    with cluster(tmp_path / "none", 0, {}) as there:
        found = module.shards(own(tmp_path, there.address))
        assert (found.state, "dask worker" in found.remedy) == ("warn", True)
    with cluster(tmp_path / "one", 1, {}) as there:
        found = module.shards(own(tmp_path, there.address))
    assert found.state == "ok", found
    assert "sees the store" in found.said
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
