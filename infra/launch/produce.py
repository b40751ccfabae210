"""The stage's side of the contract: find what was committed, or have a worker make it."""

import logging
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from infra.errors import Adapted, Crashed, LinkLost, LuthierError, NodeLost, Preempted, Unreachable, revive
from infra.frozen import canonical
from infra.launch.base import Job
from infra.launch.history import History
from infra.launch.nodes import Place, of
from infra.launch.step import Beat, Outcome, Step, incarnation, spec
from infra.launch.work import LEFT
from infra.settings import Platform
from infra.storage import layout
from infra.storage.receipt import Receipt

log = logging.getLogger(__name__)

OnBeat = Callable[[Beat], None]
MAX_PREEMPTIONS = 10
MAX_ADAPTATIONS = 16  # each halves something; a machine that forgets what was learned must not go round for ever
POLL_S = 0.1
BEAT_EVERY_S = 2.0
# Before its handler stood, as itself and as a shell puts it; and where the store was away for its last word.
_TOLD_TO_LEAVE = (-signal.SIGTERM, 128 + signal.SIGTERM, LEFT)


def produce(step: Step, platform: Platform, on_beat: OnBeat | None = None) -> Receipt:
    """The receipt of a step: from the store where it is committed, else from a worker that is run now.

    Raises what the worker reported, Unreachable where it fell silent, Crashed where it ended without a word.
    Pre-emption relaunches here, so that it does not use up the orchestrator's retries; so does a lack of memory that
    the worker has an answer to.
    """
    left = adapted = 0
    while True:
        found = None if step.always else platform.store.find(step.stage, step.key)
        if found is not None:
            log.info("%s: already made (%s)", step.stage, step.key[:12])
            return platform.store.receipt(found)
        try:
            return _launch(step, platform, on_beat or _to_log)
        except Preempted as leave:
            left += 1
            log.warning("%s %s (%d of %d): %s", step.stage, _how(leave), left, MAX_PREEMPTIONS, leave)
            if left > MAX_PREEMPTIONS:
                raise Crashed(
                    f"{step.stage} was pre-empted, or lost nodes, {MAX_PREEMPTIONS} times",
                    place=leave.place,
                    value=f"the last time: {leave.what}",
                    remedy="run it where it is left alone",
                ) from None
        except Adapted as lighter:
            adapted += 1
            if adapted > MAX_ADAPTATIONS:
                raise
            log.warning("%s goes on with less memory: %s", step.stage, lighter)


def _how(leave: Preempted) -> str:
    """What became of a launch that is followed by another, in words."""
    if isinstance(leave, LinkLost):
        return "has nodes that do not reach each other"
    return "lost a node" if isinstance(leave, NodeLost) else "was pre-empted"


def _launch(step: Step, platform: Platform, on_beat: OnBeat) -> Receipt:
    attempt = _running(step, platform) or uuid.uuid4().hex
    at = layout.job(step.stage, step.key, attempt, "spec.json")
    platform.store.objects.put(at, canonical(spec(step, attempt).model_dump(mode="json")))
    output = platform.home / "logs" / f"{step.stage}-{attempt}.log"
    log.info("%s: starting, log in %s", step.stage, output)
    history = History(step, attempt, platform, on_beat)
    try:
        job = platform.launcher.start(step.worker, at, platform.environment(), output, step.resources)
        try:
            status = _follow(job, step, attempt, platform, on_beat, history)
        finally:
            state = job.state()
            history.placed(state.notes)
            job.stop()
        attempt = incarnation(attempt, state.restarts)
        _hear_the_last(step, attempt, platform, history)
        receipt = _read_outcome(step, attempt, platform, status, output)
    except LuthierError as error:
        history.failed(error)
        raise
    history.committed()
    return receipt


def _running(step: Step, platform: Platform) -> str | None:
    """An attempt of ours that runs although its flow is gone; one that is not in this store is another's."""
    for attempt in platform.launcher.find(step.stage, step.key, step.resources):
        if platform.store.objects.get(layout.job(step.stage, step.key, attempt, "spec.json")) is not None:
            log.info("%s: attempt %s is there already, and is followed", step.stage, attempt)
            return attempt
    return None


