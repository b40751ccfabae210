"""`luthier chat`: a conversation with a version, on a terminal or through a pipe."""

import sys
import uuid
from typing import Annotated

import typer

from infra.errors import Refused
from infra.launch.dialogue import Dialogue, Message, Told
from infra.launch.scratch import scratch
from infra.printable import clean
from pipelines.cli import screen, versions
from pipelines.cli.try_ import opening

HELP = """/reset         begin anew
/system TEXT   set the system message; without a text there is none
/exit          end, as Ctrl-D does; Ctrl-C stops an answer"""


def chat(
    version: versions.Spec,
    system: Annotated[str, typer.Option(help="a system message before the conversation")] = "",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="the longest answer, in tokens")] = 512,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="0 always takes the likeliest token; by default the model's own")
    ] = None,
) -> None:
    """Talk with a version: answers appear as they are made, and the conversation is kept until /reset."""
    found = versions.find(version)
    with scratch(found.platform.home / "work", f"chat-{uuid.uuid4().hex}") as room:
        one = versions.tuned(found, room)
        log = found.platform.home / "logs" / f"chat-{uuid.uuid4().hex}.log"
        with Dialogue(log, found.platform.silence_s) as talk:
            screen.progress(f"loading {found.version} …")
            device = talk.load(one.model, one.tokenizer, one.adapter, one.base).device
            screen.progress(f"{found.version} on {device}. /help tells the commands.")
            Conversation(talk, system, max_new_tokens, temperature).hold()


class Conversation:
    """What was said so far, and the loop that goes on with it."""

    def __init__(self, talk: Dialogue, system: str, max_new_tokens: int, temperature: float | None) -> None:
        self._talk, self._limit, self._temperature = talk, max_new_tokens, temperature
        self.turns = opening(system)

    def hold(self) -> None:
        """Read lines until they end or /exit."""
        while (line := _read()) is not None:
            text = line.strip()
            if text in ("/exit", "/quit"):
                return
            if text.startswith("/"):
                self._command(text)
            elif text:
                self._turn(text)

    def _command(self, text: str) -> None:
        verb, _, rest = text.partition(" ")
        if verb == "/reset":
            self.turns = [turn for turn in self.turns if turn.role == "system"]
        elif verb == "/system":
            self.turns = opening(rest.strip()) + [turn for turn in self.turns if turn.role != "system"]
        else:
            screen.note(HELP)

    def _turn(self, text: str) -> None:
        """One question and its answer; neither is kept where there was no answer."""
        asked = [*self.turns, Message(role="user", content=text)]
        try:
            told = self._answer(asked)
        except Refused as error:
            screen.note(str(error))
            return
        screen.say()
        if not told.text.strip():
            screen.note("(an answer without words)")
        else:
            self.turns = [*asked, Message(role="assistant", content=told.text)]

    def _answer(self, asked: list[Message]) -> Told:
        try:
            return self._talk.answer(asked, self._limit, self._temperature, _stream)
        except KeyboardInterrupt:
            told = self._talk.stop()
            screen.note(" (stopped)")
            return told


def _stream(piece: str) -> None:
    typer.echo(clean(piece), nl=False)
    sys.stdout.flush()


def _read() -> str | None:
    """The next line, or None at the end."""
    if not sys.stdin.isatty():
        return sys.stdin.readline() or None
    import readline  # noqa: F401, PLC0415 - gives input() its history and keys

    while True:
        try:
            return input("\n> ")
        except EOFError:
            screen.say()
            return None
        except KeyboardInterrupt:
            screen.note("\nCtrl-D or /exit ends")
