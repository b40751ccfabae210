"""`luthier data announce`: tell the Prefect server that there is new data; deployments with a trigger for it start."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import Refused
from pipelines.cli import deploy, screen

EVENT = "luthier.data.new"


def announce(
    where: Annotated[str, typer.Argument(metavar="PLACE", help="s3://bucket/prefix/, or a folder or file here")],
) -> None:
    """Tell that there is new data, as the last step of whatever writes it.

    Sends the event luthier.data.new about PLACE to the Prefect server. Deployments whose `triggers:` in prefect.yaml
    match it start a run (docs/cadence.md). Announcing what is not new costs nothing: the retrain says so and ends.
    """
    place = where if "://" in where else str(Path(where).absolute())
    resource = {"prefect.resource.id": place, "prefect.resource.name": where}
    event = {"event": EVENT, "id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat(), "resource": resource}
    server = deploy.server()
    with deploy.refusals(server.api):
        if server.ask("events/filter", {"limit": 1}) is None:
            raise Refused(
                "this Prefect server takes no events",
                place=server.api,
                remedy=f"prefect event emit {EVENT} --resource-id {place}",
            )
        server.ask("events", [event])
    screen.say(f"announced {place} as {EVENT}; see {server.pages}/events")
