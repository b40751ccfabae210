"""The rows by their lengths: part of the report's page, and a picture of its own for pages that are not ours."""

from collections.abc import Mapping
from typing import Any

from tasks.data import markup

STYLE = (
    "text{fill:#5b6570;font:12px system-ui,Helvetica,Arial,sans-serif}.col{fill:#2f6fd0}.axis{stroke:#dfe3e8}"
    ".limit{stroke:#c2372f;stroke-width:2}.wish{stroke:#0b6b3a;stroke-width:2;stroke-dasharray:6 4}"
    ".of-limit{fill:#c2372f}.of-wish{fill:#0b6b3a}"
)


def histogram(report: Mapping[str, Any]) -> str:
    """An SVG in the page's style, by the report's JSON form, with max_length and the length that is suggested."""
    lengths, limit, wish = report["lengths"], report["max_length"], report["suggested_max_length"]
    marks = [(limit, "limit", f"max_length {limit:,}"), (wish, "wish", f"suggested {wish:,}")]
    return markup.columns(lengths["width"], lengths["rows"], lengths["above"], marks)


def drawn(report: Mapping[str, Any]) -> bytes:
    """The same as a file that needs nothing else."""
    head, _, body = histogram(report).partition(">")
    own = f'{head} xmlns="http://www.w3.org/2000/svg" width="740" height="214"><style>{STYLE}</style>'
    return f'{own}<rect width="100%" height="100%" style="fill:#fff"/>{body}'.encode()
