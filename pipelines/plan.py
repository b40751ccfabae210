"""What a run would do: every stage in order, and what of it is committed already."""

from dataclasses import dataclass

from infra.launch.step import Step
from infra.settings import Platform
from infra.storage.receipt import Receipt
from pipelines.checks import checked
from pipelines.recipe import Recipe
from tasks.base import stage as base
from tasks.data import stage as data
from tasks.evaluation import stage as evaluation
from tasks.gate import stage as gate
from tasks.gate.config import GateConfig
from tasks.merging import stage as merging
from tasks.registry import stage as registry
from tasks.training import stage as training


@dataclass(frozen=True)
class Planned:
    """One stage of a run. `receipt` is None where it will be run; `key` is None while its inputs are not made yet."""

    name: str
    key: str | None
    receipt: Receipt | None


def plan(recipe: Recipe, platform: Platform) -> list[Planned]:
    """The stages of pipelines.finetune in order, looked up in the store and not run; raises what a run would refuse."""
    checked(recipe)
    walk = _Walk(platform)
    tokenizer = walk.see("tokenizer", base.tokenizer_step, recipe.base)
    weights = walk.see("weights", base.weights_step, recipe.base)
    dropped: tuple[Receipt | None, ...] = ()
    listed: tuple[Receipt | None, ...] = ()
    if recipe.data.decontamination != "off":
        questions = walk.see("questions", evaluation.questions_step, recipe.evaluate)
        listed = (questions,)
        overlap = walk.see("overlap", data.overlap_step, recipe.data, questions)
        dropped = (overlap,) if recipe.data.decontamination == "drop" else ()
    dataset = walk.see("data", data.step, recipe.data, tokenizer, *dropped)
    if recipe.train.objective.judged:
        walk.see("reference", training.reference_step, recipe.train, weights, dataset)
    adapter = walk.see("training", training.step, recipe.train, weights, dataset)
    model = walk.see("merging", merging.step, recipe.merge, weights, tokenizer, adapter, dataset)
    baseline = walk.see("evaluation of the base", evaluation.step, recipe.evaluate, weights, tokenizer)
    shots = recipe.evaluate.baseline_num_fewshot
    prompted = (
        (
            walk.see(
                f"evaluation of the base, {shots}-shot", evaluation.step, recipe.evaluate, weights, tokenizer, shots
            ),
        )
        if shots
        else ()
    )
    scores = walk.see("evaluation of the model", evaluation.step, recipe.evaluate, model, tokenizer)
    rivals = registry.last_known(recipe.register_as, recipe.gate.incumbent.version, platform.store)
    rival = rivals.beside(model) if model else rivals.champion
    production = (
        (
            walk.see(
                f"evaluation of {rival.version}, in production",
                evaluation.step,
                recipe.evaluate,
                rival.model,
                rival.tokenizer,
            ),
        )
        if rival
        else ()
    )
    listed = listed if rival else ()
    names = [*(["fewshot"] if shots else []), *(["incumbent"] if rival else []), *(["questions"] if listed else [])]

    def judged(config: GateConfig, baseline: Receipt, scores: Receipt, *others: Receipt) -> Step:
        return gate.step(config, baseline, scores, **dict(zip(names, others, strict=True)))

    against = recipe.gate.against(rival.version if rival else None)
    verdict = walk.see("gate", judged, against, baseline, scores, *prompted, *production, *listed)
    walk.see("registry", registry.step, recipe.register_as, model, verdict, scores, baseline, adapter, dataset)
    return walk.seen


class _Walk:
    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.seen: list[Planned] = []

    def see(self, name: str, step_of: object, config: object, *inputs: Receipt | int | None) -> Receipt | None:
        """The receipt of a stage if it is committed; without all inputs its key cannot be known."""
        receipt, key = None, None
        if all(receipt is not None for receipt in inputs):
            step: Step = step_of(config, *inputs)  # type: ignore[operator]
            key = step.key
            manifest = self.platform.store.find(step.stage, key)
            receipt = self.platform.store.receipt(manifest) if manifest else None
        self.seen.append(Planned(name, key, receipt))
        return receipt
