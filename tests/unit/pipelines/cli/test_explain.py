"""`luthier explain`: from alias to rows, in words, for a machine, and as a picture that needs nothing else."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.artifacts import place
from tests.registered import NAME, Registered

pytestmark = pytest.mark.heavy

Luthier = Callable[..., int]
Use = Callable[[Registered], None]
Said = pytest.CaptureFixture[str]


def test_the_tree_goes_from_the_alias_to_the_base_and_tells_each_thing_once(luthier: Luthier, capsys: Said) -> None:
    assert luthier("explain", f"{NAME}@candidate") == 0
    said = capsys.readouterr().out
    titles = [f"{NAME} version 2", "Verdict", "Scores of the model", "Model", "Training", "Dataset", "Base: tiny-base"]
    assert [said.count(title + "\n") for title in titles] == [1] * len(titles)
    for words in ("alias @candidate, set by its run", "verdict promote", "licence apache-2.0", "echo exact_match 0.75"):
        assert words in said


def test_a_machine_gets_boxes_and_what_came_from_what(luthier: Luthier, capsys: Said) -> None:
    assert luthier("explain", f"{NAME}/1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    boxes = {box["id"]: box for box in told["boxes"]}
    assert boxes["version"]["lines"]["alias"] == "none"
    assert ["model", "adapter"] in told["from"]
    assert ["weights", "base"] in told["from"]
    assert {end for edge in told["from"] for end in edge} <= set(boxes)


def test_an_alias_that_was_set_by_hand_or_moved_on_is_said_to_be(
    own: Registered, luthier: Luthier, use: Use, capsys: Said
) -> None:
    use(own)
    own.client.set_registered_model_alias(NAME, "champion", "1")
    own.client.delete_registered_model_alias(NAME, "candidate")
    assert luthier("explain", NAME) == 0
    said = capsys.readouterr().out
    assert "@champion, set by hand" in said
    assert "@candidate was set, and points elsewhere now" in said


def test_the_picture_is_one_svg_and_what_is_gone_is_in_it_and_others_versions_have_none(
    own: Registered, luthier: Luthier, use: Use, capsys: Said, tmp_path: Path
) -> None:
    use(own)
    (beside,) = (own.on.home / "store" / "stages" / "registry").glob("*/*/lineage.svg")
    assert "Scores of the base" in beside.read_text(), "the card has it too"
    own.on.store.objects.delete(place(own.on.store, own.inputs["dataset"], "report.json"))
    assert luthier("explain", NAME, "--svg", str(tmp_path / "deep" / "it.svg")) == 0
    assert "Dataset: GONE" in capsys.readouterr().out
    text = (tmp_path / "deep" / "it.svg").read_text()
    root = ET.fromstring(text)
    assert root.tag.endswith("svg")
    assert "Dataset: GONE" in text
    assert "<script" not in text
    assert text.count("http") == 1, "only the name of the format"
    own.client.set_model_version_tag(NAME, "1", "luthier.registration", "")
    assert luthier("explain", NAME) == 2
    assert "luthier show" in capsys.readouterr().err
