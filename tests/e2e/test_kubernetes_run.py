"""A whole run whose every stage is a Job, its training on two pods, with a real bucket and MLflow behind passwords."""

import json
from pathlib import Path

import pytest

from tests.e2e import tickets
from tests.e2e.commands import ROOT
from tests.e2e.stack import Stack
from tests.kube_api import kube

pytestmark = [pytest.mark.proof, pytest.mark.s3]

PROFILE = """
kubernetes: {{image: luthier-train, secret: credentials}}
environment: {{PYTHONPATH: {root}}}
"""
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@pytest.mark.timeout(1500)
def test_a_run_goes_through_pods_to_a_version_and_a_second_makes_nothing(stack: Stack, tmp_path: Path) -> None:
    profile, recipe = tmp_path / "profile.yaml", tickets.write(tmp_path / "tickets")
    profile.write_text(PROFILE.format(root=ROOT))
    known = stack.variables
    with kube() as cluster:
        cluster.secrets["credentials"] = {name: known[name] for name in SECRETS}
        led = f"LUTHIER_LAUNCHER=kubernetes LUTHIER_PROFILE='{profile}' KUBECONFIG='{cluster.folder}/config'"
        command = f"{led} luthier run '{recipe}' --set train.resources.nodes=2 --set train.seed=43"
        said = stack.shell(f"unset PREFECT_API_URL; {command}", 1200)
        assert f"{tickets.NAME} version" in said
        made = [json.dumps(job) for job in cluster.made]
        assert len(made) >= 8
        assert sum('"completions": 2' in job for job in made) == 1
        assert not [name for name in SECRETS[1:] if any(known[name] in job for job in made if len(known[name]) > 8)]
        assert (cluster.jobs, cluster.pods) == ({}, {})
        stack.shell(f"unset PREFECT_API_URL; {command}", 300)
        again = [job["metadata"]["labels"]["luthier/stage"] for job in cluster.made[len(made) :]]
        assert set(again) <= {"registry", "incumbent"}, "what reconciles runs each time, and nothing else does"
