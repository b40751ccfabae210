from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.errors import Refused, Unreachable
from infra.tracking.lookup import Lookup
from infra.tracking.runs import Curve
from tests.registered import NAME, Registered

pytestmark = pytest.mark.heavy


@pytest.fixture
def look(tiny_tickets: Registered) -> Lookup:
    return Lookup(tiny_tickets.on.tracking_uri)


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        (f"{NAME}/1", 1),
        (f"models:/{NAME}/2", 2),
        (f"{NAME}@candidate", 2),
        (f"models:/{NAME}@candidate", 2),
        (NAME, 2),
        (f"models:/{NAME}", 2),
    ],
)
def test_a_version_is_found_by_number_alias_or_name(look: Lookup, spec: str, number: int) -> None:
    found = look.version(spec)
    assert (found.name, found.number) == (NAME, number)
    assert found.aliases == (["candidate"] if number == 2 else [])
    assert found.chosen == ("its candidate" if spec in (NAME, f"models:/{NAME}") else "")
    assert len(found.content) == len(found.registration) == 64


def test_without_an_alias_a_name_means_the_newest_and_that_is_said(look: Lookup, tiny_tickets: Registered) -> None:
    tiny_tickets.register(promote=False, name="held")
    found = look.version("held")
    assert found.number == 1
    assert "newest" in found.chosen


@pytest.mark.parametrize(
    "spec",
    [
        "nothing",
        f"{NAME}/9",
        f"{NAME}@nobody",
        f"{NAME}/1@candidate",
        "",
        "a b",
        "x' OR name LIKE '%",
        f"../{NAME}/1",
        f"{NAME}/99999999999999999999",
        f"{NAME}\n/1",
    ],
)
def test_an_unknown_version_is_refused_with_what_there_is(look: Lookup, spec: str) -> None:
    with pytest.raises(Refused, match="no such version") as told:
        look.version(spec)
    assert f"{NAME}/2 @candidate" in told.value.remedy
    assert len(str(told.value).splitlines()) <= 8


def test_looking_where_nothing_is_makes_nothing(tmp_path: Path) -> None:
    look = Lookup(f"sqlite:///{tmp_path}/mlflow.db")
    assert look.versions() == look.trainings() == []
    with pytest.raises(Refused) as told:
        look.version("x")
    assert "quickstart" in told.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_trainings_are_found_by_run_by_name_and_by_key(look: Lookup, tiny_tickets: Registered) -> None:
    curve = Curve(tiny_tickets.on.tracking_uri, "abcdef0123" + "4" * 54, {"method": "lora"})
    curve.log(1, {"loss": 0.5})
    curve.close("FAILED")
    (found,) = look.trainings()
    assert (found.name, found.status, found.params["method"]) == ("train-abcdef01", "FAILED", "lora")
    for spec in (found.run_id, "train-abcdef01", "abcdef01", found.key):
        assert look.training(spec) == found
    assert look.training("abc") is None
    assert look.training("train-00000000") is None


def test_versions_that_others_made_have_no_content(look: Lookup, tiny_tickets: Registered) -> None:
    client = MlflowClient(tiny_tickets.on.tracking_uri)
    client.create_registered_model("theirs")
    client.create_model_version("theirs", "s3://elsewhere/model")
    assert look.version("theirs").content == ""


def test_a_server_that_is_away_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unreachable, match="MLflow"):
        Lookup("http://127.0.0.1:9").versions()
