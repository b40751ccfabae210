"""What is refused before anything is asked of Slurm."""

from pathlib import Path

import pytest

from infra.errors import BadRecipe
from infra.launch.profile import Profile
from infra.launch.slurm import SlurmLauncher

SPEC = "jobs/toy/0123/a1/spec.json"


@pytest.mark.parametrize(
    ("root", "store", "what"),
    [
        ("", "s3://bucket/luthier", "a folder that they share"),
        ("/shared/it's me", "s3://bucket/luthier", "cannot be told of a folder of this name"),
        ("/shared/me", "file:///home/me/.luthier/store", "cannot see this folder"),
    ],
)
def test_what_nodes_could_not_use_is_refused(tmp_path: Path, root: str, store: str, what: str) -> None:
    launcher = SlurmLauncher(Profile(), root)
    with pytest.raises(BadRecipe, match=what) as caught:
        launcher.start("tests.toy", SPEC, {"LUTHIER_STORE": store}, tmp_path / "log")
    assert caught.value.remedy
