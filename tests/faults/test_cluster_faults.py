"""Shards on a real Dask cluster: the same data set as without one, also where a worker is killed or the scheduler goes."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra import settings
from infra.errors import BadRecipe, Refused, Unreachable
from infra.launch import cluster as launch_cluster
from infra.storage.receipt import Receipt
from tasks.data import remote, stage
from tasks.data.config import DataConfig
from tasks.data.plan import shards
from tasks.data.pool import Order
from tests import tiny
from tests.cluster import Cluster, cluster
from tests.jobs import keep
from tests.s3 import free_ports

pytestmark = [pytest.mark.heavy, pytest.mark.slow]

SOURCES, LONG = 4, 1000  # sources are shards of their own; rows a source, so that a shard takes about a second
Prepare = Callable[..., Receipt]


@pytest.fixture
def store(luthier_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that all nodes see, as the store."""
    monkeypatch.setenv("LUTHIER_STORE", f"file://{tmp_path}/shared/store")
    monkeypatch.setenv("LUTHIER_SHARED_ROOT", str(tmp_path / "shared"))
    monkeypatch.setenv("LUTHIER_SILENCE_S", "60")
    return tmp_path / "shared" / "store"


@pytest.fixture
def there(store: Path, tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster", 2, {}) as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    names = [f"rows-{number}.jsonl" for number in range(SOURCES)]
    for number, name in enumerate(names):
        rows = [
            {"messages": [{**turn, "content": turn["content"] * 20} for turn in row["messages"]]}
            for row in tiny.rows(LONG, seed=number)
        ]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataConfig.model_validate(
        {"train_files": [{"files": [str(tmp_path / name)]} for name in names], "max_length": 4096, "num_proc": 1}
    )


def prepared(config: DataConfig, tmp_path: Path) -> Receipt:
    platform = settings.load().platform()
    tokenizer = keep(platform, "tokenizer", tiny.tokenizer(tmp_path / "tokenizer"), key="0" * 64)
    return stage.run(config, tokenizer, platform)


def asked(config: DataConfig, tmp_path: Path, address: str, silence_s: float = 60) -> list[Receipt]:
    """The shards alone, asked for by this process."""
    platform = dataclasses.replace(settings.load().platform(), silence_s=silence_s)
    folder = tiny.tokenizer(tmp_path / "tokenizer")
    tokenizer = keep(platform, "tokenizer", folder, key="0" * 64)
    planned = shards(config, tmp_path / "scratch")
    orders = (Order(planned=one, tokenizer=tokenizer, folder=folder, template=None) for one in planned)
    return list(remote.run(orders, platform, address, lambda _: None))


def alone(config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Receipt:
    """The same on this machine, in a store of its own."""
    with monkeypatch.context() as patch:
        patch.setenv("LUTHIER_STORE", f"file://{tmp_path}/alone")
        return prepared(config, tmp_path)


def until(true: Callable[[], bool], deadline_s: float = 60) -> None:
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def busy(home: Path) -> bool:
    return any((home / "work").glob("shard-*"))


def held_at_work(there: Cluster) -> bool:
    """Whether the first worker was at a shard when it was made to stand still; else it goes on."""
    if not busy(there.homes[0]):
        return False
    there.hold(0)
    if busy(there.homes[0]):
        return True
    there.release(0)
    return False


def test_a_killed_worker_costs_its_shard_and_the_data_set_is_the_same(
    there: Cluster, config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = alone(config, tmp_path, monkeypatch)
    monkeypatch.setenv("LUTHIER_SHARDS", there.address)
    with ThreadPoolExecutor(1) as other:
        running = other.submit(prepared, config, tmp_path)
        until(lambda: held_at_work(there) or running.done())
        there.kill(0)
        assert busy(there.homes[0]), "the worker was killed in the middle of a shard"
        made = running.result(120)
    assert made.content_sha256 == expected.content_sha256
    assert not list((tmp_path / "home" / "work").iterdir())
    # Nothing is to be made any more, so that nobody asks for the cluster.
    assert len(asked(config, tmp_path, f"tcp://127.0.0.1:{free_ports(1)[0]}")) == SOURCES


def test_a_lost_scheduler_is_seen_at_once_and_the_next_try_makes_the_rest(
    there: Cluster, config: DataConfig, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as other:
        running = other.submit(asked, config, tmp_path, there.address)
        until(lambda: busy(there.homes[0]) or running.done())
        there.scheduler.kill()
        with pytest.raises(Unreachable, match="scheduler of the cluster was lost") as caught:
            running.result(30)
    assert caught.value.retry
    with cluster(tmp_path / "another", 1, {}) as second:
        assert len(asked(config, tmp_path, second.address)) == SOURCES


def test_without_workers_it_waits_as_long_as_it_may(store: Path, config: DataConfig, tmp_path: Path) -> None:
    with (
        cluster(tmp_path / "cluster", 0, {}) as there,
        pytest.raises(Unreachable, match="no row was prepared for 2 s") as caught,
    ):
        asked(config, tmp_path, there.address, silence_s=2)
    assert (caught.value.place, caught.value.value) == (there.address, "0 threads there")
    assert "LUTHIER_SILENCE_S" in caught.value.remedy


def test_nodes_without_the_package_are_told_of(store: Path, config: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "bare" / "tasks").mkdir(parents=True)
    (tmp_path / "bare" / "tasks" / "__init__.py").touch()
    with (
        cluster(tmp_path / "cluster", 1, {"PYTHONPATH": str(tmp_path / "bare")}) as there,
        pytest.raises(Refused, match="lack a package") as caught,
    ):
        asked(config, tmp_path, there.address)
    assert "tasks.data" in caught.value.value
    assert "install the same luthier" in caught.value.remedy


def test_where_nobody_listens(store: Path, config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setattr(launch_cluster, "CONNECT_S", 1.0)
    with pytest.raises(Unreachable, match="no scheduler answers within 1 s") as caught:
        asked(config, tmp_path, address)
    assert caught.value.place == address


def test_a_store_that_no_node_can_see_is_refused(luthier_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_SHARDS", "tcp://127.0.0.1:8786")
    with pytest.raises(BadRecipe) as caught:
        settings.load()
    assert caught.value.place == "LUTHIER_SHARDS"
    assert "LUTHIER_SHARED_ROOT" in caught.value.remedy
