"""A disk that is full, on a real small file system: said as such, worth a retry, and nothing torn."""

from pathlib import Path

import pytest

from infra import settings
from infra.errors import Lost
from infra.storage.objects import LocalObjects
from infra.storage.store import Store
from tests import toy
from tests.artifacts import KEY, stored
from tests.faults import disks
from tests.toy import Toy

pytestmark = pytest.mark.skipif(not disks.CAN, reason="mounting a small file system needs root")


def test_a_full_store_loses_the_attempt_and_nothing_else(tmp_path: Path) -> None:
    with disks.small(tmp_path / "disk", 2**20) as disk:
        store = Store(LocalObjects(disk / "store"))
        whole = store.commit(stored(store, {"file": b"first"}))
        ballast = disks.fill(disk)
        with pytest.raises(Lost, match="the disk of the store is full") as caught:
            stored(store, {"file": b"x" * 100_000}, key="1" * 64)
        assert caught.value.retry
        assert not [path for path in (disk / "store").rglob(".part-*") if path.stat().st_size]
        assert store.find("toy", KEY) == whole
        ballast.unlink()
        again = store.commit(stored(store, {"file": b"x" * 100_000}, key="1" * 64))
        assert store.find("toy", "1" * 64) == again


def test_a_flow_whose_store_is_full_is_told_so_and_goes_on_when_there_is_room(
    luthier_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disks.small(tmp_path / "disk", 2**20) as disk:
        monkeypatch.setenv("LUTHIER_STORE", f"file://{disk}/store")
        settings.load().platform()
        ballast = disks.fill(disk)
        with pytest.raises(Lost, match="the disk of the store is full"):
            toy.run(Toy(value=5))
        ballast.unlink()
        assert toy.run(Toy(value=5)).summary["launches"] == 1
