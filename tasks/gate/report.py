"""The verdict as a page: what was asked, and every score before and after."""

from tasks.gate.verdict import Scores, Verdict


def page(verdict: Verdict, columns: dict[str, Scores]) -> str:
    """Markdown: the bars, then a row for every metric of the last column, which is the candidate's, and its change.

    `columns` are tables of scores by heading; the first one is the baseline's.
    """
    decision = "Promote: every bar was passed." if verdict.promote else "Hold: the model did not pass every bar."
    return "\n".join([f"# {decision}", "", *_bars(verdict), "", *_scores(columns), ""])


def _bars(verdict: Verdict) -> list[str]:
    rows = [
        f"| {check.task} | {check.metric} | {check.bar} | {check.baseline:.4g} | {check.candidate:.4g} "
        f"| {'passed' if check.passed else '**failed**'} |"
        for check in verdict.checks
    ]
    return ["| task | metric | asked | base | tuned | |", "|---|---|---|---|---|---|", *rows]


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
