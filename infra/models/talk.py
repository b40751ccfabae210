"""The process that loads a model and answers with it, for whoever holds its pipes: see infra.launch.dialogue."""

import copy
import logging
import sys
import time
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from infra.errors import BadModel, BadTemplate, Crashed, LuthierError, OutOfMemory, Refused
from infra.launch.dialogue import Ask, Listener, Told
from infra.models.adapted import Base
from infra.models.bounded import applied, require_bounded
from infra.models.load import load

log = logging.getLogger(__name__)


class Speaker:
    """A loaded model with its tokenizer."""

    def __init__(self, model: Path, tokenizer: Path, adapter: Path | None = None, base: Base | None = None) -> None:
        dtype, quantization = (base.dtype, base.quantization) if base else ("auto", None)
        try:
            self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                tokenizer, local_files_only=True, trust_remote_code=False
            )
            self.model: Any = load(model, dtype, quantization, adapter, device_map="auto")
        except (ValueError, OSError, KeyError, ImportError) as error:
            raise BadModel("the model cannot be loaded", place=str(model), value=error) from error

    def answer(self, ask: Ask, listener: Listener) -> Told:
        """Say the answer piece by piece; what is returned has it whole. Refused where the context has no room."""
        inputs = self._encode(ask).to(self.model.device)
        length = inputs["input_ids"].shape[1]
        room = self._room(length, ask.max_new_tokens)
        begun = time.monotonic()
        with torch.inference_mode():
            made = self.model.generate(
                **inputs,
                generation_config=self._manner(ask.temperature, room),
                streamer=_Pieces(self.tokenizer, listener),
                stopping_criteria=StoppingCriteriaList([_Stop(listener)]),
            )[0, length:].tolist()
        ended = "stopped" if listener.stop.is_set() else "eos" if made and made[-1] in self._ends() else "length"
        text = self.tokenizer.decode(made, skip_special_tokens=True)
        return Told(kind="done", text=str(text), tokens=len(made), seconds=time.monotonic() - begun, ended=ended)

    def _encode(self, ask: Ask) -> Any:
        turns = [turn.model_dump() for turn in ask.messages]
        if self.tokenizer.chat_template is None:
            if len(turns) > 1:
                raise BadTemplate(
                    "the model has no chat template, so it can go on with a text but not hold a conversation",
                    remedy="ask one prompt with `luthier try`, without --system",
                )
            return self.tokenizer(turns[0]["content"], return_tensors="pt")
        require_bounded(str(self.tokenizer.get_chat_template()))
        try:
            return applied(
                self.tokenizer.apply_chat_template,
                turns,
                add_generation_prompt=True,
                return_tensors="pt",
                return_dict=True,
            )
        except TemplateError as error:
            raise BadTemplate(
                "the model's chat template refuses this conversation",
                value=error,
                remedy="leave --system out: some templates have no system message",
            ) from error

    def _room(self, length: int, wanted: int) -> int:
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or length + wanted
        if length >= context:
            raise Refused(
                "the conversation is longer than the model's context",
                value=f"{length} tokens, the model takes {context}",
                remedy="begin anew: /reset in a chat, a shorter prompt elsewhere",
            )
        return min(wanted, context - length)

    def _ends(self) -> list[int]:
        """The model's own ends, and the one that its chat template writes."""
        own = self.model.generation_config.eos_token_id
        ends = own if isinstance(own, list) else [own]
        return [end for end in dict.fromkeys([*ends, self.tokenizer.eos_token_id]) if end is not None]

    def _manner(self, temperature: float | None, room: int) -> GenerationConfig:
        manner = copy.deepcopy(self.model.generation_config)
        manner.max_new_tokens, manner.max_length = room, None
        manner.eos_token_id = self._ends() or None
        if manner.pad_token_id is None:
            manner.pad_token_id = self.tokenizer.pad_token_id
        if temperature == 0:
            manner.do_sample, manner.temperature, manner.top_p, manner.top_k = False, None, None, None
        elif temperature is not None:
            manner.do_sample, manner.temperature = True, temperature
        return manner


class _Pieces(BaseStreamer):  # type: ignore[misc]
    """Passes on each token's text at once. transformers' TextStreamer waits for a space, which JSON may never have."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, listener: Listener) -> None:
        self._tokenizer, self._listener = tokenizer, listener
        self._tokens: list[int] | None = None
        self._said = 0

    def put(self, value: torch.Tensor) -> None:
        """The prompt first, then a token at a time."""
        if self._tokens is None:
            self._tokens = []
            return
        self._tokens += value.flatten().tolist()
        text = self._text()
        # A character may be several tokens long; until it is whole it decodes to at most three of these marks.
        dangling = min(len(text) - len(text.rstrip("\ufffd")), 3)
        self._say(text[: len(text) - dangling])

    def end(self) -> None:
        """Whatever was held back."""
        self._say(self._text())

    def _text(self) -> str:
        return str(self._tokenizer.decode(self._tokens or [], skip_special_tokens=True))

    def _say(self, text: str) -> None:
        if len(text) > self._said:
            self._listener.tell(Told(kind="token", text=text[self._said :]))
            self._said = len(text)


class _Stop(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:  # noqa: ARG002
        return torch.full((input_ids.shape[0],), self._listener.stop.is_set(), device=input_ids.device)


def main() -> None:
    """Do what is asked until the pipes close; an error is said, and does not end the process."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    listener = Listener()
    speaker: Speaker | None = None
    for ask in listener.asked():
        try:
            if ask.do == "load":
                speaker = None  # the one before makes room first
                adapter = Path(ask.adapter) if ask.adapter else None
                speaker = Speaker(Path(ask.model), Path(ask.tokenizer), adapter, ask.base)
                listener.tell(Told(kind="ready", device=str(speaker.model.device)))
            elif speaker is None:
                raise Refused("no model is loaded yet")
            else:
                listener.tell(speaker.answer(ask, listener))
        except Exception as error:
            log.exception("%s failed", ask.do)
            listener.tell(Told(kind="failed", error=_explained(error).report()))


def _explained(error: Exception) -> LuthierError:
    if isinstance(error, LuthierError):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return OutOfMemory("the model does not fit into memory", value=error, remedy="free some, or use a larger GPU")
    return Crashed(f"the model failed: {type(error).__name__}: {str(error)[:400]}")


if __name__ == "__main__":
    main()
