"""Steps: same work, same key; and which module does it."""

from typing import Annotated

from hypothesis import given
from hypothesis import strategies as st

from infra.frozen import Frozen, NotInKey
from infra.launch.step import Beat, Step
from infra.storage.receipt import Receipt


class Config(Frozen):
    rank: int = 8
    workers: Annotated[int, NotInKey()] = 1


def receipt(content: str = "c", attempt: str = "a", **figures: float) -> Receipt:
    return Receipt(
        stage="base", key="k", attempt=attempt, uri=f"file:///{attempt}", content_sha256=content, summary=dict(figures)
    )


@given(st.integers(), st.text(), st.floats(allow_nan=False))
def test_what_changes_nothing_made_changes_no_key(workers: int, attempt: str, seconds: float) -> None:
    before = Step("train", 1, Config(), {"model": receipt()})
    after = Step("train", 1, Config(workers=workers), {"model": receipt(attempt=attempt, seconds=seconds)}, always=True)
    assert after.key == before.key


def test_all_that_changes_what_is_made_changes_the_key() -> None:
    steps = [
        Step("train", 1, Config(), {"model": receipt()}),
        Step("merge", 1, Config(), {"model": receipt()}),
        Step("train", 2, Config(), {"model": receipt()}),
        Step("train", 1, Config(rank=4), {"model": receipt()}),
        Step("train", 1, Config(), {"model": receipt("d")}),
        Step("train", 1, Config(), {"base": receipt()}),
        Step("train", 1, Config(), {"model": receipt()}, {"source": "x"}),
    ]
    assert len({step.key for step in steps}) == len(steps)


def test_the_worker_is_the_stages_own_unless_named() -> None:
    assert Step("merging", 1, Config()).worker == "tasks.merging.worker"
    assert Step("tokenizer", 1, Config(), folder="base").worker == "tasks.base.worker"
    assert Step("toy", 1, Config(), module="somewhere.else").worker == "somewhere.else"


def test_a_beat_reads_as_one_line() -> None:
    beat = Beat(at=0, phase="training", step=3, steps=62, eta_s=90, figures={"loss": 1.25})
    assert beat.line() == "training 3/62, 1.5 min left, loss 1.25"
    assert Beat(at=0, phase="storing").line() == "storing"
