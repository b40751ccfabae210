"""Filters: each reason is given where it holds and nowhere else, and nonsense is refused with the recipe."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.data.filters import LANGUAGES, Filters, _identifier
from tasks.data.rows import Chat, Plain, Row, Text

GERMAN = "Bitte öffnen Sie die Einstellungen des Druckers und wählen Sie das zweite Fach, bevor Sie drucken."
ENGLISH = "Please open the settings of the printer and choose the second tray before you print anything."
CHINESE = "请打开打印机设置并选择第二个纸盒。"
LOOP = "I will say this again and again until somebody stops me. "


def chat(question: str, answer: str, system: str = "") -> Row:
    said = [("system", system)] if system else []
    return Chat([{"role": role, "content": text} for role, text in [*said, ("user", question), ("assistant", answer)]])


@pytest.mark.parametrize(
    ("fields", "row", "reason"),
    [
        ({}, Text(""), ""),
        ({"min_characters": 5}, Plain("ab", "cd"), "shorter than 5 characters"),
        ({"min_characters": 4}, Plain("ab", "cd"), ""),
        ({"max_characters": 3}, chat("ab", "cd"), "longer than 3 characters"),
        ({"max_characters": 4}, chat("ab", "cd"), ""),
        ({"include": ["^cd$", "nothing"]}, chat("ab", "cd"), ""),
        ({"include": ["^d$"]}, chat("ab", "cd"), "nothing of filters.include is in it"),
        (
            {"exclude": ["x", r"(?i)as an AI\b"]},
            chat("a", "As an ai I may"),
            r"filters.exclude '(?i)as an AI\\b' is in it",
        ),
        ({"exclude": ["b\nc"]}, chat("ab", "cd"), ""),
        ({"exclude": ["ü{2}"]}, Text("grüün"), "filters.exclude 'ü{2}' is in it"),
        ({"exclude": ["x"]}, Text("\ud800"), ""),
        ({"max_repetition": 0.3}, Text(LOOP * 4), "repeats more than 0.3 of itself"),
        ({"max_repetition": 0.3}, Text("好的。" * 40), "repeats more than 0.3 of itself"),
        ({"max_repetition": 0.3}, Text(ENGLISH + GERMAN), ""),
        ({"max_repetition": 0.0}, chat(ENGLISH, ENGLISH), ""),
    ],
)
def test_the_reason_is_given_where_it_holds_and_nowhere_else(fields: dict[str, Any], row: Row, reason: str) -> None:
    assert Filters(**fields).reason(row) == reason


@pytest.mark.parametrize(
    ("languages", "confidence", "row", "reason"),
    [
        (["en"], 0, chat(ENGLISH, ENGLISH), ""),
        (["en"], 0, chat(GERMAN, GERMAN), "language de"),
        (["en", "de"], 0, Text(GERMAN), ""),
        (["en"], 0, chat(ENGLISH, ENGLISH, system=GERMAN * 5), ""),
        (["zh"], 0.5, Text(CHINESE), ""),
        (["en"], 0.9, Text(ENGLISH), ""),
        (["en"], 0, Text("2+2=4"), "no language"),
        (["en"], 0.9, Text("no, the map"), "language not certain"),
    ],
)
def test_languages_are_told_apart(languages: list[str], confidence: float, row: Row, reason: str) -> None:
    assert Filters(languages=languages, min_language_confidence=confidence).reason(row) == reason


def test_the_codes_are_those_of_the_library() -> None:
    assert {*LANGUAGES, "zxx"} == set(_identifier().labels)  # zxx: no language


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"exclude": ["good", "(bad"]}, r"'\(bad' is no regular expression of RE2: missing \)"),
        ({"include": ["(?=x)"]}, "look-around"),
        ({"include": [""]}, "in every text"),
        ({"languages": ["english"]}, "no language has the code english"),
        ({"min_characters": 5, "max_characters": 4}, "no row would be kept"),
        ({"min_language_confidence": 0.5}, "needs languages"),
        ({"max_repetition": 1}, "less than 1"),
        ({"minimum": 1}, "Extra inputs"),
    ],
)
def test_nonsense_is_refused_by_its_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Filters(**fields)


def test_an_expression_that_would_hang_a_backtracking_search_does_not() -> None:
    start = time.process_time()
    assert Filters(exclude=["^(a+)+$"]).reason(Text("a" * 100_000 + "b")) == ""
    assert time.process_time() - start < 1


ALL = Filters(
    min_characters=1, max_characters=10**6, include=["."], exclude=["q{9}"], languages=["en"], max_repetition=0.5
)


@given(st.text())
def test_no_text_makes_a_filter_fail(text: str) -> None:
    assert ALL.reason(Text(text)) == ALL.reason(Text(text))
