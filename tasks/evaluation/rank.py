"""The process that asks, without secrets in its environment: `python -m tasks.evaluation.rank <exchange folder>`."""

import logging
import os
import sys
from pathlib import Path

from infra.errors import LuthierError
from infra.launch.lifeline import die_with_parent
from tasks.evaluation.question import Answer, Question, read, write


def main(exchange: Path) -> None:
    """Answer the question in `exchange`; never raises, the answer says how it ended."""
    die_with_parent()
    question = read(exchange, Question)
    if question is None or os.getppid() != question.parent:
        raise SystemExit("the worker that asked is gone")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Only now, because it takes seconds in which a worker may be killed.
    from tasks.evaluation.asking import ask, explained  # noqa: PLC0415

    try:
        answer = Answer(summary=ask(question))
    except LuthierError as error:
        answer = Answer(error=error.report())
    except Exception as error:
        logging.exception("unforeseen")
        answer = Answer(error=explained(error, question.tasks).report())
    write(exchange, answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
