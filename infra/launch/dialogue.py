"""Talking with a process that holds a model: JSON lines over its pipes, in which no side outlives the other."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from infra.errors import Crashed, ErrorReport, Unreachable, revive
from infra.frozen import Frozen
from infra.launch.lifeline import MARK, end, started_by
from infra.models.adapted import Base

TALK = "infra.models.talk"
LEAVE_S = 5.0
_SECRET = ("AWS_", "MLFLOW_", "PREFECT_", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")  # of no use to a model that is here


class Message(Frozen):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Ask(Frozen):
    """What the process is asked: load a model, answer with it, or stop answering.

    A model is loaded as `base` says where it is the base of an adapter, with `adapter` on it unless that is empty.
    `temperature` 0 always takes the likeliest token; None leaves it to the model's generation_config.
    """

    do: Literal["load", "answer", "stop"]
    model: str = ""
    tokenizer: str = ""
    adapter: str = ""
    base: Base | None = None
    messages: tuple[Message, ...] = ()
    max_new_tokens: int = 256
    temperature: float | None = None


class Told(Frozen):
    """What it says. `text` is a piece of the answer, and in `done` all of it; `ended`: eos | length | stopped."""

    kind: Literal["ready", "token", "done", "stopped", "failed"]
    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    ended: str = ""
    device: str = ""
    error: ErrorReport | None = None

    @property
    def tokens_per_s(self) -> float:
        """New tokens a second, the prompt's time included."""
        return self.tokens / self.seconds if self.seconds else 0.0


class Dialogue:
    """Our side: the process is started with the block and gone after it.

    Raises what the process reports, Crashed where it ended without a word, Unreachable where it was silent for
    `silence_s`.
    """

    def __init__(self, log: Path, silence_s: float, module: str = "") -> None:
        self._log, self._silence_s, self._mark = log, silence_s, uuid.uuid4().hex
        self._heard: queue.Queue[bytes | None] = queue.Queue()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.launch.lifeline", module or TALK],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is ours to understand
            )
        threading.Thread(target=self._listen, daemon=True, name="dialogue").start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it go by closing its input; kill it where it does not, and whatever it started."""
        process = self._process
        with contextlib.suppress(BrokenPipeError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(LEAVE_S if kind is None else 0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        end(started_by(process.pid, self._mark), grace_s=0)

    def load(self, model: Path, tokenizer: Path, adapter: Path | None = None, base: Base | None = None) -> Told:
        """Have it load a model, in place of the one it has; one that is the base of an adapter as `base` says."""
        ask = Ask(do="load", model=str(model), tokenizer=str(tokenizer), adapter=str(adapter or ""), base=base)
        return self._until(ask, "ready", lambda _: None)

    def answer(
        self,
        messages: list[Message],
        max_new_tokens: int,
        temperature: float | None,
        on_text: Callable[[str], None] = lambda _: None,
    ) -> Told:
        """An answer; `on_text` gets its pieces as they come. After a KeyboardInterrupt in here, call stop()."""
        ask = Ask(do="answer", messages=tuple(messages), max_new_tokens=max_new_tokens, temperature=temperature)
        return self._until(ask, "done", on_text)

    def stop(self) -> Told:
        """End an answer that is being given; what was said of it by then, `stopped` with no text if it was over."""
        said: list[Told] = []
        self._send(Ask(do="stop"))
        while (told := self._hear()).kind != "stopped":
            if told.kind == "done":
                said.append(told)
        return said[-1] if said else told

    def _until(self, ask: Ask, kind: str, on_text: Callable[[str], None]) -> Told:
        self._send(ask)
        while (told := self._hear()).kind != kind:
            on_text(told.text)
        return told

    def _send(self, ask: Ask) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is heard, with its reason, where the answer is awaited
            self._process.stdin.write(ask.model_dump_json().encode() + b"\n")
            self._process.stdin.flush()

    def _hear(self) -> Told:
        try:
            line = self._heard.get(timeout=self._silence_s)
        except queue.Empty:
            raise Unreachable(
                f"the model has said nothing for {self._silence_s:.0f} s",
                place=str(self._log),
                remedy="LUTHIER_SILENCE_S sets how long it may take; a smaller model or a GPU is quicker",
            ) from None
        if line is None:
            raise Crashed(
                f"the process that held the model ended (exit status {self._process.wait()})",
                place=str(self._log),
                value=self._log.read_bytes()[-400:].decode(errors="replace").strip(),
                remedy="-9 is often the kernel out of memory: the model has to fit beside what else runs here",
            )
        told = Told.model_validate_json(line)
        if told.error is not None:
            raise revive(told.error)
        return told

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with contextlib.closing(self._process.stdout) as lines:
            for line in lines:
                self._heard.put(line)
        self._heard.put(None)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_SECRET)}
        # Threads that spin while they wait take the cores from each other.
        kept.setdefault("OMP_WAIT_POLICY", "passive")
        own = {"HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": "1", "TOKENIZERS_PARALLELISM": "false", MARK: self._mark}
        return kept | own


class Listener:
    """The process's side: what it is asked, in order, and whether it is to stop. It ends when its input closes."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._asked: queue.Queue[Ask] = queue.Queue()
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # whatever a library prints belongs to the log
        threading.Thread(target=self._read, daemon=True, name="listener").start()

    def asked(self) -> Iterator[Ask]:
        """One thing after the other; a stop that finds nothing to end is answered here."""
        while True:
            ask = self._asked.get()
            if ask.do == "stop":
                self.stop.clear()
                self.tell(Told(kind="stopped"))
            else:
                yield ask

    def tell(self, told: Told) -> None:
        """Say something, at once."""
        self._out.write(told.model_dump_json().encode() + b"\n")
        self._out.flush()

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            ask = Ask.model_validate_json(line)
            if ask.do == "stop":
                self.stop.set()
            self._asked.put(ask)
        os._exit(0)
