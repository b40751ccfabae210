"""Bytes on their way to and from a store: flipped, cut, refused and slow; several at once, where that helps."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.storage.objects import BLOCK
from infra.storage.s3 import S3Objects
from infra.storage.tries import IN_FLIGHT, Tries
from tests.proxy import Proxy, Weather, proxy
from tests.s3 import Server


@pytest.fixture
def line(s3: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy in front of the server; clients made from now on go through it."""
    with proxy(s3.endpoint) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        yield running


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    """A file of four parts."""
    (tmp_path / "sent").write_bytes(os.urandom(3 * BLOCK + 1))
    return tmp_path / "sent"


def received(client: S3Objects, key: str) -> str:
    sha = hashlib.sha256()
    for block in client.blocks(key):
        sha.update(block)
    return sha.hexdigest()


@pytest.mark.s3
@pytest.mark.parametrize("request_line", [b"partNumber=3", b"/small"])
def test_a_bit_that_flips_on_the_way_is_refused_and_sent_again(
    line: Proxy, s3_root: str, sent: Path, request_line: bytes
) -> None:
    client = S3Objects(s3_root, deadline_s=30)
    (sent.parent / "small").write_bytes(b"small")
    line.flip_body(request_line)
    for path in (sent, sent.parent / "small"):
        assert client.upload(path, path.name)[1] == received(client, path.name)
    assert line._once == {}, "nothing was flipped"


@pytest.mark.s3
@pytest.mark.slow
def test_a_reply_that_is_cut_in_the_middle_is_asked_for_again(line: Proxy, s3_root: str, sent: Path) -> None:
    client = S3Objects(s3_root, deadline_s=30)
    sha = client.upload(sent, "sent")[1]
    line.cut_reply(b"GET /", BLOCK // 2)
    assert received(client, "sent") == sha
    assert line.dropped.is_set()


@pytest.mark.s3
@pytest.mark.slow
def test_transfers_survive_bad_weather(line: Proxy, s3_root: str, sent: Path) -> None:
    client = S3Objects(s3_root, deadline_s=60)
    line.weather = Weather(unavailable=0.2, reset=0.2, lost_reply=0.1)
    for number in range(3):
        assert client.upload(sent, f"sent-{number}")[1] == received(client, f"sent-{number}")
    assert set(line.met) == {"unavailable", "reset", "lost_reply"}


def most_at_once(seconds: float, request_s: float) -> int:
    """How many of twelve requests, each of which takes so long, were under way together."""
    tries, lock, under_way, most = Tries("s3://bucket", "bucket", 60, request_s), threading.Lock(), 0, 0

    def request() -> int:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(seconds)
        with lock:
            under_way -= 1
            return most

    assert len(list(tries.in_order(iter([(request, "request")] * 12)))) == 12
    return most


def test_several_are_under_way_where_the_line_is_quick_and_one_where_it_is_slow() -> None:
    assert most_at_once(0.05, request_s=60) == IN_FLIGHT
    assert most_at_once(0.05, request_s=0.25) == 1


def test_no_request_is_begun_after_the_reader_has_left() -> None:
    tries, begun = Tries("s3://bucket", "bucket", 60, 60), list[int]()

    def refused() -> None:
        begun.append(1)
        raise ConnectionResetError

    reading = tries.in_order(iter([((lambda: None), "first"), *[(refused, "later")] * IN_FLIGHT]))
    next(reading)
    reading.close()
    time.sleep(0.3)  # longer than the first pause
    tries = len(begun)
    time.sleep(0.5)
    assert len(begun) == tries


def test_a_worker_that_is_told_to_leave_does_not_wait_for_an_answer() -> None:
    def leave(*_: object) -> None:
        raise InterruptedError

    tries, answer, start = Tries("s3://bucket", "bucket", 180, 60), threading.Event(), time.monotonic()
    before = signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(InterruptedError):
            tries.done((lambda: answer.wait(30), "asked"))
    finally:
        signal.signal(signal.SIGALRM, before)
        answer.set()
    assert time.monotonic() - start < 10
