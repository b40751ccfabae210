"""Has the questions of an evaluation listed by a process of its own, which sees no secret and loads no model."""

import os

from infra.launch.work import Summary, Work, main
from tasks.evaluation.config import QuestionsConfig
from tasks.evaluation.question import Listing
from tasks.evaluation.worker import apart, exchange, task_folder


def work(job: Work[QuestionsConfig]) -> Summary:
    """Fill questions.jsonl."""
    listing = Listing(
        parent=os.getpid(), config=job.config, tasks=task_folder(job), out=job.out, exchange=exchange(job)
    )
    return apart(job, listing)


if __name__ == "__main__":
    main(QuestionsConfig, work)
