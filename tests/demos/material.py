"""What a model learns in the demo of the cadence: rows that are too few, better ones, and ones that somebody spoilt."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e import commands, tickets

TICKETS = commands.ROOT / "configs" / "tickets"
FEW = 160  # rows of the first version
Row = Mapping[str, Any]
PROJECT = """\
name: cadence
pull:
  - prefect.deployments.steps.set_working_directory: {{directory: "{{{{ $PWD }}}}"}}
deployments:
  - name: demo
    entrypoint: pipelines.retrain.retrain
    parameters: {{recipe: {recipe}, overrides: {{}}, approval: {{ask: true}}}}
    schedules: [{{cron: "0 2 * * *", timezone: UTC, active: false}}]
    triggers: [{{match: {{prefect.resource.id: "{rows}*"}}, expect: [luthier.data.new]}}]
    work_pool: {{name: luthier}}
"""


@dataclass(frozen=True)
class Material:
    """A project with a recipe and a deployment that retrains it; `phases` are what its rows are, one after another.

    The held-out documents are `n`. Of them the better version is expected to get `better` right and the first `first`,
    the one from spoilt rows `spoilt` at most. `minutes` is how long one run takes on two cores of their own.
    """

    project: Path
    model: str
    task: str
    phases: Mapping[str, Sequence[Row]]
    n: int
    first: float
    better: float
    spoilt: float
    margin: float
    minutes: float

    @property
    def rows(self) -> Path:
        """The folder that new rows come into."""
        return self.project / "rows"

    def put(self, phase: str) -> None:
        """Let the folder hold the rows of a phase, and nothing else."""
        (self.rows / "tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in self.phases[phase]))


def real(project: Path) -> Material:
    """SmolLM2-135M and the quickstart's tickets."""
    exam = project / "exam"
    shutil.copytree(TICKETS, exam, ignore=shutil.ignore_patterns("__pycache__", "generate.py", "wording.json"))
    plan = yaml.safe_load((commands.ROOT / "configs" / "quickstart.yaml").read_text())
    plan["evaluate"] |= {"include_path": "exam", "baseline_num_fewshot": None}
    plan["gate"]["bars"] = [{"task": "tickets", "metric": "exact_match", "min": 0.0}]
    _write(project, plan, margin=0.05)
    rows = [json.loads(line) for line in (TICKETS / "train.jsonl").read_text().splitlines()]
    phases = {"few": rows[:FEW], "better": rows, "spoilt": [_spoilt(row, _never_urgent) for row in rows]}
    return Material(project, "tickets", "tickets", phases, 60, 0.25, 0.65, 0.3, 0.05, 7)


def tiny(project: Path) -> Material:
    """A model of some thousand weights that learns which team a ticket goes to."""
    plan = yaml.safe_load(tickets.write(project).read_text())
    plan["gate"]["bars"] = [{"task": "teams", "metric": "exact_match", "min": 0.0}]
    plan["train"] |= {"num_processes": 1, "deepspeed": "none"}
    _write(project, plan, margin=0.1)
    rows = [json.loads(line) for line in (project / "rows.jsonl").read_text().splitlines()]
    teams = dict(zip(tickets.TEAMS.values(), [*list(tickets.TEAMS.values())[1:], "red"], strict=True))
    half = [_spoilt(row, lambda _: "red") if number % 4 else row for number, row in enumerate(rows)]
    phases = {"few": half, "better": rows, "spoilt": [_spoilt(row, teams.__getitem__) for row in rows]}
    return Material(project, tickets.NAME, "teams", phases, 24, 0.4, 0.9, 0.3, 0.1, 1)


def _write(project: Path, plan: dict[str, Any], margin: float) -> None:
    plan["data"]["train_files"] = ["rows"]
    plan["gate"]["incumbent"] = {"margin": margin}
    (project / "rows").mkdir()
    (project / "recipe.yaml").write_text("# When to use it: in the demo\n" + yaml.safe_dump(plan))
    text = PROJECT.format(recipe=project / "recipe.yaml", rows=project / "rows")
    (project / "prefect.yaml").write_text(text)


def _spoilt(row: Row, spoil: Callable[[str], str]) -> Row:
    *before, answer = row["messages"]
    return {"messages": [*before, {**answer, "content": spoil(answer["content"])}]}


def _never_urgent(answer: str) -> str:
    """As from an export whose job wrote the default into every ticket."""
    return json.dumps(json.loads(answer) | {"urgency": "later"}, separators=(",", ":"))
