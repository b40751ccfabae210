"""The store when things go wrong: cut lines, killed writers, bad servers, bad credentials."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import LuthierError, StoreRefused, Unreachable
from infra.storage import layout, objects, s3
from infra.storage.objects import BLOCK
from infra.storage.s3 import S3Objects
from infra.storage.store import Store, open_objects
from tests.artifacts import KEY, committed, stored
from tests.faults.careless import careless_server
from tests.proxy import Proxy, proxy
from tests.s3 import Server


@pytest.fixture
def line(s3: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy in front of the server; clients made from now on go through it."""
    with proxy(s3.endpoint) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        yield running


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of two parts."""
    (tmp_path / "large").write_bytes(b"a" * BLOCK + b"b")
    return tmp_path / "large"


def incomplete(client: S3Objects) -> list[str]:
    found = client._call("list_multipart_uploads", Prefix=client.prefix).get("Uploads") or []
    return [upload["Key"] for upload in found]


@pytest.mark.s3
def test_a_lost_reply_to_the_commit_is_recognised_as_the_own_win(line: Proxy, s3_root: str) -> None:
    store = Store(S3Objects(s3_root, deadline_s=20))
    mine = stored(store, {"file": b"x"})
    line.drop_reply(b"MANIFEST.json HTTP/1.1")
    assert store.commit(mine) == mine
    assert line.dropped.is_set()
    assert store.find("toy", KEY) == mine


@pytest.mark.s3
def test_a_lost_reply_does_not_make_a_winner_of_who_came_second(line: Proxy, s3_root: str) -> None:
    store = Store(S3Objects(s3_root, deadline_s=20))
    assert store.objects.create("record", b"theirs")
    line.drop_reply(b"/record HTTP/1.1")
    assert store.objects.create("record", b"mine") is False
    assert line.dropped.is_set()


@pytest.mark.s3
def test_a_lost_reply_to_the_end_of_an_upload_is_recognised(line: Proxy, s3_root: str, large: Path) -> None:
    client = S3Objects(s3_root, deadline_s=20)
    line.drop_reply(b"large?uploadId=")
    assert client.upload(large, "large")[0] == BLOCK + 1
    assert line.dropped.is_set()
    assert b"".join(client.blocks("large")) == large.read_bytes()
    assert incomplete(client) == []


def failing(path: Path, *_: object) -> Iterator[bytes]:
    yield b"a" * BLOCK
    raise OSError(5, "Input/output error")


def test_an_error_in_the_middle_of_an_upload_publishes_nothing(
    store: Store, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "file_blocks", failing)
    monkeypatch.setattr(s3, "file_blocks", failing)
    with pytest.raises(OSError, match="Input/output"):
        store.objects.upload(large, "large")
    assert store.objects.list("") == {}
    if isinstance(store.objects, S3Objects):
        assert incomplete(store.objects) == []
    else:
        assert not [path for path in Path(store.uri.removeprefix("file://")).rglob("*") if path.is_file()]


@pytest.mark.s3
def test_a_failing_abort_does_not_hide_why_the_upload_failed(
    line: Proxy, s3_root: str, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = S3Objects(s3_root, deadline_s=5)

    def cut(path: Path, *_: object) -> Iterator[bytes]:
        blocks = failing(path)
        yield next(blocks)
        line.refuse()
        yield from blocks

    monkeypatch.setattr(s3, "file_blocks", cut)
    with pytest.raises(OSError, match="Input/output"):
        client.upload(large, "large")


@pytest.mark.parametrize("kind", ["file", pytest.param("s3", marks=pytest.mark.s3)])
def test_kill_between_upload_and_commit_leaves_nothing_visible(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue("s3_root") if kind == "s3" else f"file://{tmp_path}/store"
    code = """
import sys, time
from infra.storage.store import Store, open_objects
from tests.artifacts import stored
stored(Store(open_objects(sys.argv[1])), {"file": b"x" * 1000})
print("uploaded", flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code, root], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "uploaded\n"
        writer.kill()
    store = Store(open_objects(root))
    left = store.objects.list(layout.home("toy", KEY) + "/")
    assert len(left) == 1
    assert store.find("toy", KEY) is None
    receipt = committed(store, {"file": b"x" * 1000})
    assert store.manifest(receipt).generation == 1


