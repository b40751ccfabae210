"""An order that crosses to another node as text: the same shard, from the store alone, and no path or secret on the way."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from infra.errors import Lost, Refused, StoreRefused
from infra.launch.step import Outcome
from infra.settings import Platform, Settings
from infra.storage.receipt import Receipt
from tasks.data import carried, reading, remote
from tasks.data.config import DataConfig
from tasks.data.plan import shards
from tasks.data.pool import Order, make
from tests import tiny
from tests.jobs import keep

pytestmark = pytest.mark.heavy

ROWS = tiny.rows(120)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    return Settings(home=tmp_path / "asking", store=f"file://{tmp_path}/store").platform()


@pytest.fixture
def tokenizer(platform: Platform, tokenizer_folder: Path) -> Receipt:
    return keep(platform, "tokenizer", tokenizer_folder)


@pytest.fixture
def orders(tokenizer: Receipt, tokenizer_folder: Path, tmp_path: Path) -> Callable[..., list[Order]]:
    def of(*files: Path) -> list[Order]:
        config = DataConfig(train_files=[str(file) for file in files])
        planned = list(shards(config, tmp_path / "scratch"))
        return [Order(planned=one, tokenizer=tokenizer, folder=tokenizer_folder, template=None) for one in planned]

    return of


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process is a node from here on: it has a home of its own, and knows of no store."""
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "node"))
    return tmp_path / "node"


def sent(order: Order, platform: Platform) -> str:
    return remote._sent(order, platform, order.step().key).model_dump_json()


def answered(text: str) -> Outcome:
    return Outcome.model_validate_json(remote.made(text))


def contents(orders: Iterable[Order], home: Path) -> list[str]:
    alone = Settings(home=home, store="").platform()
    return [make(order, alone, lambda _: None).content_sha256 for order in orders]


def files(tmp_path: Path, write: Callable[..., Path]) -> list[Path]:
    """Of lines, in several ranges; of columns, in several groups; and one that is read whole."""
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS[:50]), tmp_path / "rows.parquet", row_group_size=10)
    (tmp_path / "rows.json").write_text(json.dumps(ROWS[50:60]))
    return [write(ROWS), tmp_path / "rows.parquet", tmp_path / "rows.json"]


def test_a_node_makes_the_same_shards_from_the_store_alone(
    platform: Platform,
    orders: Callable[..., list[Order]],
    write: Callable[..., Path],
    node: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "SMALLEST", 4096)
    monkeypatch.setattr("tasks.data.plan.SMALL", 5000)
    made = files(tmp_path, write)
    asked = orders(*made)
    assert len(asked) > 5
    expected = contents(asked, tmp_path / "alone")
    texts = [sent(order, platform) for order in asked]
    for file in made:
        file.unlink()
    receipts = [answered(text).receipt for text in texts]
    assert [receipt and receipt.content_sha256 for receipt in receipts] == expected
    assert not list((node / "work").iterdir())


def test_nothing_of_this_machine_travels(
    platform: Platform, orders: Callable[..., list[Order]], write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-1")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:canary-2@127.0.0.1:5000")
    file = write(ROWS)
    text = sent(orders(file)[0], platform)
    assert "canary" not in text
    assert str(file.parent / "rows") not in text
    assert str(platform.home) not in text


def test_what_is_carried_is_found_again(
    platform: Platform, orders: Callable[..., list[Order]], write: Callable[..., Path]
) -> None:
    order = orders(write(ROWS))[0]
    first = carried.bring(order.planned, platform)
    order.planned.segments[0].path.unlink()
    assert carried.bring(order.planned, platform) == first


def test_a_file_that_changes_meanwhile_is_not_carried(
    platform: Platform, orders: Callable[..., list[Order]], write: Callable[..., Path]
) -> None:
    order = orders(write(ROWS))[0]
    write(ROWS[1:])
    with pytest.raises(Lost, match="changed while it was read"):
        carried.bring(order.planned, platform)
    write(ROWS)
    assert carried.bring(order.planned, platform), "what was stored wrongly must not stay"


def test_what_a_node_says_of_bad_data_is_raised_as_itself(
    platform: Platform, orders: Callable[..., list[Order]], write: Callable[..., Path], node: Path
) -> None:
    file = write(["", " "])
    error = answered(sent(orders(file)[0], platform)).error
    assert error is not None
    assert (error.error, error.place) == ("BadData", file.name)


def test_a_node_of_another_version_is_refused(
    platform: Platform, orders: Callable[..., list[Order]], write: Callable[..., Path], node: Path
) -> None:
    order = remote._sent(orders(write(ROWS))[0], platform, "0" * 64)
    with pytest.raises(Refused, match="another version") as caught:
        remote._receipt(remote.made(order.model_dump_json()))
    assert caught.value.remedy


def test_a_node_that_sees_another_folder_is_told_apart(
    platform: Platform, orders: Callable[..., list[Order]], write: Callable[..., Path], node: Path, tmp_path: Path
) -> None:
    order: Any = json.loads(sent(orders(write(ROWS))[0], platform))
    order["store"] = f"file://{tmp_path}/elsewhere"
    with pytest.raises(StoreRefused, match="does not see what this machine stored") as caught:
        remote._receipt(remote.made(json.dumps(order)))
    assert "LUTHIER_SHARED_ROOT" in caught.value.remedy
