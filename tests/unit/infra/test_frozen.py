"""Values, their canonical form, and what goes into a key."""

import json
import subprocess
import sys
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.frozen import Frozen, NotInKey, canonical, digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Inner(Frozen):
    """A value inside another."""

    rank: int = 8
    workers: Annotated[int, NotInKey()] = 1


class Outer(Frozen):
    """A value with values in all the places where they can be."""

    name: str = "x"
    one: Inner = Inner()
    many: list[Inner] = [Inner(), Inner(rank=4)]  # noqa: RUF012 - pydantic copies it
    named: dict[int, Inner] = {1: Inner()}  # noqa: RUF012
    path: Annotated[str, NotInKey()] = "/here"


@given(JSON)
def test_canonical_form_survives_a_round_trip(value: Any) -> None:
    assert canonical(json.loads(canonical(value))) == canonical(value)


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert digest(dict(reversed(value.items()))) == digest(value)


@given(JSON, JSON)
def test_different_values_have_different_forms(a: Any, b: Any) -> None:
    if canonical(a) == canonical(b):
        assert a == b


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_json_lacks_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"x": number})


@given(st.integers(), st.text())
def test_fields_marked_not_in_key_change_nothing_at_any_depth(workers: int, path: str) -> None:
    inner = Inner(workers=workers)
    other = Outer(one=inner, many=[inner, Inner(rank=4, workers=workers)], named={1: inner}, path=path)
    assert other.material() == Outer().material()


@given(st.integers().filter(lambda rank: rank != 8))
def test_every_other_field_changes_the_key_at_any_depth(rank: int) -> None:
    inner = Inner(rank=rank)
    for other in (Outer(one=inner), Outer(many=[inner, Inner(rank=4)]), Outer(named={1: inner})):
        assert digest(other.material()) != digest(Outer().material())


def test_a_marked_class_counts_like_a_marked_instance() -> None:
    class Loose(Frozen):
        path: Annotated[str, NotInKey] = "/here"

    assert Loose().material() == {}


def test_a_set_has_the_same_key_in_every_process() -> None:
    code = """
from infra.frozen import Frozen, digest
class Tagged(Frozen):
    tags: frozenset[str] = frozenset("abcdefgh")
print(digest(Tagged().material()))
"""
    keys = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(keys) == 1


def test_values_cannot_be_changed_and_take_no_unknown_field() -> None:
    with pytest.raises(ValidationError):
        Inner().rank = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Inner(rnak=3)  # type: ignore[call-arg]