@pytest.mark.s3
def test_an_outage_of_some_seconds_is_survived(line: Proxy, s3_root: str) -> None:
    store = Store(S3Objects(s3_root, deadline_s=30))
    mine = stored(store, {"file": b"x"})
    line.refuse()
    back = threading.Timer(2.0, line.forward)
    back.start()
    assert store.commit(mine) == mine
    back.join()


@pytest.mark.s3
@pytest.mark.parametrize("fault", ["swallow", "refuse"])
def test_a_server_that_does_not_answer_is_given_up_at_the_deadline(line: Proxy, s3_root: str, fault: str) -> None:
    store = Store(S3Objects(s3_root, deadline_s=3, request_s=1))
    getattr(line, fault)()
    for call in (lambda: store.objects.put("a", b"x" * 100_000), lambda: store.find("toy", KEY)):
        start = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            call()
        assert time.monotonic() - start < 6
        assert caught.value.remedy


@pytest.mark.s3
def test_a_server_that_ignores_conditions_is_refused_by_name(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with careless_server() as (endpoint, held):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        with pytest.raises(StoreRefused, match="ignores conditional writes") as caught:
            Store(S3Objects("s3://bucket/root", deadline_s=5)).probe()
    assert "SeaweedFS" in caught.value.remedy
    assert held == {}, "the probe left something behind"


@pytest.mark.s3
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "nobody", "InvalidAccessKeyId"),
        ("AWS_PROFILE", "nowhere", "nowhere"),
        ("AWS_ENDPOINT_URL", "no-url", "no-url"),
    ],
)
def test_what_the_server_does_not_accept_is_refused_at_once(
    s3: Server, s3_root: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    start = time.monotonic()
    with pytest.raises(StoreRefused) as caught:
        Store(S3Objects(s3_root, deadline_s=60)).probe()
    assert time.monotonic() - start < 30
    assert said in caught.value.value
    assert "AWS_" in caught.value.remedy
    assert "hunter2" not in str(caught.value)


@pytest.mark.s3
def test_a_bucket_that_does_not_exist_is_refused_by_name(s3: Server) -> None:
    with pytest.raises(StoreRefused, match="bucket does not exist") as caught:
        Store(S3Objects("s3://no-such-bucket/root", deadline_s=20)).probe()
    assert caught.value.value == "no-such-bucket"


@pytest.mark.s3
def test_no_secret_is_in_what_is_stored_or_said(s3: Server, line: Proxy, s3_root: str) -> None:
    secret = s3.environment["AWS_SECRET_ACCESS_KEY"]
    store = Store(S3Objects(s3_root, deadline_s=3, request_s=1))
    receipt = committed(store, {"file": b"x"})
    held = {key: store.objects.get(key) or b"" for key in store.objects.list("")}
    line.refuse()
    with pytest.raises(LuthierError) as caught:
        store.find("toy", KEY)
    texts = [receipt.model_dump_json(), str(caught.value), repr(caught.value), *held]
    assert not [text for text in texts if secret in text]
    assert not [key for key, data in held.items() if secret.encode() in data]


MEMORY = """
import sys
from pathlib import Path
from infra.storage.cache import Cache
from infra.storage.receipt import Manifest, content_sha256
from infra.storage.store import Store, open_objects

def peak():
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))

store, folder = Store(open_objects(sys.argv[1])), Path(sys.argv[2])
store.probe()
before = peak()
files = store.upload(folder / "in", "stages/toy/k/a")
manifest = Manifest(stage="toy", version=1, key="k", attempt="a", files=files, config={}, inputs={}, summary={},
    content_sha256=content_sha256("toy", files), versions={}, created="")
receipt = store.receipt(store.commit(manifest))
Cache(folder / "cache", 10**9).materialise(store, receipt, folder / "out")
print(peak() - before)
"""


def test_memory_stays_bounded_whatever_the_size(root: str, tmp_path: Path) -> None:
    size = 300 * 2**20
    (tmp_path / "in").mkdir()
    with (tmp_path / "in/file").open("wb") as file:
        file.truncate(size)
        for start in range(0, size, BLOCK):  # parts in the wrong order would be found
            file.seek(start)
            file.write(str(start).encode())
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, root, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out/file").stat().st_size == size
    assert int(run.stdout) < 128, f"{run.stdout.strip()} MiB above what importing took"
