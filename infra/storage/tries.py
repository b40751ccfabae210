"""Requests to a server that may be away: tried again until a deadline, a few at once where the line is quick."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from functools import partial
from typing import TypeVar, cast

from botocore.exceptions import BotoCoreError, ClientError

from infra.storage.weather import WEATHER, classify, denied, unreachable

T = TypeVar("T")
Request = tuple[Callable[[], T], str]  # what to do, once or again, and what to call it

IN_FLIGHT = 3  # blocks on their way at once: more is no faster on one machine, and each takes its memory


class Tries:
    """`deadline_s` bounds a request with all its tries, `request_s` one try, whatever it waits for."""

    def __init__(self, uri: str, bucket: str, deadline_s: float, request_s: float) -> None:
        self._uri, self._bucket, self._deadline_s, self._request_s = uri, bucket, deadline_s, request_s

    def done(self, request: Request[T]) -> T:
        """What one request gives."""
        return self._tried(*request, threading.Event())[0]

    def in_order(self, requests: Iterator[Request[T]]) -> Generator[T, None, None]:
        """What the requests give, in their order, with a few under way at once where the line is quick.

        On a slow line several would only take each other's time, until each is over its own.
        """
        under_way, leave = deque[Future[tuple[T, float]]](), threading.Event()
        at_once = 1
        try:
            for request in requests:
                under_way.append(_apart(partial(self._tried, *request, leave)))
                while len(under_way) >= at_once:
                    result, seconds = under_way.popleft().result()
                    at_once = IN_FLIGHT if seconds < self._request_s / (2 * IN_FLIGHT) else 1
                    yield result
            while under_way:
                yield under_way.popleft().result()[0]
        finally:
            leave.set()

    def _tried(self, call: Callable[[], T], what: str, leave: threading.Event) -> tuple[T, float]:
        """Try until it works, until another try cannot help, or until the deadline: then Unreachable says what was last.

        The result, and how many seconds the last try took. No try is begun after `leave` is set.
        """
        end = time.monotonic() + self._deadline_s
        pause, problem = 0.2, cast(Exception | None, None)
        while True:
            began = time.monotonic()
            seconds = min(self._request_s, max(end - began, 0.1))
            try:
                return _apart(call).result(seconds), time.monotonic() - began
            except TimeoutError:
                # A try cut short by the deadline says less than the one before.
                problem = problem or TimeoutError(f"no answer within {seconds:.0f} s")
            except WEATHER as error:
                problem = error
            except (BotoCoreError, ValueError) as error:  # no credentials, no such profile, an endpoint that is no URL
                raise denied(self._uri, str(error), what) from error
            except ClientError as error:
                classify(error, self._uri, self._bucket, what)
                problem = error
            if time.monotonic() + pause > end or leave.wait(pause):
                raise unreachable(self._uri, self._deadline_s, what, problem) from problem
            pause = min(pause * 2, 10.0)


def _apart(call: Callable[[], T]) -> Future[T]:
    """What a call will give, made in a thread that nobody has to wait for: neither its caller nor the end of the process."""
    given = Future[T]()

    def work() -> None:
        try:
            given.set_result(call())
        except BaseException as error:
            given.set_exception(error)

    threading.Thread(target=work, daemon=True, name="s3").start()
    return given
