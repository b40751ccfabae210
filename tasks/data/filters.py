"""Which rows are worth learning: by length, by what they say, by language, and by whether they repeat themselves."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import Field, field_validator, model_validator

from infra.frozen import Frozen
from tasks.data.rows import Row
from tasks.data.texts import compared, encoded, texts

LANGUAGE_CHARACTERS = 1000  # read to tell a language; more costs time and hardly changes the verdict
# What py3langid 0.4 tells apart.
_CODES = (
    "ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa fi fo fr fuv "
    "fy ga gcf gcr gd gl gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka kab kik kk km kn ko ku ky "
    "la lb lg lij ln lo lt ltg lv mg mk ml mn mr ms mt my ne nl nn no nso oc om or pa pcm pl ps pt qu ro ru rw sa sdh "
    "se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz uzs vec vi vo wa wuu xh yo yue zh zu"
)
LANGUAGES = frozenset(_CODES.split())
# Languages whose code asks for these as well (ISO 639-3 macrolanguages): short Chinese is easily taken for Wu.
MEMBERS = {"ar": {"ary", "arz"}, "ku": {"sdh"}, "no": {"nn"}, "uz": {"uzs"}, "zh": {"wuu", "yue"}}


class Filters(Frozen):
    """What a row must be to be kept. Rows that are not are dropped, and counted by the reason."""

    min_characters: int = Field(default=0, ge=0, description="fewer in all texts of a row together, and it is dropped")
    max_characters: int | None = Field(default=None, ge=1, description="more, and it is dropped")
    include: list[str] = Field(
        default=[], description="regular expressions, of which one at least must be found in a text of the row"
    )
    exclude: list[str] = Field(default=[], description="regular expressions, of which none may be found")
    languages: list[str] = Field(
        default=[], description="codes (en, de, zh) of which one must be the row's language; what the system says aside"
    )
    min_language_confidence: float = Field(
        default=0, ge=0, le=1, description="how likely these languages must be, of 1 for all that are known"
    )
    max_repetition: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="share of words in runs of 10 that their text has more than once; 0.3 is much",
    )

    @field_validator("include", "exclude")
    @classmethod
    def _expressions(cls, value: list[str]) -> list[str]:
        _compiled(tuple(value))
        return value

    @field_validator("languages")
    @classmethod
    def _codes(cls, value: list[str]) -> list[str]:
        if unknown := sorted(set(value) - LANGUAGES):
            raise ValueError(f"no language has the code {', '.join(unknown)}; codes are {', '.join(sorted(LANGUAGES))}")
        return value

    @model_validator(mode="after")
    def _possible(self) -> "Filters":
        if self.max_characters is not None and self.max_characters < self.min_characters:
            raise ValueError("max_characters is below min_characters, so no row would be kept")
        if self.min_language_confidence and not self.languages:
            raise ValueError("min_language_confidence needs languages")
        return self

    def reason(self, row: Row) -> str:
        """Why the row is dropped, in few words that are the same for all such rows; "" where it is kept."""
        return self._by_length(row) or self._by_content(row) or self._by_repetition(row) or self._by_language(row)

    def _by_length(self, row: Row) -> str:
        if not self.min_characters and self.max_characters is None:
            return ""
        size = sum(map(len, texts(row)))
        if size < self.min_characters:
            return f"shorter than {self.min_characters} characters"
        if self.max_characters is not None and size > self.max_characters:
            return f"longer than {self.max_characters} characters"
        return ""

    def _by_content(self, row: Row) -> str:
        if not self.include and not self.exclude:
            return ""
        data = [encoded(text) for text in texts(row)]
        if self.include and not any(_holds(pattern, data) for pattern in _compiled(tuple(self.include))):
            return "nothing of filters.include is in it"
        for text, pattern in zip(self.exclude, _compiled(tuple(self.exclude)), strict=True):
            if _holds(pattern, data):
                return f"filters.exclude {text!r} is in it"
        return ""

    def _by_repetition(self, row: Row) -> str:
        if self.max_repetition is None:
            return ""
        from tasks.data.similar import repetition  # noqa: PLC0415 - a flow loads this module, and must not load numpy

        return (
            f"repeats more than {self.max_repetition:g} of itself"
            if repetition(texts(row)) > self.max_repetition
            else ""
        )

    def _by_language(self, row: Row) -> str:
        if not self.languages:
            return ""
        likely = dict(_identifier().rank(compared(row)[:LANGUAGE_CHARACTERS]))
        wanted = set(self.languages).union(*(MEMBERS.get(code, set()) for code in self.languages))
        best = next(iter(likely))  # they come in this order
        if best not in wanted:
            return f"language {best}" if best in LANGUAGES else "no language"
        share = sum(likely[code] for code in wanted)
        return "" if share >= self.min_language_confidence else "language not certain"


def _holds(pattern: Any, data: Iterable[bytes]) -> bool:
    return any(pattern.search(text) for text in data)


@cache
def _compiled(patterns: tuple[str, ...]) -> list[Any]:
    """By RE2, whose time grows with the length of the text and never faster, whatever the expression."""
    if not patterns:
        return []
    import re2  # noqa: PLC0415 - most recipes have no expressions

    options = re2.Options()
    options.log_errors = False
    made = []
    for pattern in patterns:
        try:
            made.append(re2.compile(pattern.encode(), options))
        except (re2.error, UnicodeEncodeError) as error:
            what = error.args[0].decode() if isinstance(error.args[0], bytes) else error
            raise ValueError(
                f"{pattern!r} is no regular expression of RE2: {what}; it has all of Python's but look-around and back-references"
            ) from None
        if not pattern:
            raise ValueError("an empty regular expression is in every text")
    return made


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - loading its model takes half a second

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
