"""Stages find their launcher by what the site and the recipe say."""

from pathlib import Path

import pytest

from infra import settings
from infra.errors import BadRecipe
from infra.launch.local import LocalJob
from infra.launch.profile import Profile
from infra.launch.resources import Resources
from infra.launch.site import Site

SPEC = "jobs/toy/0123/a1/spec.json"


def test_without_more_stages_run_beside_the_flow(tmp_path: Path) -> None:
    job = Site().start("platform", SPEC, {}, tmp_path / "log")
    assert isinstance(job, LocalJob)
    job.stop()
    assert Site().find("toy", "0123", Resources()) == []


def test_a_recipe_sends_its_training_to_slurm(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="a folder that they share"):
        Site().start("platform", SPEC, {}, tmp_path / "log", Resources(launcher="slurm"))


def test_a_recipe_sends_its_training_to_kubernetes(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="no image is named"):
        Site().start("platform", SPEC, {}, tmp_path / "log", Resources(launcher="kubernetes"))


def test_a_stage_stays_where_the_site_says(tmp_path: Path) -> None:
    site = Site(Profile(launcher="slurm", stages={"toy": Resources(launcher="local")}))
    assert site.find("toy", "0123", Resources()) == []


def test_told_to_run_here_a_process_needs_no_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUTHIER_PROFILE", str(tmp_path / "of another machine"))
    with pytest.raises(BadRecipe, match="cannot be read"):
        settings.load().site()
    monkeypatch.setenv("LUTHIER_LAUNCHER", "local")
    assert settings.load().site().profile == Profile()
