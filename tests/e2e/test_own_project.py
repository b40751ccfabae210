"""A team's own project: made by `luthier init`, deployed to a server, and run by a Luthier that is no checkout."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tests.e2e import commands
from tests.e2e.stack import Stack

pytestmark = pytest.mark.s3
UV = shutil.which("uv", path=f"{commands.BIN}:{os.environ['PATH']}")


def made(stack: Stack, folder: Path) -> Path:
    """A new project in `folder`, that deploys to a pool of its own."""
    project = folder / "parts"
    assert "luthier plan recipes/parts.yaml" in stack("init", str(project))
    change(project / "prefect.yaml", {"{name: luthier}": f"{{name: pool-{folder.name}}}"})
    return project


def change(path: Path, words: Mapping[str, str]) -> None:
    """Replace what stands in a file."""
    text = path.read_text()
    for old, new in words.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text)


@pytest.mark.slow
def test_a_new_project_can_be_planned_and_deployed_at_once(stack: Stack, tmp_path: Path) -> None:
    project = made(stack, tmp_path)
    steps = yaml.safe_load((project / ".github" / "workflows" / "recipes.yml").read_text())["jobs"]["recipes"]["steps"]
    checks = [step["run"] for step in steps if "run" in step and "pip install" not in step["run"]]
    assert len(checks) == 2
    assert "will run" in stack.shell(f"cd '{project}'; " + "; ".join(checks), 120)
    weekly = {"active: false": "active: true", "# triggers: [{": "triggers: [{"}  # what its comments say
    for changes in ({}, weekly):
        change(project / "prefect.yaml", changes)
        told = stack.shell(f"cd '{project}' && luthier deploy", 120)
        assert "prefect deployment run finetune/parts --watch" in told
        assert f"prefect worker start --pool pool-{tmp_path.name}" in told
        assert f"set -a; . {os.path.relpath(stack.folder.env, project)}; set +a" in told
    known = stack.prefect("deployments/name/finetune/parts")
    assert f"/deployments/deployment/{known['id']}\n" in told
    assert known["work_pool_name"] == f"pool-{tmp_path.name}"
    given = {"recipe": "recipes/parts.yaml", "overrides": {}, "approval": {"ask": False}}
    assert known["parameters"] == given
    assert known["entrypoint"] == "pipelines.finetune.finetune"
    assert str(project) in str(known["pull_steps"])
    again = stack.prefect("deployments/name/retrain/parts")
    assert [(one["schedule"]["cron"], one["active"]) for one in again["schedules"]] == [("0 6 * * 1", True)]
    assert again["global_concurrency_limit"] is None, "a healthy run would be ended with its lease"
    (trigger,) = stack.prefect(f"automations/related-to/prefect.deployment.{again['id']}")
    assert trigger["trigger"]["match"] == {"prefect.resource.id": "s3://bucket/rows/*"}
    assert trigger["trigger"]["expect"] == ["luthier.data.new"]


@pytest.mark.slow
def test_a_wrong_password_and_what_prefect_refuses_are_told(stack: Stack, tmp_path: Path) -> None:
    project = made(stack, tmp_path)
    told = stack.shell(f"cd '{project}' && ! PREFECT_API_AUTH_STRING=luthier:guess luthier deploy", 60)
    assert "does not let us in" in told
    change(project / "prefect.yaml", {"pipelines.finetune.finetune": "pipelines.nowhere.finetune"})
    told = stack.shell(f"cd '{project}' && ! luthier deploy", 120)
    assert "No module named 'pipelines.nowhere'" in told
    assert "then `luthier deploy`" in told


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with Luthier's wheel; what it needs comes from ours."""
    if UV is None:
        pytest.skip("no uv: make installs it")
    folder = tmp_path_factory.mktemp("wheel")
    commands.run([UV, "build", "--wheel", "--out-dir", str(folder), str(commands.ROOT)], os.environ, 300)
    commands.run([sys.executable, "-m", "venv", str(folder / "venv")], os.environ, 120)
    (built,) = folder.glob("*.whl")
    python = folder / "venv" / "bin" / "python"
    commands.run([UV, "pip", "install", "--no-deps", "--python", str(python), str(built)], os.environ, 120)
    (site,) = folder.glob("venv/lib/python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its .pth with the checkout is not followed
    return python.parent


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_a_new_project_runs_from_a_wheel_to_a_version(stack: Stack, wheel: Path, tmp_path: Path) -> None:
    project = made(stack, tmp_path)
    at = f"export PATH='{wheel}':$PATH; cd '{project}'"
    where = stack.shell(f"{at}; python -c 'import pipelines; print(pipelines.__file__)'", 60)
    assert where.startswith(str(wheel.parent))
    told = stack.shell(f"{at}; luthier deploy && prefect deployment run finetune/parts", 180)
    run = next(line.split()[-1] for line in told.splitlines() if "UUID: " in line)
    # Takes up the one run, sees it to its end, and ends itself.
    pool = f"--pool pool-{tmp_path.name} --install-policy never"
    stack.shell(f"{at}; python -m prefect worker start {pool} --run-once", 1500)
    assert stack.prefect(f"flow_runs/{run}")["state_type"] == "COMPLETED"
    version = stack.mlflow("registered-models/alias?name=parts&alias=candidate")["model_version"]
    assert version["version"] == "1"
