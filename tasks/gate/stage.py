"""The gate stage: the scores of two or three models become a verdict. A hold is committed like any other result."""

from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.gate.config import GateConfig


def step(
    config: GateConfig,
    baseline: Receipt,
    scores: Receipt,
    fewshot: Receipt | None = None,
    incumbent: Receipt | None = None,
    questions: Receipt | None = None,
) -> Step:
    """The step that judges `scores` against `baseline` and, document by document, against `incumbent`, the scores of
    `gate.incumbent.version`; `fewshot` (the base model with examples) is compared and decides nothing; the texts of
    `questions` are shown where production did better."""
    others = {"fewshot": fewshot, "incumbent": incumbent, "questions": questions if incumbent else None}
    given = {name: receipt for name, receipt in others.items() if receipt is not None}
    return Step("gate", 3, config, {"baseline": baseline, "scores": scores, **given})


def run(
    config: GateConfig,
    baseline: Receipt,
    scores: Receipt,
    platform: Platform,
    fewshot: Receipt | None = None,
    incumbent: Receipt | None = None,
    questions: Receipt | None = None,
    on_beat: OnBeat | None = None,
) -> Receipt:
    """The committed verdict; `summary["outcome"]` says which way it went."""
    return produce(step(config, baseline, scores, fewshot, incumbent, questions), platform, on_beat)
