"""A deployment of the stack whose stages are jobs of a real Slurm, its training on two nodes."""

import json
from pathlib import Path

import pytest

from tests.e2e import tickets
from tests.e2e.stack import begin, finish
from tests.slurm import needs_slurm, slurm

pytestmark = [pytest.mark.proof, pytest.mark.s3, needs_slurm]

PROFILE = """\
launcher: slurm
shared_root: {shared}
resources: {{cpus_per_task: 1, time: '00:20:00'}}
stages: {{gate: {{launcher: local}}, registry: {{launcher: local}}}}
"""
TWO = {"train.resources": {"nodes": 2}, "train.num_processes": 2, "train.deepspeed": "zero2"}


@pytest.mark.timeout(1500)
def test_a_deployment_run_goes_through_slurm_to_a_version(tmp_path: Path) -> None:
    profile, recipe = tmp_path / "profile.yaml", tickets.write(tmp_path / "tickets")
    profile.write_text(PROFILE.format(shared=tmp_path / "shared"))
    stack = begin(tmp_path / "home")
    with slurm() as cluster:
        try:
            stack("up", LUTHIER_PROFILE=str(profile), **cluster.environment)
            asked = f"--param 'recipe={recipe}' --param 'overrides={json.dumps(TWO)}'"
            said = stack.shell(f"prefect deployment run finetune/quickstart --watch {asked}", 1200)
            assert "Completed" in said
            assert stack.mlflow(f"registered-models/get?name={tickets.NAME}")["registered_model"]["latest_versions"]
            jobs = cluster.ask("scontrol", "--oneliner", "show", "jobs").splitlines()
            assert {"COMPLETED"} == {job.split("JobState=")[1].split()[0] for job in jobs}
            assert len([job for job in jobs if "NumNodes=2" in job]) == 1
            assert len(jobs) > 4
        finally:
            finish(stack)
