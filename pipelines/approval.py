"""A person decides: a deployment's run is suspended with the evidence and a form, and the answer moves the alias, or does not.

A suspended run holds no process. It starts again from the top when somebody has answered, and finds what is committed. The
answer belongs to one version under one verdict: where the second pass comes to another verdict, it asks again.
"""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Literal, cast

from prefect.events import emit_event
from prefect.exceptions import Pause
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput, read_flow_run_input
from prefect.input.run_input import keyset_from_base_key
from prefect.logging import get_run_logger
from prefect.runtime import deployment, flow_run
from prefect.states import Completed
from pydantic import Field

from infra import settings
from infra.frozen import Frozen
from infra.printable import inert, line
from infra.storage.receipt import Receipt
from pipelines import evidence
from tasks.face import publish
from tasks.registry import stage
from tasks.registry.config import DecisionConfig, RegisterConfig
from tasks.registry.standing import Standing
from tasks.registry.task import decision, page


class Approval(Frozen):
    """Whether a version that has passed its gate waits on the run's page for somebody who approves it."""

    ask: bool = Field(
        default=False,
        description="suspend the run until somebody approves or refuses; else it ends, and `luthier promote` decides",
    )
    hours: float = Field(default=72, gt=0, le=8760, description="how long it waits; then it fails with nothing moved")


UNASKED = Approval()


class Answer(RunInput):
    """The form on the page of a suspended run."""

    decision: Literal["approve", "refuse"] = Field(
        description="approve: the alias champion moves to this version. refuse: it stays where it is"
    )
    name: str = Field(
        min_length=1, max_length=100, pattern=r"\S", description="Who you are: Prefect cannot tell, and it is kept"
    )
    comment: str = Field(default="", max_length=1000, description="Why; kept with the version")


class Decision(Frozen):
    """What became of a version, as `NAME/VERSION`, and a sentence that says so and what can be done."""

    outcome: Literal["promoted", "in production", "refused", "awaiting", "hold", "undecided"]
    version: str
    told: str


def decide(approval: Approval, version: Receipt, verdict: Receipt) -> Decision:
    """What is decided about a registered version; to be called in the flow of a deployment, after `register`.

    Where somebody is to be asked and has not answered yet, it does not return: the run is suspended, and its flow starts
    again from the top with the answer. A verdict other than promote asks nobody.
    """
    name, number = str(version.summary["name"]), int(str(version.summary["version"]))
    asked = DecisionConfig(name=name, version=number, verdict=verdict.content_sha256)
    made = _decided(approval, asked, version, verdict)
    get_run_logger().info(made.told)
    publish("approval", "What was decided", f"{inert(made.told)}\n")
    return made


def concluded(version: Receipt, made: Decision) -> Receipt:
    """What a flow returns so that its last state says what was decided; whoever called it gets the version."""
    return cast("Receipt", Completed(message=made.told, data=version))


def _decided(approval: Approval, asked: DecisionConfig, version: Receipt, verdict: Receipt) -> Decision:
    one = f"{asked.name}/{asked.version}"
    match verdict.summary["outcome"]:
        case ("hold" | "undecided") as outcome:
            return Decision(outcome=outcome, version=one, told=evidence.held(one, outcome, _meaning(verdict)))
    if not approval.ask:
        return _unasked(asked, one)
    standing = decision(asked)
    if standing.state is None:
        if hindrance := standing.hindrance or _hindrance():
            return Decision(outcome="awaiting", version=one, told=evidence.awaiting(one, hindrance))
        answer = _answer(approval, asked, version, verdict, standing)
        who = f"{line(answer.name)} (in Prefect, run {flow_run.name})"
        told = {"act": answer.decision, "who": who, "why": line(answer.comment)}
        standing = decision(asked.model_copy(update=told))
    return Decision(outcome=standing.state or "awaiting", version=one, told=evidence.settled(asked, standing))


def _hindrance() -> str:
    """Why this run cannot wait for an answer, as Prefect has it."""
    own = deployment.id is not None and flow_run.parent_flow_run_id is None
    return "" if own else "only a run that a deployment started can wait for an answer on its page"


def _unasked(asked: DecisionConfig, one: str) -> Decision:
    """By what the run itself found in production when it began: to look again would take seconds."""
    store = settings.load().platform().store
    known = stage.last_known(RegisterConfig(name=asked.name), None, store).champion
    if known is not None and known.version == one:
        return Decision(outcome="in production", version=one, told=f"{one} is in production")
    return Decision(outcome="awaiting", version=one, told=evidence.awaiting(one))


def _meaning(verdict: Receipt) -> str:
    failed = verdict.summary.get("failed")
    missed = "; ".join(str(miss) for miss in failed) if isinstance(failed, list) else ""
    return str(verdict.summary.get("meaning") or missed)


def _answer(
    approval: Approval, asked: DecisionConfig, version: Receipt, verdict: Receipt, standing: Standing
) -> Answer:
    """What somebody has answered on the page of this run; where nobody has, the run is suspended."""
    key = f"decision-{asked.version}-{asked.verdict[:16]}"
    for number in itertools.count(1):  # a run that was retried after its time was over, asks once more
        form = keyset_from_base_key(f"suspended-{key}-{number}")
        given = read_flow_run_input(form["response"])
        if isinstance(given, dict):
            return Answer(**given)
        if read_flow_run_input(form["schema"]) is None:
            break
    platform, until = settings.load().platform(), datetime.now(UTC) + timedelta(hours=approval.hours)
    against = str(verdict.summary.get("against", ""))
    place = page(platform.tracking_uri, version) if platform.tracking_uri.startswith("http") else ""
    shown = platform.store.read(verdict, "verdict.md").decode()
    text = evidence.question(asked, against, place, shown, until, standing.note)
    publish("approval", "What has to be decided, and until when", text)
    one, end = f"{asked.name}/{asked.version}", f"{until:%Y-%m-%d %H:%M} UTC"
    get_run_logger().warning("%s waits until %s for somebody who presses Resume on %s", one, end, flow_run.ui_url)
    try:
        wanted = Answer.with_initial_data(description=text)
        return suspend_flow_run(wanted, timeout=max(1, int(approval.hours * 3600)), key=f"{key}-{number}")
    except Pause:
        # It tells who is to be told. And as a heartbeat may reach the server after the suspension, which would wait for
        # another one and mark the run as crashed, one more event of the run has to follow.
        run = {"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.name": flow_run.name}
        emit_event(evidence.WAITS, run, payload={"version": one, "until": end})
        raise
