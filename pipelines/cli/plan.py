"""`luthier plan`: what a run would do."""

from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from infra import settings
from pipelines import recipe as recipes


def plan(
    recipe: Annotated[str, typer.Argument(help="path of a recipe, or the name of a shipped one: quickstart")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="change a field: train.max_steps=3 (repeatable)")
    ] = None,
) -> None:
    """Show the resolved recipe, which stages are committed already, and where things will go. Runs nothing."""
    from pipelines.plan import plan as look  # noqa: PLC0415 - the stages' faces load Prefect

    resolved = recipes.load(recipe, recipes.parse_assignments(set_ or []))
    platform = settings.load().platform()
    planned = look(resolved, platform)
    console = Console()
    console.print(yaml.safe_dump(resolved.model_dump(mode="json", by_alias=True), sort_keys=False), highlight=False)
    table = Table("stage", "state", "key", "artifact", title=f"{recipe} in {platform.store.uri}")
    for item in planned:
        state = "committed" if item.receipt else "will run" if item.key else "will run (after the above)"
        table.add_row(item.name, state, (item.key or "")[:12], item.receipt.uri if item.receipt else "")
    console.print(table)
    console.print(f"models are registered in {platform.tracking_uri}", highlight=False)
