"""Fine-tune again where there is anything new: on a schedule, by an event, or by hand."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from infra import settings
from infra.storage.receipt import Receipt
from pipelines.approval import UNASKED, Approval
from pipelines.checks import checked
from pipelines.console import outlive_the_pipe
from pipelines.finetune import make
from pipelines.news import look
from pipelines.recipe import load
from tasks.face import publish
from tasks.registry.task import find_incumbent


@flow(name="retrain", log_prints=True)
def retrain(
    recipe: str = "quickstart", overrides: dict[str, Any] | None = None, approval: Approval = UNASKED
) -> Receipt | State[None]:
    """What the version in production was made of is compared with what is there now; only what differs is worth a run.

    Args:
        recipe: The name of a recipe that ships with Luthier, or the path of a YAML file on the machine of the worker.
        overrides: Fields that win over the recipe's, as JSON (menu ⋮) such as {"train.max_steps": 20}.
        approval: Whether a version that has passed its gate waits here for somebody who approves it.
    """
    outlive_the_pipe()
    plan = checked(load(recipe, overrides))
    rivals = find_incumbent(plan.register_as, plan.gate.incumbent.version)
    news = look(plan, rivals, settings.load().platform().store)
    get_run_logger().info(news.line)
    publish("news", "Is anything new?", news.page())
    if not news.new:
        return Completed(name="NothingNew", message=news.line)
    return make(plan, rivals, approval, news.since)
