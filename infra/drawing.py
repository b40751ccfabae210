"""A picture of what came from what: boxes in rows and lines between them, as one SVG that needs nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

from infra.printable import line

WIDE, LINE, PAD, GAP, BETWEEN, NARROW = 264, 17, 10, 26, 46, 18  # pixels
LETTERS = 36  # of a line that fit into a box, in the narrow fonts that browsers have
COLOURS = {"outside": "#eef3e6", "made": "#ffffff", "result": "#e8eef8", "gone": "#f8e3e0"}
SWEEPS = 8
STYLE = (
    "text{font:12px ui-sans-serif,system-ui,Helvetica,Arial,sans-serif;fill:#1f2328}"
    ".head{font-weight:600;font-size:13px}.dim{fill:#59636e}"
    "rect{stroke:#8c959f;stroke-width:1}path{fill:none;stroke:#8c959f;stroke-width:1.4}"
)


@dataclass(frozen=True)
class Box:
    """A thing with what is to be said of it; `kind` chooses its colour. Several words of one value stand in one line."""

    id: str
    title: str
    lines: Sequence[tuple[str, str]] = ()
    kind: str = "made"

    @property
    def high(self) -> int:
        """Its height in pixels."""
        return 2 * PAD + LINE * (1 + len(self.lines))


@dataclass
class _Place:
    """A box in the drawing, or the point where a long line passes its row."""

    row: int
    box: Box | None = None
    x: float = 0.0
    above: list["_Place"] = field(default_factory=list)
    below: list["_Place"] = field(default_factory=list)

    @property
    def wide(self) -> int:
        return WIDE if self.box else NARROW


def svg(title: str, boxes: Sequence[Box], edges: Iterable[tuple[str, str]]) -> str:
    """The drawing, what comes first at the top. An edge (a, b) says that b came from a; where a longer way says the same,
    it is left out."""
    known = {box.id: box for box in boxes}
    reduced = _reduced([(one, other) for one, other in edges if one in known and other in known])
    rows = _rows(boxes, reduced)
    for _ in range(SWEEPS):
        _sort(rows, up=False)
        _sort(rows, up=True)
    width = _spread(rows)
    return _drawn(title, rows, width)


def _reduced(edges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The edges that no longer way replaces."""
    after: dict[str, set[str]] = {}
    for one, other in edges:
        after.setdefault(one, set()).add(other)

    def reach(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            for other in after.get(waiting.pop(), set()) - found:
                found.add(other)
                waiting.append(other)
        return found

    kept = []
    for one, other in dict.fromkeys(edges):
        between = after[one] - {other}
        if not any(other in reach(step) for step in between):
            kept.append((one, other))
    return kept


def _rows(boxes: Sequence[Box], edges: list[tuple[str, str]]) -> list[list[_Place]]:
    """Each box one row below the lowest that it came from; a line that passes rows gets a place in each."""
    depth = {box.id: 0 for box in boxes}
    for _ in boxes:
        for one, other in edges:
            depth[other] = max(depth[other], depth[one] + 1)
    lift = {box.id: min((depth[b] for a, b in edges if a == box.id), default=depth[box.id] + 1) - 1 for box in boxes}
    placed = {box.id: _Place(max(depth[box.id], lift[box.id]), box) for box in boxes}
    rows: list[list[_Place]] = [[] for _ in range(1 + max((one.row for one in placed.values()), default=0))]
    for place in placed.values():
        rows[place.row].append(place)
    for one, other in edges:
        last, end = placed[one], placed[other]
        for row in range(last.row + 1, end.row):
            passing = _Place(row)
            rows[row].append(passing)
            _join(last, passing)
            last = passing
        _join(last, end)
    return rows


def _join(above: _Place, below: _Place) -> None:
    above.below.append(below)
    below.above.append(above)


def _sort(rows: list[list[_Place]], up: bool) -> None:
    """Put each row in the order of what its places hang on, so that few lines cross."""
    at = {id(place): number / max(1, len(row)) for row in rows for number, place in enumerate(row)}

    def middle(place: _Place) -> float:
        hangs = place.below if up else place.above
        return sum(at[id(other)] for other in hangs) / len(hangs) if hangs else at[id(place)]

    for row in reversed(rows) if up else rows:
        row.sort(key=middle)
        at |= {id(place): number / max(1, len(row)) for number, place in enumerate(row)}


def _spread(rows: list[list[_Place]]) -> float:
    """Give every place its x, each row in the middle; the width of all."""
    widths = [sum(place.wide for place in row) + GAP * (len(row) - 1) for row in rows]
    wide = max(widths, default=0)
    for row, own in zip(rows, widths, strict=True):
        x = (wide - own) / 2
        for place in row:
            place.x, x = x + place.wide / 2, x + place.wide + GAP
    return wide + 2 * GAP


def _drawn(title: str, rows: list[list[_Place]], width: float) -> str:
    lines, shapes, y = list[str](), list[str](), float(2 * GAP)
    tops = []
    for row in rows:
        high = max((place.box.high for place in row if place.box), default=0)
        tops.append((y, high))
        y += high + BETWEEN
    for row in rows:
        for place in row:
            top, high = tops[place.row]
            if place.box:
                shapes.append(_box(place.box, place.x + GAP - WIDE / 2, top))
            else:
                lines.append(f'<path d="M{place.x + GAP:.0f} {top:.0f}v{high:.0f}"/>')
            start = top + (place.box.high if place.box else high)
            lines += [_line(place.x + GAP, start, other.x + GAP, tops[other.row][0]) for other in place.below]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {y:.0f}" width="{width:.0f}" height="{y:.0f}" '
        f'role="img"><title>{_text(title)}</title><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>'
        f'<text class="head" x="{GAP}" y="{GAP}">{_text(title)}</text>{"".join(lines)}{"".join(shapes)}</svg>\n'
    )


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    bend = (to_y - y) / 2
    return f'<path d="M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}"/>'


def _box(box: Box, x: float, y: float) -> str:
    fill = COLOURS.get(box.kind, COLOURS["made"])
    parts = [
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDE}" height="{box.high}" rx="5" style="fill:{fill}"/>',
        f'<text class="head" x="{x + PAD:.0f}" y="{y + PAD + 12:.0f}">{_text(_cut(box.title))}</text>',
    ]
    for number, (name, value) in enumerate(box.lines, 1):
        at = f'x="{x + PAD:.0f}" y="{y + PAD + 12 + number * LINE:.0f}"'
        said = _cut(value, LETTERS - len(name) - 1)
        parts.append(f'<text {at}><tspan class="dim">{_text(name)}</tspan> {_text(said)}</text>')
    full = "; ".join(f"{name} {value}".strip() for name, value in box.lines)
    return f"<g><title>{_text(f'{box.title}: {full}')}</title>{''.join(parts)}</g>"


def _cut(text: str, letters: int = LETTERS) -> str:
    text = line(text)
    return text if len(text) <= letters else text[: max(1, letters - 1)] + "…"


def _text(text: str) -> str:
    return escape(line(text))
