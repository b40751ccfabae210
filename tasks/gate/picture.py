"""The comparison as a picture: each difference with its interval beside what was asked, as one SVG that needs nothing else."""

from html import escape

from infra.printable import line
from tasks.gate.comparing import Compared
from tasks.gate.verdict import Verdict

PICTURE = "verdict.svg"
LEFT, WIDE, ROW, TOP = 230, 420, 46, 64  # pixels
COLOURS = {"passed": "#1a7f37", "failed": "#b42318", "undecided": "#9a6700"}
STYLE = (
    "text{font:12px ui-sans-serif,system-ui,Helvetica,Arial,sans-serif;fill:#1f2328}"
    ".head{font-weight:600;font-size:13px}.dim{fill:#59636e}.asked{stroke:#b42318;stroke-dasharray:4 3}"
    ".none{stroke:#8c959f}line{stroke-width:1.4}"
)


def drawn(verdict: Verdict) -> str:
    """A row for each comparison. Right of the grey line the candidate is better; right of the dashed one, good enough."""
    rows = verdict.compared
    reach = 1.15 * max(max(abs(row.low), abs(row.high), abs(row.threshold)) for row in rows) or 1.0
    high = TOP + ROW * len(rows) + 30
    title = f"This model beside {verdict.against}: {verdict.outcome}"
    shapes = [_row(row, TOP + ROW * number, reach) for number, row in enumerate(rows)]
    foot = TOP + ROW * len(rows) + 12
    ends = [
        _text(LEFT, foot, "worse", "dim"),
        _text(LEFT + WIDE / 2, foot, "equal", "dim", "middle"),
        _text(LEFT + WIDE, foot, "better", "dim", "end"),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDE + 110} {high}" width="{LEFT + WIDE + 110}" '
        f'height="{high}" role="img"><title>{_safe(title)}</title><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{_text(16, 26, title, "head")}'
        f"{_line(LEFT + WIDE / 2, TOP - 20, LEFT + WIDE / 2, foot - 14, 'none')}{''.join(shapes)}{''.join(ends)}</svg>\n"
    )


def _row(row: Compared, top: float, reach: float) -> str:
    def at(value: float) -> float:
        return LEFT + WIDE / 2 + WIDE / 2 * max(-1.0, min(1.0, value / reach))

    middle, colour = top + 8, COLOURS[row.outcome]
    told = f"{row.difference:+.3g} ({row.low:+.3g} … {row.high:+.3g}), asked {row.asked}"
    return "".join(
        [
            f"<g><title>{_safe(f'{row.task} {row.metric}: {told}')}</title>",
            _text(16, middle - 2, row.task[:34], "head"),
            _text(16, middle + 14, f"{row.metric[:24]}, {row.n:,} documents", "dim"),
            _line(at(row.threshold), middle - 16, at(row.threshold), middle + 16, "asked"),
            f'<line x1="{at(row.low):.1f}" y1="{middle}" x2="{at(row.high):.1f}" y2="{middle}" '
            f'style="stroke:{colour};stroke-width:5;stroke-linecap:round;opacity:.45"/>',
            f'<circle cx="{at(row.difference):.1f}" cy="{middle}" r="5" fill="{colour}"/>',
            f'<text x="{LEFT + WIDE + 14}" y="{middle + 4}" style="fill:{colour}">{row.outcome}</text></g>',
        ]
    )


def _line(x: float, y: float, to_x: float, to_y: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_safe(text)}</text>'


def _safe(text: str) -> str:
    return escape(line(text))
