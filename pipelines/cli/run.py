"""`luthier run`: a whole run, here and now."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import JsonValue

from infra import settings
from infra.errors import LuthierError
from infra.storage.receipt import Receipt
from pipelines import recipe as recipes
from pipelines.checks import checked


def run(
    recipe: Annotated[str, typer.Argument(help="path of a recipe, or the name of a shipped one: quickstart")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="change a field: train.max_steps=3 (repeatable)")
    ] = None,
) -> None:
    """Run a recipe from raw rows to a registered model version.

    Stages that are committed in the store are skipped, so the same command again costs seconds, and after a crash it
    goes on where it was. `luthier plan` shows beforehand what would run.
    """
    overrides = recipes.parse_assignments(set_ or [])
    checked(recipes.load(recipe, overrides))
    platform = settings.load().platform()
    version = execute(recipes.find(recipe), overrides)
    typer.echo(closing(version, recipe, platform))


def execute(recipe: Path, overrides: dict[str, Any]) -> Receipt:
    """The flow in this process, on the platform of the environment; the registration."""
    _use_embedded_prefect()
    # Prefect's own server ends with the interpreter, which SIGTERM would not let come to its end.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    from pipelines.finetune import finetune  # noqa: PLC0415 - Prefect reads its settings when it is imported

    for name in ("prefect.task_runs", "prefect.flow_runs"):
        logging.getLogger(name).addFilter(_without_our_tracebacks)
    return finetune(str(recipe), overrides)


def _use_embedded_prefect() -> None:
    """Keep Prefect's state in this project, unless the environment names a server; before Prefect is imported."""
    if "PREFECT_API_URL" not in os.environ:
        os.environ.setdefault("PREFECT_HOME", str(settings.load().home.absolute() / "prefect"))
    # A first start creates the database, which on a busy machine takes longer than the default 20 s.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "180")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")


def _without_our_tracebacks(record: logging.LogRecord) -> bool:
    """Our errors say what is wrong and what to do; a traceback below them only hides it."""
    if record.exc_info and isinstance(record.exc_info[1], LuthierError):
        record.exc_info, record.exc_text = None, None
    return True


def _promotion(summary: dict[str, JsonValue]) -> str:
    """How to put it into production, where its gate was passed."""
    name = f"{summary.get('name')}/{summary.get('version')}"
    return (
        f"  luthier promote {name}                  into production: docs/gate.md\n" if summary.get("promoted") else ""
    )


def closing(version: Receipt, recipe: str, platform: settings.Platform) -> str:
    """What was made, where to look at it, and what to do next."""
    summary = version.summary
    served = platform.tracking_uri.startswith("http")
    mlflow = platform.tracking_uri if served else f"mlflow ui --backend-store-uri {platform.tracking_uri}"
    home = os.environ.get("PREFECT_HOME", "")
    prefect = os.environ.get("PREFECT_API_URL", "").removesuffix("/api") or f"PREFECT_HOME={home} prefect server start"
    return f"""
Made: {summary.get("name")} version {summary.get("version")}
  model     {summary.get("uri", version.uri)}
  store     {platform.store.uri}
Look:
  MLflow    {mlflow}
  Prefect   {prefect}
Next:
  luthier try {summary.get("name")}/{summary.get("version")} "a prompt"               base beside tuned
{_promotion(summary)}  luthier plan {recipe}                      what is committed, and under which keys
  luthier run {recipe} --set merge.dtype=float32   only the merge and what follows it runs again
  docs/architecture.md                       how a run is put together"""
