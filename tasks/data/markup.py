"""What pages about rows are made of: HTML that needs nothing else, and in which no row can be more than text."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from infra.printable import clean
from tasks.data.preview import Part, Shown

# Nothing is loaded and nothing runs, whatever a row might have brought in.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
MOST = 3000  # characters of one part of a row; its middle is left out
STYLE = """
:root{color-scheme:light dark;--back:#f6f7f9;--card:#fff;--ink:#1b1f24;--dim:#5b6570;--line:#dfe3e8;--learned:#0b6b3a;
--learned-back:#d9f3e3;--train:#2f6fd0;--held:#7a4fc0;--dropped:#c98a12;--bad:#c2372f;--special:#8a4b00}
@media(prefers-color-scheme:dark){:root{--back:#14171b;--card:#1d2126;--ink:#e7eaee;--dim:#9aa4af;--line:#333a42;
--learned:#8fe3b3;--learned-back:#143d27;--train:#6ea3f0;--held:#b493ee;--dropped:#e4b04a;--bad:#f0776f;--special:#f0b877}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:64rem;margin:0 auto;padding:1.25rem 1rem 4rem}
h1{font-size:1.6rem;margin:.5rem 0 .1rem}h2{font-size:1.1rem;margin:0 0 .6rem}h3{font-size:.95rem;margin:1rem 0 .4rem}
.lead,.dim{color:var(--dim)}.lead{margin:0 0 1rem}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1rem 1.1rem;margin:0 0 1rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.7rem;margin:0 0 1rem}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.65rem .8rem}
.tile b{display:block;font-size:1.35rem;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{color:var(--dim);font-size:.85rem}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .7rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--dim);font-weight:600;font-size:.85rem;white-space:nowrap}tr:last-child td{border-bottom:0}
td:first-child{min-width:8.5rem}td.n,th.n{text-align:right;white-space:nowrap}td{overflow-wrap:anywhere}
code,pre,.row p{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.85rem}
.bar{display:flex;height:1.1rem;border-radius:5px;overflow:hidden;background:var(--line);margin:.2rem 0 .6rem;gap:1px}
.bar i{display:block;min-width:2px}.k{display:inline-block;width:.7rem;height:.7rem;border-radius:2px;margin-right:.4rem}
.train{background:var(--train)}.held{background:var(--held)}.dropped{background:var(--dropped)}.bad{background:var(--bad)}
svg{display:block;width:100%;height:auto}svg text{fill:var(--dim);font-size:12px}
svg .col{fill:var(--train)}svg .axis{stroke:var(--line)}svg .limit{stroke:var(--bad);stroke-width:2}
svg .wish{stroke:var(--learned);stroke-width:2;stroke-dasharray:6 4}svg .of-limit{fill:var(--bad)}svg .of-wish{fill:var(--learned)}
.row{border-top:1px solid var(--line);padding:.7rem 0}.row:first-of-type{border-top:0}
.row h3{margin:0 0 .3rem;font-weight:600;overflow-wrap:anywhere}.row h3 small{color:var(--dim);font-weight:400;margin-left:.5rem}
.row p{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;max-height:24rem;overflow:auto}
.learned{background:var(--learned-back);color:var(--learned);text-decoration:underline;text-decoration-thickness:2px;text-underline-offset:3px}
.prompt{color:var(--ink)}.none{color:var(--dim);font-style:italic}.warn{color:var(--bad);font-weight:600}
.special{color:var(--special);font-weight:700}.control{color:var(--bad);font-size:.8em;border:1px dotted;border-radius:3px;padding:0 .15em}
.rejected{color:var(--bad);text-decoration:line-through}
.left{border-left:3px solid var(--bad);padding-left:.7rem}.came{border-left:3px solid var(--learned);padding-left:.7rem}
"""


def document(title: str, lead: str, body: Iterable[str]) -> str:
    """A whole page of finished sections."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{text(title)}</h1>\n<p class="lead">{text(lead)}</p>\n{"".join(body)}</main>\n</body>\n</html>\n'
    )


def text(value: object) -> str:
    """A value as text and nothing else: what could be markup is escaped, what could not be seen is shown."""
    plain = str(value)
    if clean(plain) == plain:
        return escape(plain)
    return "".join(escape(char) if clean(char) else _control(char) for char in plain)


def _control(char: str) -> str:
    name = chr(0x2400 + ord(char)) if ord(char) < 0x20 else f"U+{ord(char):04X}"
    return f'<span class="control" title="U+{ord(char):04X}">{name}</span>'


def section(title: str, *body: str) -> str:
    """A part of the page under a heading."""
    return f"<section>\n<h2>{text(title)}</h2>\n{''.join(body)}</section>\n"


def said(told: str) -> str:
    """A remark."""
    return f'<p class="dim">{text(told)}</p>\n'


