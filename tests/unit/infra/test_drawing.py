"""The picture of what came from what: all boxes apart, each below what it came from, and no line said twice."""

import re
import xml.etree.ElementTree as ET

from infra.drawing import WIDE, Box, svg

BOXES = [Box(name, name.upper(), [("sha256", "1" * 16), ("size", "1 kB")]) for name in "abcdef"]
EDGES = [("a", "b"), ("b", "c"), ("a", "c"), ("c", "f"), ("d", "f"), ("a", "f"), ("e", "d"), ("a", "d")]


def boxes(text: str) -> dict[str, tuple[float, float, float]]:
    """x, y and height by title."""
    found = re.findall(
        r'<rect x="(\d+)" y="(\d+)" width="\d+" height="(\d+)"[^>]*/><text class="head"[^>]*>([A-Z])<', text
    )
    return {title: (float(x), float(y), float(high)) for x, y, high, title in found}


def test_each_box_is_below_what_it_came_from_and_no_two_overlap() -> None:
    found = boxes(svg("All", BOXES, EDGES))
    assert set(found) == set("ABCDEF")
    for one, other in EDGES:
        assert found[one.upper()][1] + found[one.upper()][2] < found[other.upper()][1]
    placed = list(found.values())
    for number, (x, y, high) in enumerate(placed):
        for other_x, other_y, other_high in placed[number + 1 :]:
            assert abs(x - other_x) >= WIDE or y + high < other_y or other_y + other_high < y


def test_a_line_that_a_longer_way_says_is_left_out() -> None:
    three = [box for box in BOXES if box.id in "abc"]
    assert svg("t", three, [("a", "b"), ("b", "c"), ("a", "c")]).count("<path") == 2
    assert svg("t", three, [("a", "b"), ("a", "b"), ("a", "nobody")]).count("<path") == 1


def test_texts_are_texts() -> None:
    steering = Box("x", "<script>&\u202e\x1b", [("a" * 10, "b" * 100)], "gone")
    text = svg('"quoted" & <b>', [steering], [])
    ET.fromstring(text)
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "…" in text
    assert svg("nothing", [], []).startswith("<svg")
