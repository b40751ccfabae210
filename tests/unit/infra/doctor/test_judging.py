"""A node's own words, judged."""

import platform

import pytest

from infra.doctor.judging import judged
from infra.launch.work import code

WELL = {
    "host": "gpu1",
    "python": platform.python_version(),
    "torch": "2.7.0",
    "gpus": "4",
    "folder": "/shared",
    "shared": "yes",
    "found": "probe/1",
    "code": code(),
    "clock": "1000.0",
    "home": "/scratch",
    "free": str(2**40),
}


def test_a_node_that_has_and_sees_all_is_well() -> None:
    found = judged("gpu1", WELL, "probe/1", (999.0, 1001.0))
    assert (found.state, found.said.endswith("shared folder and store are seen")) == ("ok", True)
    alone = judged("gpu1", WELL | {"folder": "."}, "probe/1")
    assert alone.said.endswith("; store is seen")


@pytest.mark.parametrize(
    ("told", "state", "said"),
    [
        ({"shared": "/shared"}, "bad", "does not see /shared"),
        ({"found": "nothing there"}, "bad", "does not see the store: nothing there"),
        ({"torch": "none"}, "bad", "torch none"),
        ({"code": "another"}, "warn", "another Luthier"),
        ({"python": "3.9.1"}, "warn", "here it is 3."),
        ({"clock": "900.0"}, "warn", "off by 99 s"),
        ({"clock": "1101.0"}, "warn", "off by 100 s"),
        ({"free": str(2**30)}, "warn", "too little in /scratch"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(told: dict[str, str], state: str, said: str) -> None:
    found = judged("gpu1", WELL | told, "probe/1", (999.0, 1001.0))
    assert (found.state, said in found.said) == (state, True), found
    assert found.remedy


def test_a_node_with_an_older_luthier_says_less() -> None:
    assert "older Luthier" in judged("gpu1", {"python": "3.11.2"}, "probe/1").said
