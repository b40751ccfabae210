"""Conversations → text by a tokenizer's chat template, many at a time."""

from collections.abc import Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

import jinja2

from infra.errors import BadTemplate
from infra.models.bounded import Overrun, require_bounded, within
from tasks.data import calls
from tasks.data.named import NAMES
from tasks.data.rows import Message

# What templates raise: their own refusals, and what any Python in them may meet in a row that they do not expect.
REFUSALS = (
    *(jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError),
    RecursionError,
)
LARGEST = 2**26  # characters of one conversation as it is written; of a row there are 32 MB at most
# Llama 3's templates write today's date where none is given; their own default keeps equal rows equal tomorrow.
DATE = "26 Jul 2024"
# Others, as gpt-oss's, ask for today in a format of theirs: a macro of the same name goes before Jinja's global.
TODAY = """{%- macro strftime_now(format) -%}
{{- format.replace("%d", "26").replace("%m", "07").replace("%b", "Jul").replace("%B", "July").replace("%Y", "2024") -}}
{%- endmacro -%}
"""

Tools = tuple[dict[str, Any], ...]


class Renderer:
    """A chat template with what its tokenizer tells it: special tokens and how Jinja is set up.

    `text` is the template as it is rendered, None where there is none.
    """

    def __init__(self, tokenizer: Any, text: str | None) -> None:
        self._tokenizer = tokenizer
        self._vetted = False
        self.text = TODAY + text if text is not None and "strftime_now" in text else text

    def render(self, conversations: Sequence[tuple[Tools, list[Message]]], opened: bool) -> list[str]:
        """The text of each conversation with its tools, with a generation prompt where `opened`.

        Raises one of REFUSALS where the template does not take one of them or writes without an end, Overrun where it
        works or takes memory without one, BadTemplate where there is none or it is not valid Jinja.
        """
        if self.text is None:
            raise BadTemplate(
                "the rows are conversations, and the tokenizer has no chat template",
                place="data.chat_template",
                remedy=f"name one there (a Jinja file, or {', '.join(NAMES)}), or give rows as prompt and completion strings",
            )
        if not self._vetted:
            require_bounded(self.text)
            self._vetted = True
        made: list[str] = []
        try:
            for _, group in groupby(conversations, key=lambda conversation: id(conversation[0])):
                alike = list(group)
                made += self._apply([messages for _, messages in alike], alike[0][0], opened)
        except jinja2.TemplateSyntaxError as error:
            raise BadTemplate(
                "the chat template is not valid Jinja",
                place="data.chat_template",
                value=f"line {error.lineno}: {error.message}",
                remedy="mend it, or name another file there",
            ) from None
        if (size := max(map(len, made), default=0)) > LARGEST:
            raise ValueError(f"it writes {size:,} characters")
        return made

    def _apply(self, conversations: list[list[Message]], tools: Tools, opened: bool) -> list[str]:
        wanted = [self._as_wanted(messages) for messages in conversations]

        def rendered() -> list[str]:
            made: list[str] = self._tokenizer.apply_chat_template(
                wanted,
                chat_template=self.text,
                tools=list(tools) or None,
                tokenize=False,
                add_generation_prompt=opened,
                date_string=DATE,
            )
            return made

        return within(rendered, sum(map(characters, conversations)))

    def _as_wanted(self, messages: list[Message]) -> list[Message]:
        if not any("tool_calls" in message for message in messages) or not self._wants_json:
            return messages
        return [calls.as_json(message) for message in messages]

    @cached_property
    def _wants_json(self) -> bool:
        """Whether the template takes the arguments of a call as text only: DeepSeek's add them to a string."""
        try:
            within(lambda: self._tokenizer.apply_chat_template(calls.PROBE, chat_template=self.text, tokenize=False))
        except TypeError:
            return True
        except (Overrun, *REFUSALS):
            return False
        return False


def characters(messages: list[Message]) -> int:
    """Of the contents."""
    return sum([len(message["content"]) for message in messages])


def given(tokenizer: Any, opened: bool) -> dict[str, Any]:
    """What transformers gives a template besides the messages, where rows have no tools."""
    return {
        **tokenizer.special_tokens_map,
        "date_string": DATE,
        "tools": None,
        "documents": None,
        "add_generation_prompt": opened,
    }
