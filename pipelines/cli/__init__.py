"""`luthier …`: one file a verb. Errors of ours are one screen without a traceback; everything else is a bug."""

import sys

import typer

from infra.errors import LuthierError
from infra.printable import clean
from pipelines.cli import (
    chat,
    data,
    deploy,
    doctor,
    explain,
    gc,
    import_config,
    init,
    plan,
    production,
    pull,
    push,
    rerun,
    retire,
    run,
    runs,
    schema,
    show,
    stack,
    try_,
    verify,
)

app = typer.Typer(
    help="Fine-tune LLMs as a workflow: pinned base, prepared data, DeepSpeed training, merge, lm-eval, gate, MLflow.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("init")(init.init)
app.command("import-config")(import_config.import_config)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.add_typer(data.app, name="data")
app.command("runs")(runs.runs)
app.command("show")(show.show)
app.command("try")(try_.try_)
app.command("chat")(chat.chat)
app.command("pull")(pull.pull)
app.command("push")(push.push)
app.command("versions")(production.versions)
app.command("promote")(production.promote)
app.command("rollback")(production.rollback)
app.command("retire")(retire.retire)
app.command("verify")(verify.verify)
app.command("gc")(gc.gc)
app.command("rerun")(rerun.rerun)
app.command("explain")(explain.explain)
app.command("doctor")(doctor.doctor)
app.command("schema")(schema.schema)
app.command("deploy")(deploy.deploy)
app.command("up")(stack.up)
app.command("down")(stack.down)
app.command("status")(stack.status)
app.callback()(stack.use)


def main() -> None:
    """The entry point: exit 0 when done, 1 when something was lost (run it again), 2 when the input is refused."""
    try:
        app()
    except LuthierError as error:
        typer.secho(clean(f"{type(error).__name__}: {error}"), err=True, fg="red")
        sys.exit(1 if error.retry else 2)