def percent(share: str) -> str:
    """A share of the rows, 0 … 1 as text, for people."""
    return "longest" if share == "1" else "median" if share == "0.5" else f"{100 * float(share):g} %"


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Figures to see first, each with what it is."""
    made = "".join(f'<div class="tile"><b>{text(value)}</b><span>{text(name)}</span></div>' for value, name in values)
    return f'<div class="tiles">{made}</div>\n'


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Cells of text; numbers stand right, and a head that ends in > has its column do the same."""
    right = [name.endswith(">") for name in head]
    top = "".join(f"<th{_side(n)}>{text(name.rstrip('>'))}</th>" for name, n in zip(head, right, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{_side(n)}>{_cell(cell)}</td>" for cell, n in zip(row, right, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f'<div class="wide"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}</tbody>\n</table></div>\n'


def _side(right: bool) -> str:
    return ' class="n"' if right else ""


def _cell(cell: object) -> str:
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else text(cell)


LEGEND = (
    '<p><span class="learned">learned</span> (underlined): answers, with their end-of-turn token · '
    '<span class="prompt">prompt</span>: with the weight of prompt_loss_weight · '
    '<span class="none">not counted</span> (italic): weight 0 · <span class="special">&lt;special&gt;</span> tokens as they '
    "are written. The title of each piece tells its weight.</p>\n"
)


REJECTED = '<p><span class="rejected">rejected</span> (struck through): answers that people did not want.</p>\n'


def row(shown: Shown, about: str, special: Sequence[str] = (), mark: str = "") -> str:
    """One row with its mask: `about` stands beside its place, `mark` is a class of the style."""
    body = "".join(_part(part, special) for part in shown.parts)
    warned = "".join(f' <span class="warn">{text(warning)}</span>' for warning in shown.warnings)
    return (
        f'<div class="row {mark}"><h3>{text(shown.place)}<small>{text(about)}</small>{warned}</h3>'
        f'<p dir="auto">{body or text(shown.reason)}</p></div>\n'
    )


def _part(part: Part, special: Sequence[str]) -> str:
    kind = "rejected" if part.rejected else "learned" if part.learned else "prompt" if part.weight else "none"
    told = f"weight {part.weight:g}" + (f", {part.tokens} token{'s' if part.tokens > 1 else ''}" if part.tokens else "")
    tag = "del" if part.rejected else "ins" if part.learned else "span"
    return f'<{tag} class="{kind}" title="{told}">{_marked(_short(part.text), special)}</{tag}>'


def _marked(value: str, special: Sequence[str]) -> str:
    if not special:
        return text(value)
    pieces = re.split("(" + "|".join(map(re.escape, sorted(special, key=len, reverse=True))) + ")", value)
    return "".join(
        f'<b class="special">{text(piece)}</b>' if odd % 2 else text(piece) for odd, piece in enumerate(pieces)
    )


def _short(value: str) -> str:
    if len(value) <= MOST:
        return value
    return f"{value[: MOST // 2]} … {len(value) - MOST:,} characters … {value[-MOST // 2 :]}"


def columns(width: int, rows: Sequence[int], above: int, marks: Sequence[tuple[int, str, str]]) -> str:
    """A histogram: bar n counts what lies in n × width … (n + 1) × width, the last what lies above; `marks` are values
    with a style and a name."""
    bars = [*rows, *([above] if above else [])]
    most, step = max([*bars, 1]), 680 / max(1, len(bars))
    drawn = "".join(
        f'<rect class="col" x="{30 + n * step:.1f}" y="{190 - 150 * count / most:.1f}" width="{max(1.0, step - 1):.1f}" '
        f'height="{150 * count / most:.1f}"><title>{_range(n, width, len(rows))}: {count:,} rows</title></rect>'
        for n, count in enumerate(bars)
        if count
    )
    lines = ""
    for number, (value, style, name) in enumerate(marks):
        at = 30 + min(value / width, len(bars)) * step
        told = f"{name} →" if value > width * len(bars) else name  # it lies further on
        anchor = "end" if at > 400 else "start"
        shift = -5 if at > 400 else 5
        lines += (
            f'<line class="{style}" x1="{at:.1f}" x2="{at:.1f}" y1="{8 + 16 * number}" y2="190"/>'
            f'<text class="of-{style}" x="{at + shift:.1f}" y="{18 + 16 * number}" text-anchor="{anchor}">{text(told)}</text>'
        )
    ends = [
        (30, "start", "1"),
        (370, "middle", f"{width * len(bars) // 2:,}"),
        (710, "end", f"{width * len(rows):,}{'+' if above else ''} tokens"),
    ]
    axis = "".join(f'<text x="{x}" y="207" text-anchor="{anchor}">{told}</text>' for x, anchor, told in ends)
    return (
        '<svg viewBox="0 0 740 214" role="img" aria-label="Rows by length in tokens">'
        f'<line class="axis" x1="30" x2="710" y1="190" y2="190"/>{drawn}{lines}{axis}</svg>\n'
    )


def _range(number: int, width: int, bars: int) -> str:
    return (
        f"above {width * bars:,} tokens"
        if number == bars
        else f"{width * number + 1:,} to {width * (number + 1):,} tokens"
    )


def stacked(parts: Iterable[tuple[str, str, int]]) -> str:
    """Names, styles and counts as one bar; the table beside it says the same in figures."""
    shown = [(name, style, count) for name, style, count in parts if count]
    total = sum(count for *_, count in shown) or 1
    made = "".join(
        f'<i class="{style}" style="width:{100 * count / total:.2f}%" title="{text(name)}: {count:,}"></i>'
        for name, style, count in shown
    )
    keys = " · ".join(f'<span class="k {style}"></span>{text(name)} {count:,}' for name, style, count in shown)
    return f'<div class="bar" aria-hidden="true">{made}</div>\n<p class="dim">{keys}</p>\n'
