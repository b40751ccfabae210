"""The deployment of prefect.yaml on a stack: the worker runs it, artifacts are on S3, the version is in MLflow."""

import json

import pytest

from tests.e2e import tickets
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.s3]

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


def test_a_deployment_runs_to_completed_and_its_version_loads_back(stack: Stack, finished: str) -> None:
    assert "Completed" in finished
    at = f"registered-models/alias?name={tickets.NAME}&alias=candidate"
    version = stack.mlflow(at)["model_version"]
    assert version["source"].startswith("s3://luthier/store/stages/merging/")
    uri = f"models:/{tickets.NAME}/{version['version']}"
    said = stack.shell(f"python -c '{LOAD_BACK}' {uri} {version['source']}", 240)
    (told,) = [line for line in said.splitlines() if line.startswith("{")]
    assert json.loads(told) == {"difference": 0.0, "answer": 1}
