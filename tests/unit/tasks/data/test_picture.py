"""The picture of the rows by length: a file of its own, with what the report says."""

from xml.etree import ElementTree

from tasks.data import picture

SVG = "{http://www.w3.org/2000/svg}"
REPORT = {
    "max_length": 1024,
    "suggested_max_length": 128,
    "lengths": {"width": 64, "rows": [10, 5, 0, 1], "above": 2, "quantiles": {}},
}


def test_it_is_a_picture_by_itself_with_a_bar_for_each_length_that_there_is() -> None:
    drawn = ElementTree.fromstring(picture.drawn(REPORT))
    assert drawn.tag == f"{SVG}svg"
    assert len(drawn.findall(f"{SVG}rect[@class='col']")) == 4, "of three bars, and of what lies above"
    told = "".join(drawn.itertext())
    assert "suggested 128" in told
    assert "max_length 1,024 →" in told, "it lies beyond what is drawn"
    assert "fill:#c2372f" in told, "the style is its own"
