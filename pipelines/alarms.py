"""Automations of a Prefect server: a run whose process is gone is marked, and what somebody should know of is told."""

from typing import Any

from infra.stack.services import HEARTBEAT_S
from pipelines.automations import BLOCK, Server
from pipelines.evidence import WAITS

SILENT_BEATS = 3  # missed heartbeats after which a run counts as gone, so that it is marked within two minutes
GONE, FAILED = "luthier: a run without a heartbeat has crashed", "luthier: tell of a failed run"
WAITING = "luthier: tell of a version that waits for approval"


def ensure_automations(server: Server, notify_url: str) -> str:
    """All automations, or only the first without an address to notify; a line that says which."""
    server.ensure_automation(gone())
    if not notify_url:
        server.drop_automation(FAILED)
        server.drop_automation(WAITING)
        return "a run without a heartbeat is marked crashed; nobody is told of failures (LUTHIER_NOTIFY_URL is not set)"
    webhook = server.ensure_webhook(notify_url)
    server.ensure_automation(failed(webhook))
    server.ensure_automation(waiting(webhook))
    told = "failures, and what waits for approval, are told to the address in LUTHIER_NOTIFY_URL"
    return f"a run without a heartbeat is marked crashed; {told}"


def gone() -> dict[str, Any]:
    """After a heartbeat there must be another event of the same run in time, or the run is marked crashed."""
    within = HEARTBEAT_S * SILENT_BEATS
    return {
        "name": GONE,
        "description": f"Its process is gone where a run has sent nothing for {within} s (Prefect: detect zombie flows).",
        "enabled": True,
        "trigger": {
            "type": "event",
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "after": ["prefect.flow-run.heartbeat"],
            "expect": ["prefect.flow-run.*"],
            "for_each": ["prefect.resource.id"],
            "posture": "Proactive",
            "threshold": 1,
            "within": within,
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "message": f"no heartbeat for {within} s; run it again, it goes on from what is committed",
            }
        ],
    }


def failed(webhook: str) -> dict[str, Any]:
    """Each run that ends as failed or crashed is told to a webhook."""
    text = "{{ flow.name }} / {{ flow_run.name }}: {{ flow_run.state.name }} {{ flow_run|ui_url }}"
    return _told(FAILED, ["prefect.flow-run.Failed", "prefect.flow-run.Crashed"], text, webhook)


def waiting(webhook: str) -> dict[str, Any]:
    """Each version that waits on the page of its run for somebody who approves it is told to a webhook."""
    text = "{{ event.payload.version }} waits for approval, until {{ event.payload.until }}: {{ flow_run|ui_url }}"
    return _told(WAITING, [WAITS], text, webhook)


def _told(name: str, events: list[str], text: str, webhook: str) -> dict[str, Any]:
    """An automation that posts the JSON `{"text": …}` which chats understand."""
    return {
        "name": name,
        "description": "Posts to the webhook block " + BLOCK,
        "enabled": True,
        "trigger": {
            "type": "event",
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "expect": events,
            "posture": "Reactive",
            "threshold": 1,
            "within": 0,
        },
        "actions": [{"type": "call-webhook", "block_document_id": webhook, "payload": '{"text": "' + text + '"}'}],
    }
