"""A run of a deployment waits for a person, whose answer counts for one version under one verdict. Prefect is real, MLflow's
part is faked: it has tests of its own."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry, Failed, State

from infra.errors import Unreachable
from infra.storage.receipt import Receipt
from pipelines.approval import UNASKED, Approval
from tasks.registry import stage
from tasks.registry.config import DecisionConfig
from tasks.registry.standing import Standing
from tasks.registry.task import decision
from tests import jobs
from tests.e2e.approving import approving

ASK = Approval(ask=True)


@dataclass
class Decided:
    """Stands in for the worker that reads and moves aliases: what it was told, and what it finds."""

    acts: list[DecisionConfig] = field(default_factory=list)
    found: Standing = field(default_factory=Standing)
    fail: list[Exception] = field(default_factory=list)

    def __call__(self, config: DecisionConfig, *_others: object) -> Standing:
        self.acts.append(config)
        if config.act != "look" and self.fail:
            raise self.fail.pop()
        ends: dict[str, Any] = {"approve": "promoted", "refuse": "refused"}
        return Standing(state=ends[config.act], by=config.who, why=config.why) if config.act in ends else self.found


@pytest.fixture
def decided(luthier_home: Path, monkeypatch: pytest.MonkeyPatch) -> Decided:
    decided = Decided()
    monkeypatch.setattr(stage, "decision", decided)
    return decided


@pytest.fixture
def version() -> Receipt:
    summary: Any = {"name": "tickets", "version": 4, "promoted": True}
    return Receipt(stage="registry", key="k", attempt="a", uri="u", content_sha256="c", summary=summary)


@pytest.fixture
def verdict(luthier_home: Path, tmp_path: Path) -> Callable[..., Receipt]:
    """A verdict in the store."""

    def make(outcome: str = "promote", said: str = "better") -> Receipt:
        room = tmp_path / said
        room.mkdir(exist_ok=True)
        (room / "verdict.md").write_text(f"# {said}\n")
        summary: Any = {"outcome": outcome, "failed": [f"{said}: 0.1, asked ≥ 0.5"]}
        return jobs.keep(jobs.platform(luthier_home), "gate", room, summary)

    return make


@dataclass
class Deployed:
    """The flow as a deployment; one run of it after the other in this process, as a worker would start them."""

    client: SyncPrefectClient
    id: UUID

    def start(self, version: Receipt, verdict: Receipt, approval: Approval = ASK) -> UUID:
        """Make a run and begin it."""
        given = {"version": version, "verdict": verdict, "approval": approval}
        sent = {name: value.model_dump(mode="json") for name, value in given.items()}
        run = self.client.create_flow_run_from_deployment(self.id, parameters=sent)
        return self.go_on(run.id, verdict)

    def go_on(self, run: UUID, verdict: Receipt) -> UUID:
        """Begin it from the top, where the stages before may have come to another verdict."""
        known = self.client.read_flow_run(run)
        version = Receipt.model_validate(known.parameters["version"])
        approval = Approval.model_validate(known.parameters["approval"])
        given = {"version": version, "verdict": verdict, "approval": approval}
        with contextlib.suppress(Pause):
            run_flow(approving, flow_run=known, parameters=given, return_type="state")
        return run

    def now(self, run: UUID) -> State[Any]:
        state = self.client.read_flow_run(run).state
        assert state is not None
        return state

    def answer(self, run: UUID, verdict: Receipt, **given: str) -> State[Any]:
        """Fill in the form, and what then comes of the run."""
        assert self.client.resume_flow_run(run, run_input=given).status.value == "ACCEPT"
        return self.now(self.go_on(run, verdict))

    def form(self, run: UUID) -> str:
        """What stands above the form."""
        keys = self.now(run).state_details.run_input_keyset
        assert keys is not None
        return self.client.read_flow_run_input(run, keys["description"])


@pytest.fixture
def deployed() -> Any:
    with get_client(sync_client=True) as client:
        yield Deployed(client, client.create_deployment(client.create_flow(approving), "approving"))


def test_the_run_is_suspended_with_the_evidence_and_goes_on_with_what_was_answered(
    decided: Decided, deployed: Deployed, version: Receipt, verdict: Callable[..., Receipt]
) -> None:
    run = deployed.start(version, verdict())
    waits = deployed.now(run)
    assert (waits.name, [config.act for config in decided.acts]) == ("Suspended", ["look"])
    assert "### Put tickets/4 into production?" in deployed.form(run)
    assert "#### better" in deployed.form(run)

    for wrong in ({}, {"decision": "perhaps", "name": "Ada"}, {"decision": "approve", "name": " "}):
        assert deployed.client.resume_flow_run(run, run_input=wrong).status.value == "REJECT"
    ended = deployed.answer(run, verdict(), decision="approve", name="Ada\n", comment="fewer\ncomplaints")
    assert ended.name == "Completed"
    assert ended.message is not None
    assert ended.message.startswith("tickets/4 is in production, approved by Ada (in Prefect, run ")
    last = decided.acts[-1]
    assert (last.act, last.why, last.version, last.verdict) == (
        "approve",
        "fewer complaints",
        4,
        verdict().content_sha256,
    )
    assert deployed.client.resume_flow_run(run, run_input={}).status.value == "ABORT", "asked once, answered once"


@pytest.mark.slow
def test_a_refusal_ends_well_and_says_so(
    decided: Decided, deployed: Deployed, version: Receipt, verdict: Callable[..., Receipt]
) -> None:
    run = deployed.start(version, verdict())
    ended = deployed.answer(run, verdict(), decision="refuse", name="Ada", comment="it rhymes")
    assert ended.name == "Completed"
    assert "was refused by Ada" in str(ended.message)
    assert decided.acts[-1].act == "refuse"


@pytest.mark.slow
def test_an_answer_counts_for_the_verdict_that_was_shown(
    decided: Decided, deployed: Deployed, version: Receipt, verdict: Callable[..., Receipt]
) -> None:
    run = deployed.start(version, verdict())
    again = deployed.answer(run, verdict(said="beside another"), decision="approve", name="Ada")
    assert again.name == "Suspended"
    assert "beside another" in deployed.form(run)
    assert {config.act for config in decided.acts} == {"look"}
    ended = deployed.answer(run, verdict("hold", said="beside a third"), decision="approve", name="Ada")
    assert "stays out of production: hold. beside a third: 0.1, asked ≥ 0.5" in str(ended.message)
    assert {config.act for config in decided.acts} == {"look"}


@pytest.mark.slow
def test_what_was_answered_is_not_asked_again_after_a_failure(
    decided: Decided,
    deployed: Deployed,
    version: Receipt,
    verdict: Callable[..., Receipt],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decision, "retry_delay_seconds", 0)
    decided.fail = [Unreachable("MLflow does not answer as it should")] * 3
    run = deployed.start(version, verdict())
    assert deployed.answer(run, verdict(), decision="approve", name="Ada").name == "Failed"
    assert [config.act for config in decided.acts] == ["look", "look", *["approve"] * 3], "tried three times"
    deployed.client.set_flow_run_state(run, AwaitingRetry(), force=True)  # as the page's Retry does
    deployed.go_on(run, verdict())
    assert deployed.now(run).name == "Completed"
    assert decided.acts[-1].act == "approve"


@pytest.mark.slow
def test_one_whose_time_was_over_asks_once_more_when_it_is_retried(
    decided: Decided, deployed: Deployed, version: Receipt, verdict: Callable[..., Receipt]
) -> None:
    run = deployed.start(version, verdict())
    deployed.client.set_flow_run_state(run, Failed(message="The flow was paused and never resumed."), force=True)
    deployed.client.set_flow_run_state(run, AwaitingRetry(), force=True)
    deployed.go_on(run, verdict())
    assert deployed.now(run).name == "Suspended"
    assert deployed.answer(run, verdict(), decision="approve", name="Ada").name == "Completed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Standing(state="in production", by="Bob"), "is in production already, by Bob"),
        (Standing(state="refused", by="Bob", at="today"), "was refused by Bob, today"),
        (Standing(hindrance="it was compared with another"), "Nobody is asked here: it was compared with another"),
    ],
    ids=["promoted meanwhile", "refused before", "the rule would refuse it"],
)
def test_what_is_decided_already_or_would_be_refused_is_not_asked(
    decided: Decided, deployed: Deployed, version: Receipt, verdict: Callable[..., Receipt], found: Standing, said: str
) -> None:
    decided.found = found
    state = deployed.now(deployed.start(version, verdict()))
    assert state.name == "Completed"
    assert said in str(state.message)


def test_nobody_is_asked_where_nobody_wants_it_or_nothing_was_passed(
    decided: Decided, deployed: Deployed, version: Receipt, verdict: Callable[..., Receipt]
) -> None:
    unasked = deployed.now(deployed.start(version, verdict(), UNASKED))
    assert unasked.message == "tickets/4 awaits approval: `luthier promote tickets/4`"
    undecided = deployed.now(deployed.start(version, verdict("undecided"), ASK))
    assert "stays out of production: undecided. better: 0.1" in str(undecided.message)
    assert decided.acts == []


@pytest.mark.slow
def test_a_run_without_a_deployment_says_why_it_does_not_ask(
    decided: Decided, version: Receipt, verdict: Callable[..., Receipt]
) -> None:
    assert approving(version, verdict(), ASK) == version
    state = approving(version, verdict(), ASK, return_state=True)
    assert "only a run that a deployment started can wait" in str(state.message)
