"""The report as a page for people, report.html: it needs no server, no script and no other file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.data import markup, picture
from tasks.data.preview import Shown
from tasks.data.preview_page import samples
from tasks.data.report import Problem, Report

# Findings that a report may have, by its field.
FINDINGS = {
    "judged": "Judged answers",
    "near_duplicates": "Near duplicates",
    "similar": "Near duplicates",
    "overlap": "Shared with the evaluation",
    "contamination": "Shared with the evaluation",
    "sensitive": "Personal data and secrets",
    "filtered": "Filters",
}


def page(report: Report, rows: Sequence[Shown], special: Sequence[str]) -> str:
    """The whole page: figures, every kind of loss with its places, and `rows` with what is learned of them."""
    told = report.told()
    sections = [
        markup.tiles(_first(report)),
        _counts(report),
        _sources(report),
        _lengths(report),
        _cost(report),
        *(_finding(title, told[name]) for name, title in FINDINGS.items() if told.get(name)),
        samples(rows, report.max_length, special),
        *(_problems(report, kind) for kind in ("bad", "dropped", "truncated", "sensitive")),
    ]
    lead = f"{report.rows:,} rows in {len(report.sources)} source{'s' if len(report.sources) > 1 else ''}, as training sees them."
    return markup.document("Data report", lead, sections)


def _first(report: Report) -> list[tuple[str, str]]:
    return [
        (f"{report.train_rows:,}", "rows to train on"),
        (f"{report.cost.tokens:,}", "tokens an epoch"),
        (f"{report.supervised_share:.1%}", "of the tokens are answers"),
        (f"{report.cost.sequences:,}", f"sequences of {report.max_length:,} tokens"),
        (f"{report.fill:.1%}", "of their room is used"),
        (f"{report.bad:,}", "bad rows"),
    ]


def _counts(report: Report) -> str:
    parts = [
        ("to train on", "train", report.train_rows),
        ("held out", "held", report.validation_rows),
        ("dropped", "dropped", report.dropped),
        ("bad", "bad", report.bad),
    ]
    why = [(f"dropped: {reason}", count) for reason, count in sorted(report.dropped_why.items())]
    lines = [
        ("rows read", report.rows, ""),
        ("= to train on", report.train_rows, f"{report.train_tokens:,} tokens"),
        ("+ held out", report.validation_rows, f"{report.validation_tokens:,} tokens"),
        ("+ dropped", report.dropped, ""),
        *((f"\u2003{name}", count, "") for name, count in why),
        ("+ bad", report.bad, "could not be used"),
    ]
    copies = f"Rows that are equal to an earlier one, and were kept: {report.duplicates:,}." + (
        " drop_duplicates: true leaves them out." if report.duplicates else ""
    )
    unused = f"Columns that nothing asks for: {', '.join(report.unused_columns) or 'none'}."
    return markup.section(
        "Rows", markup.stacked(parts), markup.table(["", "rows>", ""], lines), markup.said(copies), markup.said(unused)
    )


def _sources(report: Report) -> str:
    rows = [
        (
            f"{at.name}{' (validation)' if at.validation else ''}",
            at.rows,
            at.train_rows,
            at.validation_rows,
            at.dropped,
            at.bad,
            at.tokens,
            f"{at.supervised_share:.1%}",
            f"{at.weight:g}",
        )
        for at in report.sources
    ]
    head = ["source", "rows>", "trained on>", "held out>", "dropped>", "bad>", "tokens>", "learned>", "weight>"]
    return markup.section("Sources", markup.table(head, rows))


def _lengths(report: Report) -> str:
    shares = report.lengths.quantiles.items()
    return markup.section(
        "Lengths",
        picture.histogram(report.told()),
        markup.said(
            "Rows by their tokens before anything was cut. The suggested max_length leaves 99.5 % of the rows whole."
        ),
        markup.table([f"{markup.percent(share)}>" for share, _ in shares], [[value for _, value in shares]]),
    )


def _cost(report: Report) -> str:
    cost = report.cost
    lines = [
        ("tokens an epoch", cost.tokens, ""),
        ("of them learned", cost.learned_tokens, f"the others have weight {report.prompt_loss_weight:g}"),
        ("sequences an epoch", cost.sequences, "packed" if report.packing else "of one row each"),
        ("padding", f"{cost.padding_share:.1%}", "of the room that sequences have"),
        ("pieces that splitting added", cost.extra_pieces, f"of {report.split:,} documents" if report.split else ""),
        (
            "tokens that truncation cut off",
            cost.truncated_tokens,
            f"of {report.truncated:,} rows" if report.truncated else "",
        ),
        ("tokens of dropped rows", cost.dropped_tokens, ""),
        ("tokens that straddle an answer's start", report.straddling_tokens, "they count as prompt"),
    ]
    return markup.section("What an epoch takes", markup.table(["", "count>", ""], lines))


def _finding(title: str, told: Any) -> str:
    return markup.section(title, markup.table(["", "found"], list(_flat(told))))


def _flat(told: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """A finding of any shape as names and values."""
    if isinstance(told, Mapping):
        for name, value in told.items():
            yield from _flat(value, f"{above} {str(name).replace('_', ' ')}".strip())
    elif isinstance(told, list) and any(isinstance(item, Mapping | list) for item in told):
        for number, item in enumerate(told, 1):
            yield from _flat(item, f"{above} {number}")
    else:
        shown = ", ".join(map(str, told)) if isinstance(told, list) else told
        yield (
            above,
            f"{shown:,}" if isinstance(shown, int) else f"{shown:.4g}" if isinstance(shown, float) else str(shown),
        )


def _problems(report: Report, kind: str) -> str:
    found: Sequence[Problem] = report.problems.get(kind, [])
    count = len(found) if kind == "sensitive" else int(getattr(report, kind))
    if not found:
        return ""
    more = f" (the first {len(found)} of {count:,})" if count > len(found) else ""
    kept = ""
    if kind == "bad":
        kept = f"quarantine.jsonl beside this page has {report.quarantined:,} of them with their places" + (
            "; of the others only their number is known." if report.quarantined < count else "."
        )
    rows = [(problem.place, problem.text, problem.sample) for problem in found]
    return markup.section(
        f"{kind.capitalize()} rows{more}",
        markup.table(["place", "what", "what stands there"], rows),
        markup.said(kept) if kept else "",
    )
