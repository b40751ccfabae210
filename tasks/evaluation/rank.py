"""The process that asks, or only lists what would be asked, without secrets in its environment: `python -m tasks.evaluation.rank <exchange folder>`."""

import logging
import os
import sys
from pathlib import Path
from typing import Any

from infra.errors import LuthierError
from infra.launch.lifeline import die_with_parent
from tasks.evaluation.question import Answer, Listing, Question, read, write


def main(exchange: Path) -> None:
    """Answer the question in `exchange`; never raises, the answer says how it ended."""
    die_with_parent()
    question = read(exchange, Question) or read(exchange, Listing)
    if question is None or os.getppid() != question.parent:
        raise SystemExit("the worker that asked is gone")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Only now, because it takes seconds in which a worker may be killed.
    from tasks.evaluation.finding import explained  # noqa: PLC0415

    try:
        answer = Answer(summary=_answered(question))
    except LuthierError as error:
        answer = Answer(error=error.report())
    except Exception as error:
        logging.exception("unforeseen")
        answer = Answer(error=explained(error, question.tasks).report())
    write(exchange, answer)


def _answered(question: Question | Listing) -> dict[str, Any]:
    if isinstance(question, Listing):
        from tasks.evaluation.listing import listed  # noqa: PLC0415 - it needs no torch

        return listed(question)
    from tasks.evaluation.asking import ask  # noqa: PLC0415

    return ask(question)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
