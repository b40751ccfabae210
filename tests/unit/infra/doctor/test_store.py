"""Broken stores, each named with what mends it."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from infra.doctor import store as module
from infra.doctor.finding import Finding
from infra.doctor.store import store
from infra.settings import Settings
from tests.answers import Answer, answering
from tests.faults.careless import careless_server
from tests.proxy import proxy
from tests.s3 import Server, free_ports

EMPTY = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 2.0)


def look(uri: str) -> Finding:
    return store(Settings(store=uri))


@pytest.mark.s3
def test_a_good_store_holds_and_nothing_stays_behind(s3_root: str, s3_client: object) -> None:
    found = look(s3_root)
    assert found.state == "ok", found
    assert "conditional writes hold" in found.said
    left = module.open_objects(s3_root).list("")
    assert left == {}


@pytest.mark.s3
@pytest.mark.parametrize(
    ("name", "value", "said", "remedy"),
    [
        ("AWS_SECRET_ACCESS_KEY", "of-another", "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY is not the secret"),
        ("AWS_ACCESS_KEY_ID", "nobody", "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        ("AWS_ENDPOINT_URL", "seaweed:9000", "Invalid endpoint", "AWS_ENDPOINT_URL"),
        ("AWS_PROFILE", "nowhere", "nowhere", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_credentials_and_addresses(
    s3: Server, s3_root: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str, remedy: str
) -> None:
    monkeypatch.setenv(name, value)
    found = look(s3_root)
    assert found.state == "bad"
    assert said in found.said
    assert remedy in found.remedy
    assert "of-another" not in found.said


@pytest.mark.s3
def test_a_key_that_may_only_read(s3: Server, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.reader.items():
        monkeypatch.setenv(name, value)
    found = look(s3_root)
    assert found.state == "bad"
    assert "refused put_object; AccessDenied" in found.said
    assert "the right that is named" in found.remedy


@pytest.mark.s3
def test_a_bucket_that_is_not_there(s3: Server) -> None:
    found = look("s3://no-such-bucket/store")
    assert "does not exist; no-such-bucket" in found.said
    assert "create it" in found.remedy


@pytest.mark.s3
def test_our_clock_is_wrong(s3: Server, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    late = datetime.now(UTC) - timedelta(minutes=20)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: late)  # what requests are signed with
    monkeypatch.setattr(module, "_now", lambda: late)
    found = look(s3_root)
    assert found.state == "bad"
    assert "20 minutes ahead of this machine's" in found.said
    assert "set the clock" in found.remedy


@pytest.mark.s3
def test_a_clock_that_only_begins_to_go_wrong_is_a_warning(
    s3_root: str, s3_client: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ahead", lambda _: -300.0)
    found = look(s3_root)
    assert found.state == "warn"
    assert "5 minutes behind" in found.said


@pytest.mark.s3
def test_a_server_that_overwrites_in_spite_of_the_condition(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with careless_server() as (endpoint, held):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        found = look("s3://bucket/store")
    assert "ignores conditional writes" in found.said
    assert "SeaweedFS" in found.remedy
    assert held == {}


@pytest.mark.s3
@pytest.mark.parametrize("fault", ["refuse", "swallow", "nobody"])
def test_nobody_answers_in_time(s3: Server, s3_root: str, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    with proxy(s3.endpoint) as line:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
        if fault != "nobody":
            monkeypatch.setenv("AWS_ENDPOINT_URL", line.endpoint)
            getattr(line, fault)()
        found = look(s3_root)
    assert "did not answer within 2 s" in found.said
    assert "AWS_ENDPOINT_URL" in found.remedy


@pytest.mark.s3
@pytest.mark.parametrize(
    ("code", "status", "remedy"),
    [
        ("AuthorizationHeaderMalformed", 400, "AWS_DEFAULT_REGION"),
        ("PermanentRedirect", 301, "AWS_DEFAULT_REGION"),
        ("ExpiredToken", 400, "AWS_SESSION_TOKEN"),
        ("AccessDenied", 403, "the right that is named"),
    ],
)
def test_what_amazon_answers(s3: Server, monkeypatch: pytest.MonkeyPatch, code: str, status: int, remedy: str) -> None:
    refusal = Answer(status, f"<Error><Code>{code}</Code><Message>as it says</Message></Error>")
    with answering({"/bucket": Answer(body=EMPTY), "/bucket/store": refusal}) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        found = look("s3://bucket/store")
    assert code in found.said
    assert remedy in found.remedy


@pytest.mark.s3
def test_a_servers_clock_is_read_even_where_it_refuses(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    then = format_datetime(datetime.now(UTC) - timedelta(hours=2), usegmt=True)
    refusal = Answer(403, "<Error><Code>RequestTimeTooSkewed</Code></Error>", {"Date": then})
    with answering({"/": refusal}) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        found = look("s3://bucket/store")
    assert "120 minutes behind this machine's" in found.said


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("in the way")
    found = look(f"file://{tmp_path}/store")
    assert "cannot be used" in found.said
    assert "hard links" in found.remedy


def test_no_such_kind_of_store() -> None:
    found = look("gs://bucket/store")
    assert "gs://bucket/store" in found.said
    assert "s3://bucket/prefix" in found.remedy
