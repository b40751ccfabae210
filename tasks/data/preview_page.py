"""Some rows of a recipe as a page, before anything is made of them."""

from collections.abc import Iterable, Iterator, Sequence

from tasks.data import markup
from tasks.data.preview import Answer, Shown


def page(answer: Answer, max_length: int) -> str:
    """What the rows have in common, and each with what is learned of it."""
    totals = answer.totals()
    shown = [row for row in answer.rows if not row.reason]
    bad = [(row.place, row.reason, row.sample) for row in answer.rows if row.reason]
    sections = [
        markup.tiles(
            [
                (f"{totals.rows:,}", "rows looked at"),
                (f"{len(bad):,}", "of them cannot be used"),
                (f"{totals.learned_share:.1%}", "of the tokens are learned"),
                (f"{totals.lengths[1]:,}", "tokens in the median row"),
            ]
        ),
        markup.section(
            "Altogether",
            markup.table(["", ""], totals_of(answer)),
            markup.said(f"Columns that nothing asks for: {', '.join(answer.unused_columns) or 'none'}."),
        ),
        samples(shown, max_length, answer.special),
    ]
    if bad:
        sections.append(
            markup.section("Rows that cannot be used", markup.table(["place", "what", "what stands there"], bad))
        )
    return markup.document("Rows before training", "Some rows of every source, as training will see them.", sections)


def totals_of(answer: Answer) -> Iterator[tuple[str, str]]:
    """The figures of a preview with their names."""
    totals = answer.totals()
    yield "rows looked at", f"{totals.rows:,}"
    yield "learned share", f"{totals.learned_share:.1%}"
    yield "tokens a row", "shortest {:,}, median {:,}, longest {:,}".format(*totals.lengths)
    if any(row.answers[1] for row in answer.rows):
        yield "answers", _judged(answer.rows)
    for fate, count in totals.fates.items():
        yield fate, f"{count:,} above max_length"
    if totals.warned:
        yield "with warnings", f"{totals.warned:,}"
    for reason, count in totals.bad.items():
        yield "cannot be used", f"{count:,}: {reason}"


def _judged(rows: Iterable[Shown]) -> str:
    """How long the better and the worse answers are: a preference objective learns that too."""
    both = [row.answers for row in rows if any(row.answers)]
    better, worse = ([count for count in side if count] for side in zip(*both, strict=True))
    pairs = [(chosen, rejected) for chosen, rejected in both if chosen and rejected]
    names = ("chosen", "rejected") if pairs else ("liked", "not liked")
    told = [
        f"{name} {sum(side) / len(side):.1f} tokens on average"
        for name, side in zip(names, (better, worse), strict=True)
        if side
    ]
    if pairs:
        longer = sum(chosen > rejected for chosen, rejected in pairs) / len(pairs)
        told.append(f"the chosen one is longer in {longer:.0%} of the pairs")
    return ", ".join(told)


def samples(rows: Iterable[Shown], max_length: int, special: Sequence[str]) -> str:
    """Rows with what is learned of them."""
    shown = list(rows)
    made = "".join(markup.row(row, about(row, max_length), special) for row in shown)
    legend = markup.LEGEND + (markup.REJECTED if any(part.rejected for row in shown for part in row.parts) else "")
    return markup.section("Rows as they are trained on", legend, made)


def about(row: Shown, max_length: int = 0) -> str:
    """What there is to say of a row in one line."""
    if row.reason:
        return f"cannot be used: {row.reason}"
    fate = f"; {row.fate}, as max_length is {max_length}" if row.fate else ""
    if all(row.answers):
        return "{} tokens with both answers, {} of them in the chosen one, {} in the rejected{}".format(
            row.tokens, *row.answers, fate
        )
    return f"{row.tokens} tokens, {row.learned} of them {_learned(row)}{fate}"


def _learned(row: Shown) -> str:
    return "in an answer that was not liked" if row.answers[1] else "learned"
