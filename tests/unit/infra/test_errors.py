"""Errors cross processes as themselves, and read well."""

import pickle

import pytest

from infra import errors
from infra.errors import BadRecipe, Crashed, ErrorReport, LuthierError, Refused, revive

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LuthierError)]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_crosses_as_itself(kind: type[LuthierError]) -> None:
    error = kind("what", place="there", value=3, remedy="do this")
    for back in (
        revive(ErrorReport.model_validate_json(error.report().model_dump_json())),
        pickle.loads(pickle.dumps(error)),
    ):
        assert type(back) is kind
        assert (back.what, back.place, back.value, back.remedy) == ("what", "there", "3", "do this")


def test_an_unknown_error_is_a_crash_and_so_worth_another_try() -> None:
    back = revive(ErrorReport(error="FromTheFuture", what="?"))
    assert type(back) is Crashed
    assert back.retry


def test_only_lost_is_tried_again() -> None:
    assert {kind.__name__ for kind in ALL if kind.retry} == {
        "Lost",
        "OutOfMemory",
        "Adapted",
        "Preempted",
        "NodeLost",
        "LinkLost",
        "Unreachable",
        "Crashed",
    }
    assert not Refused.retry


def test_the_text_names_place_value_and_remedy_on_one_screen() -> None:
    text = str(BadRecipe("wrong", place="train.rank", value="x" * 5000, remedy="a number"))
    assert text.splitlines()[0] == "wrong"
    assert "where:  train.rank" in text
    assert "remedy: a number" in text
    assert len(text) < 500
