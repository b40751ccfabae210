"""What a node keeps and need not: told first, then removed; nothing that is in use."""

import os
import time
from pathlib import Path

from filelock import FileLock

from infra.home import leftovers, tidy
from infra.storage.cache import Cache
from infra.storage.objects import LocalObjects
from infra.storage.store import Store
from tests.artifacts import committed


def test_dead_work_old_logs_and_what_the_cache_has_too_much(tmp_path: Path) -> None:
    home, store = tmp_path / "home", Store(LocalObjects(tmp_path / "store"))
    cache = Cache(home / "cache", 10**6)
    cache.materialise(store, committed(store, {"used": b"1" * 100}), tmp_path / "used")
    cache.materialise(store, committed(store, {"spare": b"2" * 100}, key="1" * 64), tmp_path / "spare")
    (tmp_path / "spare" / "spare").unlink()
    cache.max_bytes = 150
    for name in ("dead", "alive"):
        (home / "work" / name).mkdir(parents=True)
        (home / "work" / name / "half.safetensors").write_bytes(b"x" * 10)
        (home / "work" / f"{name}.lock").touch()
    (home / "logs").mkdir()
    for name, age in (("old", 8), ("new", 1)):
        (home / "logs" / f"{name}.log").write_text("said")
        at = time.time() - age * 86400
        os.utime(home / "logs" / f"{name}.log", (at, at))
    cutoff = time.time() - 7 * 86400
    with FileLock(home / "work" / "alive.lock"):
        found = {one.path.name: one.bytes for one in leftovers(home, cache, cutoff)}
        assert found == {"dead": 10, "old.log": 4, "cache": 100}
        tidy(home, cache, cutoff)
        assert [*leftovers(home, cache, cutoff)] == []
    assert (home / "work" / "alive" / "half.safetensors").exists()
    assert (home / "logs" / "new.log").exists()
    assert (tmp_path / "used" / "used").read_bytes() == b"1" * 100
    assert cache.trim() == 0