def _follow(job: Job, step: Step, attempt: str, platform: Platform, on_beat: OnBeat, history: History) -> int:
    """Wait for the worker's end, showing its news; Unreachable after `silence_s` without a beat, or at the deadline.

    Neither runs while the job waits in a queue.
    """
    began = heard = looked = time.monotonic()
    last: bytes | None = None
    news: tuple[str, int] | None = None
    while (status := job.poll()) is None:
        time.sleep(POLL_S)
        if time.monotonic() - looked < BEAT_EVERY_S:
            continue
        if platform.stage_deadline_s and looked - began > platform.stage_deadline_s:
            raise _too_long(step, platform, news)
        looked, state = time.monotonic(), job.state()
        history.placed(state.notes)
        at = layout.job(step.stage, step.key, incarnation(attempt, state.restarts), "heartbeat.json")
        data = None if state.waiting else platform.store.objects.get(at)
        beat = Beat(at=time.time(), phase=state.waiting)
        if state.waiting:
            began = heard = looked
        elif data is not None and data != last:
            heard, last, beat = looked, data, Beat.model_validate_json(data)
            history.heard(beat)
        if beat.phase and (beat.phase, beat.step) != news:
            news = (beat.phase, beat.step)
            on_beat(beat)
        if looked - heard > platform.silence_s:
            raise Unreachable(
                f"{step.stage}: no sign of life for {platform.silence_s:.0f} s; the worker was ended",
                place=f"{platform.store.uri}/{at}",
                remedy="see its log; LUTHIER_SILENCE_S sets how long a worker may be silent",
            )
    return status


def _too_long(step: Step, platform: Platform, news: tuple[str, int] | None) -> Unreachable:
    return Unreachable(
        f"{step.stage}: not done in {platform.stage_deadline_s:.0f} s; the worker was ended",
        place="LUTHIER_STAGE_DEADLINE_S",
        value=f"it was {news[0]}, step {news[1]}" if news else "it had not begun",
        remedy="what it committed stays; give it longer, or see its log for what it waits on",
    )


def _hear_the_last(step: Step, attempt: str, platform: Platform, history: History) -> None:
    data = platform.store.objects.get(layout.job(step.stage, step.key, attempt, "heartbeat.json"))
    if data is not None:
        history.heard(Beat.model_validate_json(data))


def _read_outcome(step: Step, attempt: str, platform: Platform, status: int, output: Path) -> Receipt:
    data = platform.store.objects.get(layout.job(step.stage, step.key, attempt, "outcome.json"))
    try:
        outcome = None if data is None else Outcome.model_validate_json(data)
    except ValidationError:
        outcome = None
    if outcome is None and (others := _others(step, attempt, platform)):
        host = _host(step, attempt, platform)
        raise NodeLost(
            f"{step.stage}: node 0{host} was lost",
            place=str(output),
            value=others,
            remedy="it goes on from its checkpoints",
        )
    if outcome is None and status in _TOLD_TO_LEAVE:
        raise Preempted(f"{step.stage}: the worker was ended before it could say so", place=str(output))
    if outcome is None:
        raise Crashed(
            f"{step.stage}: the worker ended without an outcome (exit status {status})",
            place=str(output),
            value=_tail(output),
            remedy="-9 is often the kernel out of memory; the log's end is above",
        )
    if outcome.error is not None:
        raise revive(outcome.error)
    if outcome.receipt is None:
        raise Crashed(f"{step.stage}: the worker's outcome has no receipt", place=str(output))
    return outcome.receipt


def _others(step: Step, attempt: str, platform: Platform) -> str:
    """What nodes beside the first said at their end."""
    names = [of("outcome.json", node) for node in range(1, step.resources.nodes)]
    found = [platform.store.objects.get(layout.job(step.stage, step.key, attempt, name)) for name in names]
    errors = [Outcome.model_validate_json(data).error for data in found if data]
    return "; ".join(f"{error.what} {error.value}" for error in errors if error)


def _host(step: Step, attempt: str, platform: Platform) -> str:
    """Where the first node was, if it said so."""
    data = platform.store.objects.get(layout.job(step.stage, step.key, attempt, "node.json"))
    return f" ({Place.model_validate_json(data).host})" if data else ""


def _tail(output: Path, size: int = 400) -> str:
    return output.read_bytes()[-size:].decode(errors="replace").strip() if output.exists() else ""


def _to_log(beat: Beat) -> None:
    log.info(beat.line())
