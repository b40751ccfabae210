"""What the Prefect face of every stage shares: which errors are tried again, and how progress is shown."""

import base64
from typing import Any

import httpx
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.logging import get_run_logger

from infra.errors import LuthierError
from infra.launch.produce import OnBeat
from infra.launch.step import Beat

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
        if not beat.steps:
            return
        progress = 100.0 * beat.step / beat.steps
        try:
            if bar:
                update_progress_artifact(artifact_id=bar[0], progress=progress)
            else:
                bar.append(create_progress_artifact(progress=progress, key=f"{stage}-progress", description=stage))
        except httpx.HTTPError as error:  # a server that is away must not end a training that goes on without it
            logger.warning("the progress could not be shown: %s", error)

    return on_beat


def publish(key: str, description: str, markdown: str, pictures: dict[str, bytes] | None = None) -> None:
    """Put a page on the Prefect run, listed with its description; pictures are PNG bytes by caption, below the text."""
    images = [
        f"\n\n![{caption}](data:image/png;base64,{base64.b64encode(png).decode()})"
        for caption, png in (pictures or {}).items()
    ]
    create_markdown_artifact(key=key, description=description, markdown=markdown + "".join(images))
