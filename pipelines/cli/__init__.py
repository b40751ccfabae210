"""`luthier …`: one file a verb. Errors of ours are one screen without a traceback; everything else is a bug."""

import sys

import typer

from infra.errors import LuthierError
from pipelines.cli import plan, run

app = typer.Typer(
    help="Fine-tune LLMs as a workflow: pinned base, prepared data, DeepSpeed training, merge, lm-eval, gate, MLflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("run")(run.run)
app.command("plan")(plan.plan)


def main() -> None:
    """The entry point: exit 0 when done, 1 when something was lost (run it again), 2 when the input is refused."""
    try:
        app()
    except LuthierError as error:
        typer.secho(f"{type(error).__name__}: {error}", err=True, fg="red")
        sys.exit(1 if error.retry else 2)
