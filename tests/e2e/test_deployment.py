"""A Prefect deployment on a real server and worker, artifacts on a real S3 server, versions on a real MLflow server."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests import s3
from tests.e2e import recipes
from tests.e2e.servers import BIN, mlflow_server, prefect_server, process

pytestmark = [pytest.mark.slow, pytest.mark.s3]

ROOT = Path(__file__).parents[2]
LOAD_BACK = """
import json, sys
import mlflow, torch
from transformers import AutoModelForCausalLM
uri, source = sys.argv[1:]
loaded = mlflow.transformers.load_model(uri)
folder = mlflow.artifacts.download_artifacts(source)
plain = AutoModelForCausalLM.from_pretrained(folder + "/model", dtype=loaded.model.dtype)
ids = torch.tensor([[3, 9, 12, 40]])
with torch.no_grad():
    difference = (loaded.model(ids).logits - plain(ids).logits).abs().max().item()
answer = mlflow.pyfunc.load_model(uri).predict(["the red printer"], params={"max_new_tokens": 4})
print(json.dumps({"difference": difference, "answer": len(answer)}))
"""


def command(arguments: list[str], environment: dict[str, str], timeout: float = 120) -> str:
    done = subprocess.run(
        arguments,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


def test_a_deployment_runs_to_completed_and_its_version_loads_back(tmp_path: Path) -> None:
    recipe = recipes.write(tmp_path / "project")
    ports = s3.free_ports(2)
    with (
        s3.server("artifacts") as store,
        prefect_server(ports[0], tmp_path) as prefect,
        mlflow_server(ports[1], tmp_path, "s3://artifacts/mlflow") as tracking,
    ):
        own = {"LUTHIER_STORE": "s3://artifacts/luthier", "LUTHIER_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
        environment = {**os.environ, **store.environment, **prefect, **tracking, **own}
        cli = str(BIN / "prefect")
        command([cli, "work-pool", "create", "luthier", "--type", "process"], environment)
        command([cli, "--no-prompt", "deploy", "--all"], environment)
        worker = [cli, "worker", "start", "--pool", "luthier", "--install-policy", "never"]
        with process(worker, environment, tmp_path / "worker.log", cwd=tmp_path):
            watched = command(
                [cli, "deployment", "run", "finetune/quickstart", "--watch", "--param", f"recipe={recipe}"],
                environment,
                480,
            )
        assert "Completed" in watched, watched[-3000:] + (tmp_path / "worker.log").read_text()[-6000:]
        client = MlflowClient(tracking["MLFLOW_TRACKING_URI"])
        version = client.get_model_version_by_alias("tiny-tickets", "candidate")
        assert version.source.startswith("s3://artifacts/luthier/stages/merging/")
        loaded = json.loads(
            command(
                [str(BIN / "python"), "-c", LOAD_BACK, f"models:/tiny-tickets/{version.version}", version.source],
                environment,
            ).splitlines()[-1]
        )
        assert loaded == {"difference": 0.0, "answer": 1}
