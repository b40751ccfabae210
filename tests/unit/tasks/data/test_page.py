"""The page of a dataset: its figures add up, and no row on it is anything but text."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tasks.data import markup, preview_page
from tasks.data.preview import Answer, Part, Shown
from tests import tiny
from tests.unit.tasks.data.conftest import Make

Write = Callable[..., Path]
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</p></div></section><iframe src=https://example.com>",
    "<!-- <svg/onload=alert(1)>",
    "&lt;script&gt; &#x3c;",
    "\u202egpj.exe\u2066",
    "a\0b\x1b[31m\x85",
    "</style><style>@import 'https://example.com'",
]
ALLOWED = {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "section", "div", "b", "i"}
ALLOWED |= {"span", "ins", "small", "table", "thead", "tbody", "tr", "th", "td", "svg", "rect", "line", "text"}
ATTRIBUTES = {
    "class",
    "title",
    "style",
    "lang",
    "charset",
    "http-equiv",
    "content",
    "name",
    "dir",
    "role",
    "aria-label",
}
ATTRIBUTES |= {"aria-hidden", "viewbox", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "text-anchor"}


class Parsed(HTMLParser):
    """What a browser would make of a page: its elements, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in ("meta", "rect", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line"):
            assert self.open.pop() == tag, f"{tag} closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def require_harmless(page: str) -> Parsed:
    """Nothing that runs or loads, and no element or attribute but the page's own."""
    parsed = Parsed(page)
    assert not parsed.open
    assert parsed.tags <= ALLOWED
    assert {name for name, _ in parsed.attributes} <= ATTRIBUTES
    assert "default-src 'none'" in page
    assert not re.search("[\u202a-\u202e\u2066-\u2069\0\x1b\x85]", page)
    return parsed


@pytest.mark.parametrize("evil", HOSTILE)
def test_nothing_in_a_row_is_more_than_text(evil: str) -> None:
    row = Shown(
        place=f"{evil}.jsonl:1",
        tokens=3,
        learned=1,
        parts=(Part(text=evil, weight=0.1, tokens=2), Part(text=evil, weight=1, learned=True, tokens=1)),
        warnings=(evil,),
    )
    bad = Shown(place=evil, reason=evil, sample=evil)
    page = preview_page.page(Answer(rows=(row, bad), unused_columns=(evil,), special=("<s>", evil)), 512)
    parsed = require_harmless(page)
    seen = "".join(char for char in evil if char.isascii() and char.isprintable())
    shown = re.sub("[\u2400-\u241f]|U\\+[0-9A-F]{4}", "", parsed.text)
    assert shown.count(seen) >= 6, "and all of it can be read"


def test_what_cannot_be_seen_is_shown() -> None:
    assert 'title="U+202E">U+202E<' in markup.text("a\u202eb")
    assert "\u2400" in markup.text("\0")
    assert markup.text("line\nline\ttab") == "line\nline\ttab"


def test_what_is_learned_is_told_without_colour() -> None:
    shown = Shown(
        place="a",
        parts=(
            Part(text="<s>q", weight=0.1, tokens=2),
            Part(text="half", weight=0.5, learned=True, tokens=1),
            Part(text="n", weight=0, tokens=1),
        ),
    )
    made = markup.row(shown, "", ["<s>"])
    assert '<ins class="learned" title="weight 0.5, 1 token">half</ins>' in made
    assert '<span class="prompt" title="weight 0.1, 2 tokens"><b class="special">&lt;s&gt;</b>q</span>' in made
    assert '<span class="none" title="weight 0, 1 token">n</span>' in made
    assert ".learned{" in markup.STYLE
    assert "underline" in markup.STYLE.split(".learned{")[1].split("}")[0]


def test_the_middle_of_a_long_piece_is_left_out() -> None:
    made = markup.row(Shown(place="a", parts=(Part(text="x" * 9000, weight=1),)), "")
    assert "… 6,000 characters …" in made


@pytest.mark.heavy
def test_the_page_of_a_dataset_adds_up(make: Make, write: Write) -> None:
    more = write([{"text": f"{n} " + " printer" * 90, "id": n} for n in range(30)], "more.jsonl")
    evil = [{"prompt": text, "completion": text} for text in HOSTILE if "\0" not in text]
    first = write([*tiny.rows(80), *evil, "{<script>", '{"messages": "\\u202e"}'])
    fields = {"max_bad_rows": 0.1, "overlong": "truncate", "max_length": 64, "validation_split": 0.1}
    made = make(first, **fields, train_files=[str(first), {"files": [str(more)], "weight": 2}])
    report = made.report()
    page = (made.folder / "report.html").read_text()
    parsed = require_harmless(page)
    assert report["rows"] == report["train_rows"] + report["validation_rows"] + report["dropped"] + report["bad"]
    for field in ("rows", "train_rows", "validation_rows", "dropped", "bad"):
        assert sum(source[field] for source in report["sources"]) == report[field], field
    assert sum(source["tokens"] for source in report["sources"]) == report["train_tokens"] == report["cost"]["tokens"]
    assert [source["name"] for source in report["sources"]] == ["rows.jsonl", "more.jsonl"]
    assert [source["weight"] for source in report["sources"]] == [1, 2]
    assert 0 < report["supervised_share"] < 1
    assert report["cost"]["truncated_tokens"] > 0
    assert sum(report["lengths"]["rows"]) + report["lengths"]["above"] == report["rows"] - report["bad"]
    assert page.count('<div class="row ') == 20
    assert "more.jsonl:" in page, "every source has some of the rows"
    assert "quarantine.jsonl beside this page has 2" in parsed.text
    quarantined = [json.loads(line) for line in (made.folder / "quarantine.jsonl").read_text().splitlines()]
    assert [at["place"].split(":")[0] for at in quarantined] == ["rows.jsonl", "rows.jsonl"]
    assert [at["sample"] for at in quarantined] == ["{<script>", '{"messages": "\\u202e"}']
    assert len(set(report["problems"]["truncated"][0]["sample"])) > 3


@pytest.mark.heavy
def test_equal_data_gives_an_equal_page(make: Make, write: Write) -> None:
    pages = [(make(write(tiny.rows(60))).folder / "report.html").read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]


@pytest.mark.heavy
def test_what_became_of_every_row_is_kept(make: Make, write: Write) -> None:
    import numpy as np  # noqa: PLC0415 - see the mark

    made = make(write(tiny.rows(60)), validation_split=0.2, max_length=64)
    taken = np.load(made.folder / "taken.npy")
    assert len(taken) == 60
    assert (taken > 0).sum() == made.summary["train_rows"]
    assert (taken < 0).sum() == made.summary["validation_rows"]
    index = json.loads((made.folder / "index.json").read_text())
    assert index["shards"] == [{"segments": [["rows.jsonl", ".jsonl", 0]], "source": 0, "validation": False}]
