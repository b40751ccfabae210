"""How two datasets differ, as a page of its own."""

from collections.abc import Iterable, Iterator, Mapping

from infra.printable import line
from tasks.data import markup
from tasks.data.changes import Changes, Example
from tasks.data.preview import Shown
from tasks.data.preview_page import about

KINDS = {"changed": "another now", "removed": "that left", "added": "that came"}


def page(changes: Changes, before: str, after: str) -> str:
    """Counts, drift and examples; `before` and `after` are what the two are called."""
    sections = [
        markup.tiles([(f"{getattr(changes, kind):,}", f"rows {told}") for kind, told in KINDS.items()]),
        _counts(changes),
        _lengths(changes),
        _sources(changes),
        *_settings(changes),
        *(_examples(changes, kind) for kind in KINDS if changes.examples.get(kind)),
    ]
    return markup.document("What changed in the data", f"From {before} to {after}.", sections)


def counts(changes: Changes) -> Iterator[tuple[str, str, str]]:
    """What both hold: a name, and how much of it before and after."""
    old, new = changes.before, changes.after
    yield "rows to train on", f"{old.rows:,}", f"{new.rows:,}"
    yield "held out", f"{old.held_out:,}", f"{new.held_out:,}"
    yield "tokens an epoch", f"{old.tokens:,}", f"{new.tokens:,}"
    yield "learned share", f"{old.learned_share:.1%}", f"{new.learned_share:.1%}"


def drifted(changes: Changes) -> str:
    """What the distance of the lengths says."""
    far = changes.distance > changes.by_chance
    other = "" if changes.one_tokenizer else " The tokenizers differ, so the lengths are not of one measure."
    return (
        f"Distance of the lengths (Kolmogorov-Smirnov): {changes.distance:.3f}, "
        f"{'more' if far else 'no more'} than chance explains ({changes.by_chance:.3f}).{other}"
    )


def markdown(changes: Changes, since: str, overlap: Mapping[str, object]) -> str:
    """The same for the page of a run: counts, drift of lengths and sources, settings, and the evaluation's questions in the
    rows, of which `overlap` has the counts. Rows themselves are on the other page."""
    told = [(f"rows {KINDS[kind]}", "", f"{getattr(changes, kind):,}") for kind in KINDS]
    both = [("the same rows", "", f"{changes.same:,}"), *told, *counts(changes)]
    files = [
        (_cell(at.name), f"{at.rows[0]:,}", f"{at.rows[1]:,}", f"{at.share[0]:.1%}", f"{at.share[1]:.1%}")
        for at in changes.sources[:20]
    ]
    parts = [f"# What changed in the rows since {since}", _table(["", "before", "now"], both), drifted(changes)]
    parts.append(_table(["file", "rows before", "now", "of the tokens before", "now"], files))
    if changes.settings:
        fields = [(name, _cell(str(old)), _cell(str(new))) for name, (old, new) in changes.settings.items()]
        parts.append(_table(["setting", "before", "now"], fields))
    if overlap:
        hit, asked = overlap.get("questions_hit", 0), overlap.get("questions", 0)
        parts.append(f"Of {asked} questions of the evaluation {hit} stand in the rows of now.")
    return "\n\n".join([*parts, "Single rows, with what is learned of them, are on a page of its own:"]) + "\n"


def _table(heads: list[str], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(heads)} |", "|" + "---|" * len(heads), *lines])


def _cell(text: str) -> str:
    # Names of files are anybody's: nothing in them may become a link, a picture or another cell.
    return "`" + line(text).replace("`", "'").replace("|", "¦") + "`"


def _counts(changes: Changes) -> str:
    rows = [
        ("the same", changes.same, ""),
        ("another now", changes.changed, "the same is asked, or they stand at the same place"),
        ("left", changes.removed, ""),
        ("came", changes.added, ""),
        ("held out now, trained on before", changes.now_held_out, "among the same"),
        ("trained on now, held out before", changes.now_trained_on, "among the same"),
    ]
    return markup.section(
        "Rows", markup.table(["", "rows>", ""], rows), markup.table(["", "before>", "after>"], counts(changes))
    )


def _lengths(changes: Changes) -> str:
    old, new = changes.before.quantiles, changes.after.quantiles
    rows = [(markup.percent(at), old.get(at, 0), new.get(at, 0)) for at in dict.fromkeys([*old, *new])]
    return markup.section(
        "Lengths in tokens", markup.table(["of the rows", "before>", "after>"], rows), markup.said(drifted(changes))
    )


def _sources(changes: Changes) -> str:
    rows = [
        (at.name, at.rows[0], at.rows[1], f"{at.share[0]:.1%}", f"{at.share[1]:.1%}") for at in changes.sources[:50]
    ]
    more = len(changes.sources) - len(rows)
    head = ["file", "rows before>", "after>", "of the tokens before>", "after>"]
    return markup.section(
        "Sources", markup.table(head, rows), markup.said(f"{more:,} files more, which moved less.") if more else ""
    )


def _settings(changes: Changes) -> Iterator[str]:
    if changes.settings:
        rows = [(name, str(old), str(new)) for name, (old, new) in changes.settings.items()]
        yield markup.section("Settings", markup.table(["field", "before", "after"], rows))


def _examples(changes: Changes, kind: str) -> str:
    shown, count = changes.examples[kind], getattr(changes, kind)
    more = f" (the first {len(shown)} of {count:,})" if count > len(shown) else ""
    legend = markup.REJECTED if any(part.rejected for row in _rows(shown) for part in row.parts) else ""
    return markup.section(
        f"Rows {KINDS[kind]}{more}", legend, *(_example(example, changes.special) for example in shown)
    )


def _rows(examples: Iterable[Example]) -> list[Shown]:
    return [row for example in examples for row in (example.before, example.after) if row is not None]


def _example(example: Example, special: tuple[str, ...]) -> str:
    sides = [("left", "before", example.before), ("came", "after", example.after)]
    return "".join(
        markup.row(row, f"{name}; {about(row)}", special, mark) for mark, name, row in sides if row is not None
    )
