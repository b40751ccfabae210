"""The verdict as a page: what it is and what to do next, what was compared and asked, and every score before and after."""

from collections.abc import Iterator

from tasks.gate.comparing import Compared
from tasks.gate.verdict import Scores, Verdict

HEADS = {
    "promote": "Promote: every bar was passed",
    "hold": "Hold",
    "undecided": "Undecided: there are too few documents to tell",
}
WORDS = {"passed": "passed", "failed": "**failed**", "undecided": "**undecided**"}


def page(verdict: Verdict, columns: dict[str, Scores], prompting: str = "") -> str:
    """Markdown: the comparison with the version in production, the bars, then a row for every metric of the last column,
    which is the candidate's, and its change; at the end examples of documents on which production did better.

    `columns` are tables of scores by heading; the first one is the baseline's. `prompting` says whether examples in the
    base's prompt would do.
    """
    said = [meaning(verdict) if verdict.compared else "", prompting]
    parts = [f"# {_head(verdict)}", *filter(None, said), *_compared(verdict)]
    rest = ["\n".join(lines) for lines in (_bars(verdict), _scores(columns), _worse(verdict)) if lines]
    return "\n\n".join([*parts, *rest]) + "\n"


def _head(verdict: Verdict) -> str:
    if verdict.outcome == "hold" and all(row.outcome != "failed" for row in verdict.compared):
        return "Hold: the model did not pass every bar."
    if verdict.outcome == "hold":
        return f"Hold: the model is not good enough beside {verdict.against}."
    also = f", and it is good enough beside {verdict.against}" if verdict.compared and verdict.promote else ""
    return f"{HEADS[verdict.outcome]}{also}."


def meaning(verdict: Verdict) -> str:
    """What the comparison says in plain words, and what to do next."""
    return " ".join(_sentences(verdict))


def _sentences(verdict: Verdict) -> Iterator[str]:
    against = verdict.against or "the version in production"
    if any(not check.passed for check in verdict.checks):
        yield "A bar of the recipe was missed, which alone holds the model."
    if verdict.promote:
        yield f"On the same documents the model is shown to be good enough to follow {against}."
        yield "`luthier promote` makes it the version in production."
    for row in verdict.compared:
        if row.outcome == "failed":
            yield (
                f"On {row.task} it is shown to miss what is asked ({row.asked}): the difference in {row.metric} is "
                f"{row.difference:+.3g}, and more documents would not change that; change data or training."
            )
        if row.outcome == "undecided":
            yield _undecided(row, against)


def _undecided(row: Compared, against: str) -> str:
    look = "good enough" if row.looks_good else "not good enough"
    said = f"On {row.task} it looks {look} beside {against}, but {row.n} documents could look so by chance."
    if row.further is None:
        return f"{said} The difference is so near to what is asked that no number of documents would tell."
    return f"{said} If it is what it looks like, about {_about(row.further):,} documents more would show it."


def _about(number: int) -> int:
    """Rounded up to two digits: more of them would only look exact."""
    step = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // step) * step


def _compared(verdict: Verdict) -> list[str]:
    """A table of the comparisons; empty where there were none."""
    if not verdict.compared:
        return []
    heads = ["task", "metric", "documents", verdict.against, "this one", "difference", "likely between"]
    heads += ["only this one right", "only that one right", "asked", "p", ""]
    rows = [f"| {' | '.join(_cells(row))} |" for row in verdict.compared]
    return ["\n".join([f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *rows])]


def _cells(row: Compared) -> list[str]:
    return [
        row.task,
        row.metric,
        f"{row.n:,}",
        f"{row.incumbent:.4g}",
        f"{row.candidate:.4g}",
        f"{row.difference:+.3g}",
        f"{row.low:+.3g} … {row.high:+.3g}",
        "" if row.gained is None else f"{row.gained:,}",
        "" if row.lost is None else f"{row.lost:,}",
        row.asked,
        f"{row.p_worse if row.outcome == 'failed' else row.p:.2g}",
        WORDS[row.outcome],
    ]


def _bars(verdict: Verdict) -> list[str]:
    rows = [
        f"| {check.task} | {check.metric} | {check.bar} | {check.baseline:.4g} | {check.candidate:.4g} "
        f"| {'passed' if check.passed else '**failed**'} |"
        for check in verdict.checks
    ]
    return ["| task | metric | asked | base | tuned | |", "|---|---|---|---|---|---|", *rows]


def _worse(verdict: Verdict) -> list[str]:
    """Documents on which production did better, with what was asked and both answers; empty where there are none."""
    if not verdict.worse:
        return []
    head = f"## What {verdict.against} answers better, the worst first"
    return [head, *(text for one in verdict.worse for text in ("", *one.block(verdict.against)))]


def _scores(columns: dict[str, Scores]) -> list[str]:
    baseline, *_, candidate = columns.values()
    rows = []
    for task, metrics in sorted(candidate.items()):
        for metric, after in sorted(metrics.items()):
            values = [scores.get(task, {}).get(metric) for scores in columns.values()]
            before = baseline.get(task, {}).get(metric)
            change = "" if before is None else f"{after - before:+.4g}"
            cells = ["" if value is None else f"{value:.4g}" for value in values]
            rows.append(f"| {' | '.join([task, metric, *cells, change])} |")
    heads = ["task", "metric", *columns, "change"]
    return [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *rows]
