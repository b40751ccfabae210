"""Fine-tune a model, from raw rows to a registered version."""

from typing import Any

from prefect import flow

from infra.storage.receipt import Receipt
from pipelines.approval import UNASKED, Approval, concluded, decide
from pipelines.checks import checked
from pipelines.console import outlive_the_pipe
from pipelines.recipe import Recipe, load
from pipelines.summary import announce
from tasks.base.task import import_base
from tasks.data.changes import Since
from tasks.data.task import find_overlap, prepare, tell_changes
from tasks.evaluation.task import evaluate, list_questions
from tasks.gate.task import judge
from tasks.merging.task import merge
from tasks.registry.rivals import Rivals
from tasks.registry.task import find_incumbent, register
from tasks.training.task import train


@flow(name="finetune", log_prints=True)
def finetune(
    recipe: str = "quickstart", overrides: dict[str, Any] | None = None, approval: Approval = UNASKED
) -> Receipt:
    """Each stage stores what it made and hands on a receipt; what is committed already is not made again.

    Args:
        recipe: The name of a recipe that ships with Luthier, or the path of a YAML file on the machine of the worker.
        overrides: Fields that win over the recipe's, as JSON (menu ⋮) such as {"train.max_steps": 20}.
        approval: Whether a version that has passed its gate waits here for somebody who approves it.
    """
    outlive_the_pipe()
    plan = checked(load(recipe, overrides))
    return make(plan, find_incumbent(plan.register_as, plan.gate.incumbent.version), approval)


def make(plan: Recipe, rivals: Rivals, approval: Approval, since: Since | None = None) -> Receipt:
    """All stages in order, from the base to what is decided; `since` is the version whose data the new is compared with."""
    tokenizer, weights = import_base(plan.base)
    looked_for = plan.data.decontamination != "off"
    questions = list_questions(plan.evaluate) if looked_for else None
    overlap = find_overlap(plan.data, questions) if questions else None
    dataset = prepare(plan.data, tokenizer, overlap)
    diff = tell_changes(since, dataset, overlap) if since else None
    adapter = train(plan.train, weights, dataset)
    model = merge(plan.merge, weights, tokenizer, adapter, dataset)
    baseline = evaluate(plan.evaluate, weights, tokenizer)
    shots = plan.evaluate.baseline_num_fewshot
    prompted = evaluate(plan.evaluate, weights, tokenizer, shots) if shots else None
    scores = evaluate(plan.evaluate, model, tokenizer)
    rival = rivals.beside(model)
    incumbent = evaluate(plan.evaluate, rival.model, rival.tokenizer) if rival else None
    against = plan.gate.against(rival.version if rival else None)
    verdict = judge(against, baseline, scores, prompted, incumbent, questions)
    version = register(plan.register_as, model, verdict, scores, baseline, adapter, dataset, diff)
    announce(baseline, prompted, incumbent, scores, verdict, version)
    return concluded(version, decide(approval, version, verdict))
