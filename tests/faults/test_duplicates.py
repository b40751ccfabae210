"""R3: however many do the same at once, and whichever replies are lost: one record, one version, one alias."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.figures import figure, note
from tests.faults.duplicates import Before, a_round, before, mlflow_server
from tests.proxy import Weather, proxy
from tests.s3 import Server, server

pytestmark = [pytest.mark.heavy, pytest.mark.s3, pytest.mark.slow]


@pytest.fixture(scope="module")
def s3_alone() -> Iterator[Server]:
    """A server of this module's own: its environment is set for as long."""
    with server() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(scope="module")
def given(s3_alone: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Before]:
    """All that a gate and a registry need, behind lines on which each twentieth reply is lost."""
    room = tmp_path_factory.mktemp("duplicates")
    with (
        mlflow_server(room / "mlflow") as mlflow,
        proxy(mlflow) as to_mlflow,
        proxy(s3_alone.endpoint) as to_s3,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("AWS_ENDPOINT_URL", to_s3.endpoint)
        made = before(room / "made", f"s3://{s3_alone.bucket}/duplicates", to_mlflow.endpoint)
        to_s3.weather = to_mlflow.weather = Weather(lost_reply=0.05)
        yield made
        assert to_s3.met["lost_reply"]
        assert to_mlflow.met["lost_reply"]


def test_eight_at_once_make_one_of_everything(given: Before, tmp_path: Path) -> None:
    for number in range(2):
        assert a_round(given, number, tmp_path / str(number)) == []


@pytest.mark.proof
@pytest.mark.timeout(7200)
def test_a_hundred_rounds_of_eight_make_one_of_everything_each(given: Before, tmp_path: Path) -> None:
    wrong = []
    for number in range(1, 101):
        note(f"R3: round {number} of 100")
        wrong += a_round(given, 100 + number, tmp_path / str(number))
    note(f"R3: {wrong or 'all well'}")
    figure("R3", 1 - len(wrong) / 100, target=1.0, better="higher", unit="share", n=100)
    assert wrong == []
