"""Waiting for shards: in order, and not for ever."""

from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from infra.errors import BadData, Unreachable
from infra.storage.receipt import Receipt
from tasks.data import pool

pytestmark = pytest.mark.heavy


def receipt(number: int) -> Receipt:
    return Receipt(stage="shard", key=str(number), attempt="a", uri="file:///x", content_sha256="0" * 64)


def waiting(silence_s: float, *futures: "Future[Receipt]") -> tuple[pool.Waiting, SimpleNamespace, list[int]]:
    counter, heard = SimpleNamespace(value=0), list[int]()
    made = pool.Waiting(counter, heard.append, silence_s)
    for future in futures:
        made.add(future)
    return made, counter, heard


def test_receipts_come_in_order_and_rows_are_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LISTEN_S", 0.01)
    first: Future[Receipt] = Future()
    second: Future[Receipt] = Future()
    made, counter, heard = waiting(60, first, second)
    second.set_result(receipt(2))
    counter.value = 512
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(made.next)
        while not heard:
            continue
        first.set_result(receipt(1))
        assert asked.result(10).result() == receipt(1)
    assert made.next().result() == receipt(2)
    assert set(heard) == {512}


def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LISTEN_S", 0.01)
    made, _, heard = waiting(0.1, Future())
    with pytest.raises(Unreachable, match="no row was prepared for 0 s") as caught:
        made.next()
    assert "LUTHIER_SILENCE_S" in caught.value.remedy
    assert len(heard) > 1


def test_what_a_shard_raised_is_raised() -> None:
    future: Future[Receipt] = Future()
    future.set_exception(BadData("bad rows"))
    with pytest.raises(BadData, match="bad rows"):
        waiting(60, future)[0].next().result()
