"""The gate stage: the scores of two models become a verdict. A hold is committed like any other result."""

from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.gate.config import GateConfig


def step(config: GateConfig, baseline: Receipt, scores: Receipt, fewshot: Receipt | None = None) -> Step:
    """The step that judges `scores` against `baseline`; `fewshot` (the base model with examples) is only shown."""
    shown = {} if fewshot is None else {"fewshot": fewshot}
    return Step("gate", 1, config, {"baseline": baseline, "scores": scores, **shown})


def run(
    config: GateConfig,
    baseline: Receipt,
    scores: Receipt,
    platform: Platform,
    fewshot: Receipt | None = None,
    on_beat: OnBeat | None = None,
) -> Receipt:
    """The committed verdict; `summary["promote"]` says which way it went."""
    return produce(step(config, baseline, scores, fewshot), platform, on_beat)
