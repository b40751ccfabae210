"""What Slurm says, as errors of ours."""

from pathlib import Path

import pytest

from infra.errors import BadRecipe, Lost, LuthierError, Refused, Unreachable
from infra.launch import slurm_commands as commands


def says(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, *scripts: str) -> None:
    """A command that does one thing after the other, and then the last for ever."""
    for number, script in enumerate(scripts):
        (folder / f"{name}-{number}").write_text(script)
    body = (
        f"n=$(cat {folder}/count 2>/dev/null || echo 0); [ -e {folder}/{name}-$n ] || n={len(scripts) - 1}\n"
        f"echo $((n + 1)) > {folder}/count; . {folder}/{name}-$n\n"
    )
    (folder / name).write_text("#!/bin/bash\n" + body)
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(commands, "_PAUSE_S", 0.01)


@pytest.mark.parametrize(
    ("said", "kind", "place"),
    [
        ("Batch job submission failed: Invalid partition name specified", BadRecipe, "resources.partition"),
        ("Invalid account or account/partition combination specified", BadRecipe, "resources.account"),
        ("Batch job submission failed: Invalid qos specification", BadRecipe, "resources.qos"),
        ("Requested time limit is invalid (missing or exceeds some limit)", BadRecipe, "resources.time"),
        ("Invalid generic resource (gres) specification", BadRecipe, "resources.gres or gpus_per_node"),
        ("Batch job submission failed: Invalid feature specification", BadRecipe, "resources.constraint"),
        ("Memory specification can not be satisfied", BadRecipe, "resources.mem"),
        ("Job violates accounting/QOS policy (job submit limit, user's size limit)", Lost, "sbatch"),
        ("Unable to contact slurm controller (connect failure)", Unreachable, "sbatch"),
        ("Socket timed out on send/recv operation", Unreachable, "sbatch"),
        ("something that nobody has heard before", Refused, "sbatch"),
    ],
)
def test_the_class_says_what_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[LuthierError], place: str
) -> None:
    says(tmp_path, monkeypatch, "sbatch", f"echo {said!r} >&2; exit 1")
    with pytest.raises(LuthierError) as caught:
        commands.ask(["sbatch"])
    assert (type(caught.value), caught.value.place) == (kind, place)
    assert caught.value.remedy
    assert said in caught.value.value


def test_without_slurm_the_remedy_is_another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadRecipe, match="no sbatch here"):
        commands.submit("#!/bin/bash", "name")


def test_slurmctld_is_waited_for_until_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = "echo 'Unable to contact slurm controller' >&2; exit 1"
    says(tmp_path, monkeypatch, "squeue", away, away, "echo '7|luthier.a'; echo '8|other'")
    assert commands.named("luthier.") == {"luthier.a": "7"}
    (tmp_path / "later").mkdir()
    says(tmp_path / "later", monkeypatch, "squeue", away)
    with pytest.raises(Unreachable):
        commands.named("luthier.", deadline_s=0.05)


def test_a_job_whose_number_was_lost_on_the_way_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(tmp_path, monkeypatch, "squeue", "echo '41|luthier.x'")
    says(tmp_path, monkeypatch, "sbatch", "cat > /dev/null; echo 'Socket timed out' >&2; exit 1")
    assert commands.submit("#!/bin/bash", "luthier.x") == "41"


def test_a_submission_that_never_gets_through_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says(tmp_path, monkeypatch, "squeue", "echo '41|another'")
    says(tmp_path, monkeypatch, "sbatch", "cat > /dev/null; echo 'Resource temporarily unavailable' >&2; exit 1")
    with pytest.raises(Unreachable, match="does not answer"):
        commands.submit("#!/bin/bash", "luthier.x", deadline_s=0.05)


def test_a_job_that_slurmctld_has_forgotten_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says(tmp_path, monkeypatch, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert commands.state("5") == (commands.GONE, "")
