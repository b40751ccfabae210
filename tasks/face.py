"""What the Prefect face of every stage shares: which errors are tried again, and how progress is shown."""

import base64
from typing import Any

import httpx
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from infra.errors import LuthierError
from infra.launch.produce import OnBeat
from infra.launch.step import Beat, Launch
from infra.printable import line

RETRIES: dict[str, Any] = {"retries": 2, "retry_delay_seconds": [10, 60]}


def worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Whether Prefect should try again: the error's type says so, and an error that is not ours gets its tries."""
    try:
        state.result()
    except LuthierError as error:
        return error.retry
    except Exception:
        return True
    return False


def shown(stage: str) -> OnBeat:
    """Shows a worker's beats on the Prefect run: a line in the log, and a progress bar where there are steps."""
    logger = get_run_logger()
    bar: list[Any] = []

    def on_beat(beat: Beat) -> None:
        logger.info("%s: %s", stage, beat.line())
        progress = 100.0 * beat.step / max(1, beat.steps)
        try:
            if beat.launches:
                publish(f"{stage}-launches", f"Launches of {stage}, and why", launches(stage, beat.launches))
            if not beat.steps:
                return
            if bar:
                update_progress_artifact(artifact_id=bar[0], progress=progress)
            else:
                bar.append(create_progress_artifact(progress=progress, key=f"{stage}-progress", description=stage))
        except httpx.HTTPError as error:  # a server that is away must not end a training that goes on without it
            logger.warning("the progress could not be shown: %s", error)

    return on_beat


def launches(stage: str, told: list[Launch]) -> str:
    """A page on every launch of a stage: when, how it ended and why, what changed after it, from where it went on."""
    rows = [
        [launch.started, launch.ended, launch.outcome, launch.reason, launch.change, _noted(launch)] for launch in told
    ]
    lines = [f"| {number} | " + " | ".join(_cell(cell) for cell in row) + " |" for number, row in enumerate(rows, 1)]
    head = "| launch | started | ended | outcome | reason | what changed | noted |\n|---|---|---|---|---|---|---|"
    return "\n".join([f"# Launches of {stage}\n", head, *lines])


def _noted(launch: Launch) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {text}" for name, text in launch.notes.items())


def _cell(text: str) -> str:
    # Reasons quote rows and logs: nothing in them may become a link, a picture or another cell.
    return "`" + line(text).replace("`", "'").replace("|", "¦") + "`" if text else "–"


def publish(key: str, description: str, markdown: str, pictures: dict[str, bytes] | None = None) -> None:
    """Put a page on the Prefect run, listed with its description; pictures are PNG or SVG bytes by caption, below the text."""
    images = [
        f"\n\n![{caption}](data:image/{_kind(made)};base64,{base64.b64encode(made).decode()})"
        for caption, made in (pictures or {}).items()
    ]
    create_markdown_artifact(key=key, description=description, markdown=markdown + "".join(images))


def _kind(picture: bytes) -> str:
    return "svg+xml" if picture.startswith(b"<svg") else "png"
