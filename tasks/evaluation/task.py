"""The Prefect face of the evaluation stage."""

from prefect import task

from infra import settings
from infra.storage.receipt import Receipt
from tasks.evaluation import stage
from tasks.evaluation.config import EvaluateConfig
from tasks.face import RETRIES, shown, worth_retrying


@task(name="questions", retry_condition_fn=worth_retrying, **RETRIES)
def list_questions(config: EvaluateConfig) -> Receipt:
    """List the documents that the evaluation will ask, without a model."""
    return stage.questions(config, settings.load().platform(), shown("questions"))


@task(name="evaluate", retry_condition_fn=worth_retrying, **RETRIES)
def evaluate(config: EvaluateConfig, model: Receipt, tokenizer: Receipt, num_fewshot: int | None = None) -> Receipt:
    """Score a model with lm-eval; `num_fewshot` replaces the config's."""
    return stage.run(config, model, tokenizer, settings.load().platform(), num_fewshot, shown("evaluation"))
