"""Fine-tune a model, from raw rows to a registered version."""

from typing import Any

from prefect import flow

from infra.storage.receipt import Receipt
from pipelines.approval import UNASKED, Approval, concluded, decide
from pipelines.checks import checked
from pipelines.console import outlive_the_pipe
from pipelines.recipe import load
from pipelines.summary import announce
from tasks.base.task import import_base
from tasks.data.task import find_overlap, prepare
from tasks.evaluation.task import evaluate, list_questions
from tasks.gate.task import judge
from tasks.merging.task import merge
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
    rivals = find_incumbent(plan.register_as, plan.gate.incumbent.version)
    tokenizer, weights = import_base(plan.base)
    looked_for = plan.data.decontamination != "off"
    overlap = find_overlap(plan.data, list_questions(plan.evaluate)) if looked_for else None
    dataset = prepare(plan.data, tokenizer, overlap)
    adapter = train(plan.train, weights, dataset)
    model = merge(plan.merge, weights, tokenizer, adapter, dataset)
    baseline = evaluate(plan.evaluate, weights, tokenizer)
    shots = plan.evaluate.baseline_num_fewshot
    prompted = evaluate(plan.evaluate, weights, tokenizer, shots) if shots else None
    scores = evaluate(plan.evaluate, model, tokenizer)
    rival = rivals.beside(model)
    incumbent = evaluate(plan.evaluate, rival.model, rival.tokenizer) if rival else None
    verdict = judge(plan.gate.against(rival.version if rival else None), baseline, scores, prompted, incumbent)
    version = register(plan.register_as, model, verdict, scores, baseline, adapter, dataset)
    announce(baseline, prompted, incumbent, scores, verdict, version)
    return concluded(version, decide(approval, version, verdict))
