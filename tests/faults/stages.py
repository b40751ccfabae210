"""Every stage of a tiny run, made once; any of them can be done again alone, in a copy that has only what came before."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from infra.settings import Platform
from infra.storage import layout
from infra.storage.receipt import Receipt
from infra.storage.store import Store, open_objects
from pipelines import recipe
from pipelines.recipe import Recipe
from tasks.base import stage as base
from tasks.data import stage as data
from tasks.evaluation import stage as evaluation
from tasks.gate import stage as gate
from tasks.merging import stage as merging
from tasks.registry import stage as registry
from tasks.training import stage as training
from tests import jobs
from tests.e2e import recipes

Made = dict[str, Receipt]
ALONE = {"num_processes": 1, "deepspeed": "none", "max_steps": 6, "save_steps": 2}
NAME = "faults"
SILENCE_S = 600  # a busy machine imports for minutes
UNREGISTERED = "before-the-registry.db"

RUNS: dict[str, Callable[[Recipe, Made, Platform], Receipt]] = {
    "tokenizer": lambda plan, _made, on: base.tokenizer(plan.base, on),
    "weights": lambda plan, _made, on: base.weights(plan.base, on),
    "data": lambda plan, made, on: data.run(plan.data, made["tokenizer"], on),
    "training": lambda plan, made, on: training.run(plan.train, made["weights"], made["data"], on),
    "merging": lambda plan, made, on: merging.run(
        plan.merge, made["weights"], made["tokenizer"], made["training"], made["data"], on
    ),
    "baseline": lambda plan, made, on: evaluation.run(plan.evaluate, made["weights"], made["tokenizer"], on),
    "evaluation": lambda plan, made, on: evaluation.run(plan.evaluate, made["merging"], made["tokenizer"], on),
    "gate": lambda plan, made, on: gate.run(plan.gate, made["baseline"], made["evaluation"], on),
    "registry": lambda plan, made, on: registry.run(
        plan.register_as,
        made["merging"],
        made["gate"],
        made["evaluation"],
        made["baseline"],
        made["training"],
        made["data"],
        on,
    ),
}


@dataclass(frozen=True)
class Chain:
    """A recipe, where it runs, and what its stages have made there."""

    plan: Recipe
    on: Platform
    made: Made

    def run(self, stage: str) -> Receipt:
        """One stage, on what the others made."""
        return RUNS[stage](self.plan, self.made, self.on)

    def reach(self, last: str) -> "Chain":
        """The same, with all stages made up to this one."""
        names = list(RUNS)
        for stage in names[: names.index(last) + 1]:
            if stage not in self.made:
                if stage == "registry" and self.on.store.uri.startswith("file://"):
                    shutil.copyfile(self.on.home / "mlflow.db", self.on.home / UNREGISTERED)
                self.made[stage] = self.run(stage)
        return self

    def before(self, stage: str, on: Platform) -> "Chain":
        """The same on an empty platform, in which this stage, and what comes after it, was never run."""
        names = [name for name in RUNS if name in self.made]
        earlier, later = names[: names.index(stage)], names[names.index(stage) :]
        gone = tuple(layout.home(self.made[name].stage, self.made[name].key) for name in later)
        gone += ("stages/shard/",) if "data" in later else ()
        for key in self.on.store.objects.list("stages/"):
            if not key.startswith(gone):
                on.store.objects.put(key, self.on.store.objects.get(key) or b"")
        if stage == "registry":
            shutil.copyfile(self.on.home / UNREGISTERED, on.home / "mlflow.db")
        return Chain(self.plan, on, {name: _there(on, self.made[name]) for name in earlier})


def begin(room: Path, s3_root: str = "") -> Chain:
    """A tiny run of which nothing is made yet, in a folder or in a bucket."""
    path = recipes.write(room, train=ALONE, register={"name": NAME})
    return Chain(recipe.load(str(path)), empty(room / "home", s3_root), {})


def empty(home: Path, s3_root: str = "") -> Platform:
    """A platform on which nothing was made yet."""
    on = replace(jobs.platform(home), silence_s=SILENCE_S)
    return replace(on, store=Store(open_objects(s3_root))) if s3_root else on


def judged(room: Path) -> Chain:
    """Only the last cheap one: a verdict on scores that nobody measured."""
    on, made = jobs.platform(room / "home"), dict[str, Receipt]()
    for name, score in (("baseline", 0.25), ("evaluation", 0.5)):
        folder = room / name
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps({"echo": {"exact_match": {"value": score}}}))
        (folder / "spec.json").write_text(json.dumps({"num_fewshot": 0}))
        made[name] = jobs.keep(on, "evaluation", folder)
    done = Chain(recipe.load(str(recipes.write(room))), on, made)
    made["gate"] = done.run("gate")
    return done


def _there(on: Platform, receipt: Receipt) -> Receipt:
    """The same artifact in another store."""
    found = on.store.newest(receipt.stage, receipt.key)
    assert found is not None
    return on.store.receipt(found)
