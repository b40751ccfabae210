"""Templates write what a recipe's author meant; no row makes them write or work without end."""

import time
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.data.config import DataConfig
from tasks.data.row_templates import LARGEST, RowTemplate
from tasks.data.rows import BadRow

HALF = "x" * (LARGEST // 2 + 1)


@pytest.mark.parametrize(
    ("text", "row", "made"),
    [
        ("Question: {{ q }}\nAnswer:\n", {"q": "2+2?"}, "Question: 2+2?\nAnswer:\n"),
        ("{% for c in cs %}{{ loop.index }}. {{ c }}\n{% endfor %}", {"cs": ["a", "b"]}, "1. a\n2. b\n"),
        (
            "{% for k, v in d.items() %}{{ k }}={{ v }}{{ ', ' if not loop.last }}{% endfor %}",
            {"d": {"a": 1, "b": 2}},
            "a=1, b=2",
        ),
        ("{{ x or '' }}{{ y | default('none') }}", {"x": None}, "none"),
        ("{{ d | tojson }}", {"d": {"é": ["<", None]}}, '{"é": ["<", null]}'),
        ("{{ ds | map(attribute='n') | join('; ') }}", {"ds": [{"n": "a"}, {"n": "b"}]}, "a; b"),
        ("{{ (a ~ ' ' ~ b).strip() | upper }}{{ 2 * n + 1 }}", {"a": " q", "b": "r ", "n": 2}, "Q R5"),
        ("{% set last = cs[-1] %}{{ cs[:2] | length }}{{ last | replace('c', 'd') }}", {"cs": ["a", "b", "c"]}, "2d"),
    ],
)
def test_templates_write_over_the_columns(text: str, row: dict[str, Any], made: str) -> None:
    assert RowTemplate("text", text).render(row) == made


@pytest.mark.parametrize(
    ("text", "row", "reason"),
    [
        ("{{ b }}", {"a": 1}, "row_templates.text: 'b' is undefined; the row has the columns a"),
        ("{{ a.b }}", {"a": {}}, "has no attribute 'b'"),
        ("{{ a }}", {"a": None}, "it writes a null"),
        ("{{ a }}", {"a": ["x"]}, "it writes a list; {{ column | tojson }}"),
        ("{{ a.strip }}", {"a": "x"}, "it writes a builtin_function"),
        ("{{ a.strip() }}", {"a": 7}, "has no attribute 'strip'"),
        ("{{ a / b }}", {"a": 1, "b": 0}, "division by zero"),
        ("{{ a[9] }}", {"a": "x"}, "has no element 9"),
        ("{{ a.__class__ }}", {"a": "x"}, "unsafe"),
        ("{{ a[b] }}", {"a": "x", "b": "__class__"}, "unsafe"),
    ],
)
def test_what_cannot_be_written_is_a_bad_row(text: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRow) as caught:
        RowTemplate("text", text).render(row)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", {}),
        (
            "{% for a in xs if a %}{% for b in xs %}{% for c in xs %}{% endfor %}{% endfor %}{% endfor %}",
            {"xs": [1] * 999},
        ),
        ("{% for a in xs %}{{ t }}{% endfor %}", {"xs": HALF, "t": HALF}),
        ("{% for a in xs %}{% if t | upper == a %}{% endif %}{% endfor %}", {"xs": [1] * 9999, "t": "x" * 2**20}),
        ("{{ range(n) | list | length }}", {"n": 10**12}),
        ("{{ a ~ a }}", {"a": HALF}),
        ("{{ a }}{{ a }}", {"a": HALF}),
        ("{% set b = a + a %}", {"a": HALF}),
        ("{{ a * n }}", {"a": "x", "n": 10**12}),
        ("{{ a % n }}", {"a": "%*d", "n": 10**9}),
        ("{{ a | replace('x', a) }}", {"a": HALF}),
        ("{{ xs | join(a) }}", {"xs": ["x"] * 9, "a": HALF}),
        ("{{ a | map(f, 10**9 // 1) | list }}".replace("10**9 // 1", "9999"), {"a": ["x"], "f": "center"}),
        ("{{ a | tojson(indent=99999999) }}", {"a": [1]}),
    ],
)
def test_no_row_makes_a_template_write_or_work_without_end(text: str, row: dict[str, Any]) -> None:
    template, started = RowTemplate("text", text), time.process_time()
    with pytest.raises(BadRow):
        template.render(row)
    assert time.process_time() - started < 5


def test_a_row_leaves_the_next_one_its_own_purse() -> None:
    template = RowTemplate("text", "{% for x in xs %}{{ x }}{% endfor %}")
    for _ in range(3):
        assert template.render({"xs": ["a"] * 60_000}) == "a" * 60_000


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{{ a", "line 1: unexpected end of template"),
        ("\n{% if %}", "line 2"),
        ("{{ a | nothing }}", "No filter named 'nothing'"),
        ("{{ 'x' | center(9999999999) }}", "No filter named 'center'"),
        ("{{ '%9999999999d' | format(1) }}", "No filter named 'format'"),
        ("{{ 9 ** 9 ** 9 }}", "pow is not for row templates"),
        ("{% macro f() %}{{ f() }}{% endmacro %}", "macro is not for row templates"),
        ("{% include '/etc/passwd' %}", "include is not for row templates"),
        ("{% for x in xs recursive %}{{ loop(xs) }}{% endfor %}", "a loop cannot be recursive"),
        ("{{ a.format(b) }}", "only range() and these methods can be called"),
        ("{{ a.ljust(9) }}", "only range() and these methods can be called"),
        ("{{ lipsum() }}", "only range() and these methods can be called"),
    ],
)
def test_what_is_no_row_template_is_refused_when_the_recipe_is_read(text: str, what: str) -> None:
    with pytest.raises(ValidationError) as caught:
        DataConfig(train_files=["x"], row_templates={"prompt": "ok", "completion": text})
    (error,) = caught.value.errors()
    assert error["loc"] == ("row_templates", "completion")
    assert what in error["msg"]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"row_templates": {"messages": "x"}}, "no template can write the field messages; it can write chosen"),
        ({"row_templates": {"text": "x"}, "columns": {"text": "y"}}, "both make the field text"),
        ({"roles": {"Kunde": "customer"}}, "there is no role customer; roles are system"),
        ({"columns": {"prompt": "a", "completion": "a"}}, "two fields cannot be held by one column"),
    ],
)
def test_names_that_cannot_be_meant_are_refused(fields: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what.replace("(", r"\(")):
        DataConfig(train_files=["x"], **fields)
    assert DataConfig(train_files=["x"], columns={"text": "content", "content": "text"})
