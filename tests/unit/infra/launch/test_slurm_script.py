"""The batch script, whole: a golden text, and one for bash to read."""

import subprocess
from pathlib import Path

import pytest

from infra.launch.elsewhere import exports
from infra.launch.profile import Profile
from infra.launch.resources import Resources
from infra.launch.slurm_script import Batch, script

GOLDEN = Path(__file__).parents[3] / "golden" / "slurm.sh"
RESOURCES = Resources(
    nodes=2,
    partition="gpu",
    account="nlp",
    qos="high",
    gpus_per_node="a100:4",
    cpus_per_task=32,
    mem="200G",
    time="08:00:00",
    constraint="nvlink&ib",
    exclusive=True,
)
BATCH = Batch(
    name="luthier.training.0123456789abcdef.a1",
    folder=Path("/shared/me/.luthier/jobs/it"),
    python="apptainer exec --nv /shared/luthier.sif python",
    module="tasks.training.worker",
    spec="jobs/training/0123/a1/spec.json",
    home="/scratch/$USER",
    resources=RESOURCES,
)
PROFILE = Profile(modules=["cuda/12.4"], setup=["ulimit -n 65536"])


def test_the_script_is_the_golden_one() -> None:
    assert script(BATCH, PROFILE) == GOLDEN.read_text()


def test_bash_can_read_it() -> None:
    subprocess.run(["bash", "-n"], input=script(BATCH, PROFILE), check=True, text=True)


def test_what_is_not_asked_is_not_said() -> None:
    made = script(Batch("n", Path("/f"), "python", "m", "s", "/h", Resources()), Profile())
    told = [line.removeprefix("#SBATCH --").partition("=")[0] for line in made.splitlines() if "#SBATCH" in line]
    expected = ["job-name", "nodes", "ntasks-per-node", "output", "open-mode", "chdir", "export", "signal", "requeue"]
    assert told == expected


@pytest.mark.parametrize("value", ["it's", 'a"b', "$HOME `id`", "two\nlines", ""])
def test_bash_reads_a_variable_as_it_is(tmp_path: Path, value: str) -> None:
    (tmp_path / "environment").write_text(exports({"WORD": value}))
    command = f'. {tmp_path}/environment && printf %s "$WORD"'
    assert subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout == value
