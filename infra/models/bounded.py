"""Chat templates are programs of others: what one may spend, in computing and in memory, before it is ended.

Jinja's sandbox keeps a template from the machine, and not from working for ever or writing a gigabyte.
"""

import ctypes
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import jinja2

from infra.errors import BadTemplate

SECONDS = 3.0  # of computing, for one call; a batch of rows takes a tenth of that
MEMORY = 512 * 2**20  # bytes on top of what the process has
PER_SECOND = 2**21  # characters of contents that give it a second more, and
PER_CHARACTER = 4  # bytes more: long conversations are no fault of the template
TICK_S = 0.25
AGAIN_S = 1.0  # of computing, after which one that caught even that is told again
LARGEST_POWER = 64
_PAGE = resource.getpagesize()

T = TypeVar("T")


class Overrun(Exception):
    """A template was ended; the text says what it spent."""


class _Stop(BaseException):
    """Raised in the thread that works too long. No Exception: templates and Jinja answer some of these by themselves."""


def within(work: Callable[[], T], characters: int = 0) -> T:
    """What `work` returns, a rendering of that many characters of contents; Overrun where it spends more than that is worth.

    The bounds hold for a call of a Python function; one long step in C would be waited for, so see `require_bounded`.
    """
    seconds, ident = SECONDS + characters / PER_SECOND, threading.get_ident()
    if ident in _watched:
        return work()
    try:
        with Limited(characters):
            try:
                _watch(ident, time.thread_time() + seconds)
                return work()
            finally:
                _release(ident)
    except _Stop:
        _release(ident)
        raise Overrun(f"works for longer than {seconds:.0f} s") from None
    except MemoryError:
        raise Overrun(f"takes more than {(MEMORY + PER_CHARACTER * characters) >> 20} MB of memory") from None


def applied(apply: Callable[..., T], messages: list[dict[str, str]], **given: Any) -> T:
    """What `apply`, a tokenizer's apply_chat_template, makes of them; BadTemplate where its template has no end."""
    try:
        return within(lambda: apply(messages, **given), sum(len(str(message.get("content"))) for message in messages))
    except Overrun as error:
        raise BadTemplate(
            f"the model's chat template {error}",
            place="chat_template.jinja",
            remedy="prepare the data with another (data.chat_template): a trained model carries that one",
        ) from error


def require_bounded(text: str) -> None:
    """BadTemplate for powers of anything but small numbers: such a number is made in one step, which nothing ends."""
    try:
        tokens = [
            (line, kind, value)
            for line, kind, value in jinja2.Environment().lex(text)
            if kind not in ("whitespace", "data")
        ]
    except jinja2.TemplateSyntaxError:
        return  # whoever renders says what is wrong with it
    for at, (line, kind, value) in enumerate(tokens):
        before = tokens[at - 1][2] if at else ""
        if kind != "operator" or value != "**" or before in ("(", ","):  # ** before a name passes arguments on
            continue
        ends = [token[1:] for token in (*tokens[at - 1 : at], *tokens[at + 1 : at + 2])]
        beside = [token[2] for token in (*tokens[max(0, at - 2) : at - 1], *tokens[at + 2 : at + 3])]
        small = all(kind == "integer" and int(value.replace("_", "")) <= LARGEST_POWER for kind, value in ends)
        if not small or "**" in beside:
            raise BadTemplate(
                "the chat template raises something to a power, which may never end",
                place="data.chat_template",
                value=f"line {line}",
                remedy=f"write the number itself; powers of numbers up to {LARGEST_POWER} are fine",
            )


_lock = threading.Lock()
_watched: dict[int, float] = {}  # threads, and the time of their own computing at which they are ended
_stopped: set[int] = set()
_watcher: list[threading.Thread] = []


def _watch(ident: int, until: float) -> None:
    with _lock:
        if not _watcher or not _watcher[0].is_alive():
            _watcher[:] = [threading.Thread(target=_look, daemon=True, name="templates")]
            _watcher[0].start()
        _watched[ident] = until


def _release(ident: int) -> None:
    with _lock:
        _watched.pop(ident, None)
        if ident in _stopped:
            _stopped.discard(ident)
            _raise(ident, None)  # what has not arrived by now must not arrive later


def _look() -> None:
    while True:
        time.sleep(TICK_S)
        with _lock:  # a thread that is watched cannot end meanwhile
            for ident, until in _watched.items():
                spent = time.clock_gettime(time.pthread_getcpuclockid(ident))
                if spent > until:
                    _stopped.add(ident)
                    _watched[ident] = spent + AGAIN_S
                    _raise(ident, _Stop)


def _raise(ident: int, kind: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(kind) if kind else None)


_limits = threading.Lock()
_statm: dict[int, int] = {}  # of this process: opening it anew would cost more than all else here


class Limited:
    """Allocations beyond what is there and what renderings of so many characters are worth fail; on Linux, as others do
    not count them. Many calls of `within` cost less inside of one."""

    def __init__(self, characters: int) -> None:
        self._allowed = MEMORY + PER_CHARACTER * characters
        self._mine = False  # where a limit is set, by whatever thread, it holds for all

    def __enter__(self) -> None:
        self._mine = sys.platform == "linux" and _limits.acquire(blocking=False)
        if self._mine:
            self._before = resource.getrlimit(resource.RLIMIT_DATA)
            soft, hard = self._before
            limit = _data() + self._allowed
            resource.setrlimit(
                resource.RLIMIT_DATA, (limit if soft == resource.RLIM_INFINITY else min(limit, soft), hard)
            )

    def __exit__(self, *_: object) -> None:
        if self._mine:
            resource.setrlimit(resource.RLIMIT_DATA, self._before)
            _limits.release()


def _data() -> int:
    """Bytes of this process's memory that is its own."""
    if os.getpid() not in _statm:
        _statm[os.getpid()] = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    return int(os.pread(_statm[os.getpid()], 200, 0).split()[5]) * _PAGE
