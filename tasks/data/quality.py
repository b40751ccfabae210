"""What rows are checked for before they are rendered: filters, and personal data and secrets."""

from collections import Counter

from tasks.data.config import TextConfig
from tasks.data.filters import Filters
from tasks.data.rows import Preference, Row, Text
from tasks.data.sensitive import hits, redact, scan

SENSITIVE = "personal data or secrets"
ALIKE = "chosen and rejected are equal without personal data and secrets"


class Quality:
    """The checks of one source's rows. `sensitive` counts what was found, by kind."""

    def __init__(self, config: TextConfig) -> None:
        self._filters = config.filters if config.filters != Filters() else None
        self._mode = config.sensitive
        self.sensitive: Counter[str] = Counter()

    def checked(self, row: Row) -> tuple[Row, str, str]:
        """The row as it will be learned, why it is left out (or nothing), and what of it is sensitive, masked."""
        if self._filters is not None and (reason := self._filters.reason(row)):
            return row, reason, ""
        found = scan(row) if self._mode != "off" else None
        if not found:
            return row, "", ""
        self.sensitive.update(found)
        masked = ", ".join(f"{hit.kind} {hit.masked}" for hit in hits(row))
        if self._mode == "redact":
            clean, _ = redact(row)
            alike = isinstance(clean, Preference) and clean.chosen == clean.rejected
            return clean, ALIKE if alike else "", masked
        return row, SENSITIVE if self._mode == "drop" else "", masked


def shown(text: str, mode: str) -> str:
    """Text of a row as a report may show it: what is sensitive is never told, unless nobody looks for it."""
    if mode == "off":
        return text
    hidden, _ = redact(Text(text))
    return hidden.text if isinstance(hidden, Text) else ""
