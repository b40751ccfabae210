import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from infra.printable import clean, inert, line


def test_escape_sequences_lose_what_makes_them_one() -> None:
    assert clean("\x1b[31mred\x1b]0;title\x07 \x9b2J") == "[31mred]0;title 2J"
    assert clean("bell\a back\b\r over") == "bell back over"


def test_marks_that_reorder_text_are_left_out_and_joiners_stay() -> None:
    assert clean("safe\u202egnp.exe\u2066") == "safegnp.exe"
    assert clean("👩\u200d🚀 naïve 日本") == "👩\u200d🚀 naïve 日本"


def test_a_name_stays_on_its_line() -> None:
    assert line("a\nb\t c\x1b[2J") == "a b c[2J"


@given(st.text())
def test_nothing_but_lines_and_tabs_is_left_of_control_characters(text: str) -> None:
    left = {char for char in clean(text) if unicodedata.category(char) == "Cc"}
    assert left <= {"\n", "\t"}
    assert "\n" not in line(text)


def test_in_inert_text_nothing_acts_and_tables_and_code_stay() -> None:
    assert inert("| `a` | **b** |\n# c") == "| `a` | **b** |\n# c"
    assert inert("![p](x) <b>") == r"!\[p\](x) \<b\>"
    assert inert(r"\[a\](x)") == r"\\\[a\\\](x)", "one that was escaped before stays so"
