"""A real browser on the servers of a stack: a window that has logged in to both, and pictures of what it shows."""

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, HttpCredentials, Locator, Page, Route, expect, sync_playwright

from tests.e2e.stack import Stack

CHROMIUM = Path("/usr/bin/chromium")
NEEDS_CHROMIUM = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}: apt-get install chromium")
QUIET = ["gpu", "quic", "background-networking", "component-update", "sync"]
DEADLINE_MS = 60_000  # a busy machine draws slowly
LARGEST = 120_000  # bytes of a picture


@contextmanager
def chromium(**options: Any) -> Iterator[BrowserContext]:
    """A window that gets nothing from other machines."""
    expect.set_options(timeout=DEADLINE_MS)
    quiet = ["--no-first-run", *(f"--disable-{what}" for what in QUIET)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet, chromium_sandbox=os.geteuid() != 0)
        context = browser.new_context(viewport={"width": 1280, "height": 960}, **options)
        context.set_default_timeout(DEADLINE_MS)
        context.route("**/*", only_loopback)
        yield context
        browser.close()


@contextmanager
def window(stack: Stack) -> Iterator[BrowserContext]:
    """One that has logged in to both servers of a stack."""
    known = stack.variables
    password = HttpCredentials(
        username=known["MLFLOW_TRACKING_USERNAME"],
        password=known["MLFLOW_TRACKING_PASSWORD"],
        origin=known["MLFLOW_TRACKING_URI"],
    )
    with chromium(http_credentials=password) as context:
        log_in(context.new_page(), known["PREFECT_API_URL"].removesuffix("/api"), known["PREFECT_API_AUTH_STRING"])
        settle(context.new_page(), known["MLFLOW_TRACKING_URI"])
        yield context


def only_loopback(route: Route) -> None:
    """The pages would also ask servers of their makers, which a test must not wait for."""
    if route.request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
        route.continue_()
    else:
        route.abort()


def visit(page: Page, address: str, wanted: Locator) -> None:
    """Open an address; a page that a busy server has failed is opened anew, as a person would."""
    end = time.monotonic() + 2 * DEADLINE_MS / 1000
    while True:
        page.goto(address)
        try:
            expect(wanted).to_be_visible(timeout=DEADLINE_MS / 3)
        except AssertionError:
            if time.monotonic() > end:
                raise
        else:
            return


def log_in(page: Page, prefect: str, auth: str) -> None:
    """Prefect shows nothing before it was given the auth string, and remembers it."""
    asked = page.get_by_placeholder("admin:pass")
    visit(page, prefect, asked)
    asked.fill(auth)
    page.get_by_role("button", name="Login").click()
    expect(page.get_by_role("link", name="Deployments")).to_be_visible()
    page.close()


def settle(page: Page, mlflow: str) -> None:
    """MLflow begins with pages for something else and an assistant, and remembers that neither is wanted."""
    training = page.get_by_role("button", name="Model training")
    visit(page, mlflow, training)
    training.click()
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.get_by_placeholder("Ask a question")).to_be_hidden()
    page.close()


def take(page: Page, place: Path, height: int) -> None:
    """A picture of the window in a palette of 256 colours, small enough for the docs."""
    page.set_viewport_size({"width": 1280, "height": height})
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(place, optimize=True)
    assert place.stat().st_size <= LARGEST
