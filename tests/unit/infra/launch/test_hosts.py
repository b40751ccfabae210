"""What is refused before any machine is asked."""

from pathlib import Path

import pytest

from infra.errors import BadRecipe
from infra.launch.hosts import HostsLauncher
from infra.launch.profile import Host, Profile
from infra.launch.resources import Resources

SPEC = "jobs/toy/0123/a1/spec.json"


@pytest.mark.parametrize(
    ("store", "nodes", "what"),
    [
        ("file:///home/me/.luthier/store", 1, "cannot see this folder"),
        ("s3://bucket/luthier", 2, "2 nodes are asked for"),
    ],
)
def test_what_machines_could_not_do_is_refused(tmp_path: Path, store: str, nodes: int, what: str) -> None:
    launcher = HostsLauncher(Profile(hosts=[Host(ssh="a")]), "")
    with pytest.raises(BadRecipe, match=what) as caught:
        launcher.start("tests.toy", SPEC, {"LUTHIER_STORE": store}, tmp_path / "log", Resources(nodes=nodes))
    assert caught.value.remedy
