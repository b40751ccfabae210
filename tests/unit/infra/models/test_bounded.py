"""A template that never ends is ended: in any thread, however it spends, and what goes on afterwards is not hit."""

import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from infra.errors import BadTemplate
from infra.models import bounded
from infra.models.bounded import Overrun, applied, require_bounded, within

ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
DOUBLING = "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}"
SQUARES = "{% set ns = namespace(x=7) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}"
HUGE = ["{{ 'a' * 10**9 }}", "{{ '%1000000000d' % 1 }}", "{{ 'a' | center(10**9) }}", DOUBLING]


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "SECONDS", 0.2)


def render(text: str) -> str:
    return ImmutableSandboxedEnvironment().from_string(text).render()


def busy(seconds: float) -> int:
    begun, count = time.thread_time(), 0
    while time.thread_time() < begun + seconds:
        count += 1
    return count


@pytest.mark.parametrize("text", [ENDLESS, SQUARES])
def test_work_without_an_end_is_ended_and_nothing_afterwards(text: str) -> None:
    limit = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(Overrun, match="works for longer than 0 s"):
        within(lambda: render(text))
    assert busy(0.6)
    assert resource.getrlimit(resource.RLIMIT_DATA) == limit
    assert within(lambda: render("{{ 1 + 1 }}")) == "2"


def test_any_thread_can_be_ended_and_the_others_go_on() -> None:
    with ThreadPoolExecutor(2) as pool:
        ended, going = pool.submit(lambda: within(lambda: render(ENDLESS))), pool.submit(busy, 0.6)
        with pytest.raises(Overrun):
            ended.result(60)
        assert going.result(60)


def test_what_catches_everything_is_ended_too() -> None:
    def stubborn() -> None:
        while True:
            try:
                busy(10)
            except Exception:
                continue

    with pytest.raises(Overrun):
        within(stubborn)


def test_long_conversations_have_longer() -> None:
    assert within(lambda: busy(0.6), characters=2 * bounded.PER_SECOND)


@pytest.mark.skipif(sys.platform != "linux", reason="bounds of memory are Linux's")
def test_a_gigabyte_is_refused_before_it_is_taken() -> None:
    ask = f"""
from pathlib import Path
from jinja2.sandbox import ImmutableSandboxedEnvironment
from infra.models.bounded import Overrun, within
for text in {HUGE!r}:
    try:
        within(lambda: ImmutableSandboxedEnvironment().from_string(text).render())
    except Overrun as error:
        print(error)
# ru_maxrss would count the process that this one was forked from.
print(int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) >> 10)
"""
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=120, check=True).stdout
    *errors, peak = told.splitlines()
    assert errors == ["takes more than 512 MB of memory"] * len(HUGE)
    assert int(peak) < 700


def test_a_models_own_template_is_named() -> None:
    def endless(_: object, *, add_generation_prompt: bool) -> str:
        assert add_generation_prompt
        return render(ENDLESS)

    with pytest.raises(BadTemplate, match="works for longer than") as caught:
        applied(endless, [{"role": "user", "content": "hi"}], add_generation_prompt=True)
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["{{ x ** 2 }}", "{{ 10 ** 10 ** 9 }}", "{{ (2) ** (9) }}", "{{ 2 ** 999999999 }}"])
def test_powers_that_may_never_end_are_refused(text: str) -> None:
    with pytest.raises(BadTemplate, match="to a power") as caught:
        require_bounded("a\n" + text)
    assert caught.value.value == "line 2"


@pytest.mark.parametrize("text", ["{{ 10**9 }}", "{{ f(**more) }}", "{{ f(a, **more) }}", "a ** b", "{{ broken", ""])
def test_what_is_no_such_power_is_left_alone(text: str) -> None:
    require_bounded(text)
