"""Compares a new dataset with the one that the version in production was trained on, as an artifact that stays with the new one."""

import json

from infra.launch.work import Summary, Work, main
from tasks.data import diff_page
from tasks.data.changes import DiffConfig, Question
from tasks.data.diffing import look
from tasks.data.tokens import without_torch

SHOWN = 10  # examples of each kind


def work(job: Work[DiffConfig]) -> Summary:
    """Fill diff.json, diff.md and diff.html; Refused where a dataset does not tell where its rows stood."""
    job.beat("comparing rows")
    pair = job.receipt("before"), job.receipt("after")
    found = look(Question(before=pair[0], after=pair[1], rows=SHOWN, scratch=job.scratch / "diff"), job.platform)
    overlap = job.receipt("overlap").summary if "overlap" in job.spec.inputs else {}
    (job.out / "diff.json").write_text(json.dumps(found.model_dump(mode="json")) + "\n", encoding="utf-8")
    (job.out / "diff.md").write_text(diff_page.markdown(found, job.config.since, overlap), encoding="utf-8")
    page = diff_page.page(found, f"the data of {job.config.since}", "that of now")
    (job.out / "diff.html").write_text(page, encoding="utf-8")
    counts = {"same": found.same, "changed": found.changed, "removed": found.removed, "added": found.added}
    return {"since": job.config.since, **counts, "distance": found.distance, "by_chance": found.by_chance}


if __name__ == "__main__":
    without_torch()
    main(DiffConfig, work)
