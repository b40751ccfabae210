"""Prefect's own retries go by the class of the error, and the run shows every launch with its reason. Workers are real."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from infra import errors
from infra.launch.step import Launch
from tasks.face import RETRIES, launches, shown, worth_retrying
from tests import toy
from tests.toy import Toy


def every(kind: type[errors.LuthierError]) -> Iterator[type[errors.LuthierError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from every(child)


QUICK = (errors.Unreachable, errors.BadRecipe)
KINDS = [
    pytest.param(kind, marks=[] if kind in QUICK else pytest.mark.slow, id=kind.__name__)
    for kind in every(errors.LuthierError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_lost_is_tried_twice_more_and_what_was_refused_never(kind: type[errors.LuthierError]) -> None:
    tried: list[int] = []

    @task(retry_condition_fn=worth_retrying, retries=RETRIES["retries"])
    def fails() -> None:
        tried.append(1)
        raise kind("as it happens", place="here")

    @flow
    def run() -> None:
        fails()

    with pytest.raises(kind, match="as it happens"):
        run()
    assert len(tried) == (3 if issubclass(kind, errors.Lost) else 1)


def test_retries_wait_longer_each_time() -> None:
    first, second = RETRIES["retry_delay_seconds"]
    assert 0 < first < second
    assert RETRIES["retries"] == 2


def test_the_run_shows_each_launch_of_a_stage_across_prefects_retries(luthier_home: Path, tmp_path: Path) -> None:
    @task(retry_condition_fn=worth_retrying, retries=2)
    def make() -> None:
        toy.run(Toy(act="less, then lost", notes=str(tmp_path)), shown("toy"))

    @flow
    def run() -> None:
        make()

    run()
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["toy-launches"]))
        pages = client.read_artifacts(artifact_filter=wanted)
    last = max(pages, key=lambda page: page.created)
    rows = [line for line in str(last.data).splitlines() if line.startswith("| ")][1:]
    assert [[cell.strip("` ") for cell in row.split(" | ")][3] for row in rows] == ["Adapted", "Crashed", "committed"]
    assert "`8 → 4`" in rows[0]
    assert "ZeroDivisionError" in rows[1]


def test_what_a_reason_quotes_cannot_leave_its_cell() -> None:
    told = Launch(attempt="a", started="now", outcome="BadData", reason="row `x` | ![p](http://e/p.png)\n<b>")
    (row,) = launches("data", [told]).splitlines()[4:]
    assert row == "| 1 | `now` | – | `BadData` | `row 'x' ¦ ![p](http://e/p.png) <b>` | – | – |"
