"""Documents → prefix, suffix and middle, so that a model learns to fill in (Bavarian 2022, arXiv 2207.14255)."""

import hashlib
from typing import Any, NamedTuple

from infra.errors import BadModel
from tasks.data.rows import BadRow


class Marks(NamedTuple):
    """The tokens that stand before a document's prefix, its suffix and its middle."""

    prefix: str
    suffix: str
    middle: str


FORMS = (
    Marks("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5-Coder, CodeGemma, Granite 4
    Marks("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder, SmolLM, Granite 3
    Marks("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    Marks("▁<PRE>", "▁<SUF>", "▁<MID>"),  # CodeLlama
    Marks("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek-Coder, DeepSeek-V3
    Marks("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM-4
)


class Infilling:
    """Rearranges a share of documents. Which, where and how they are cut is told by their content alone.

    `rate` is the share that is rearranged, `spm_rate` the share of these whose suffix comes first. BadModel where the
    tokenizer has no tokens for it.
    """

    def __init__(self, tokenizer: Any, rate: float, spm_rate: float) -> None:
        self._marks, self._rate, self._spm_rate = marks(tokenizer), rate, spm_rate

    def rearranged(self, text: str) -> str:
        """The document, or its three parts in the order PSM or SPM; cut between any two characters.

        BadRow where it holds one of the tokens itself.
        """
        if held := next((mark for mark in self._marks if mark in text), None):
            raise BadRow(f"the text holds the token {held}, which marks the parts of a document")
        hashed = hashlib.sha256(text.encode()).digest()
        chosen, ordered, *cuts = (int.from_bytes(hashed[at : at + 8], "big") for at in range(0, 32, 8))
        if chosen >= self._rate * 2**64:
            return text
        first, second = sorted(cut % (len(text) + 1) for cut in cuts)
        prefix, middle, suffix = text[:first], text[first:second], text[second:]
        marks = self._marks
        if ordered < self._spm_rate * 2**64:
            # The paper's second form of SPM, which shares its beginning with PSM of an empty prefix.
            return f"{marks.prefix}{marks.suffix}{suffix}{marks.middle}{prefix}{middle}"
        return f"{marks.prefix}{prefix}{marks.suffix}{suffix}{marks.middle}{middle}"


def marks(tokenizer: Any) -> Marks:
    """The tokens by which a tokenizer marks the parts; BadModel names those that were looked for."""
    known = tokenizer.backend_tokenizer.token_to_id
    found = next((form for form in FORMS if all(known(mark) is not None for mark in form)), None)
    if found is None:
        raise BadModel(
            "the tokenizer has no tokens for infilling",
            place="data.fim_rate",
            value="looked for " + ", ".join(form.prefix for form in FORMS),
            remedy="choose a base that was trained to fill in, or set data.fim_rate: 0",
        )
    return found
