"""A person decides on the page of a run whether its version goes into production: a real server, worker, browser and MLflow.

The picture of the docs is taken anew by

    PICTURES=docs/pictures .venv/bin/pytest tests/e2e/test_approval.py -m slow
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from infra.settings import Settings
from infra.storage.receipt import Receipt
from pipelines.evidence import WAITS
from tests import registered
from tests.e2e import browsing
from tests.e2e.asking import Asking, asking
from tests.e2e.test_production import follow

ONE = f"{registered.NAME}/3"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """A server, and a model of which version 2 is in production."""
    root = tmp_path_factory.mktemp("approval")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("LUTHIER_", "MLFLOW_"))]:
            patch.delenv(name)
        patch.setenv("LUTHIER_HOME", str(root / "home"))
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        made = registered.held_and_promoted(root)
        made.on = Settings().platform()
        with asking(root, made) as server:
            yield server


@pytest.fixture(scope="module")
def third(server: Asking) -> Receipt:
    """Version 3, shown to be good enough beside version 2, which is in production."""
    server.promote(f"{registered.NAME}/2")
    outcome, version = follow(server.on, server.made, 97)
    assert (outcome, version.summary["version"]) == ("promote", 3)
    return version


@pytest.mark.slow
@browsing.NEEDS_CHROMIUM
def test_a_person_approves_on_the_runs_page(server: Asking, third: Receipt, tmp_path: Path) -> None:
    run = server.begin(third)
    server.reached(run, "Suspended")
    assert server.events(run, WAITS)[0] == WAITS, "a heartbeat after it would have the run marked as crashed"
    with browsing.chromium() as context:
        page, at = context.new_page(), f"{server.pages}/runs/flow-run/{run}"
        browsing.visit(page, at, page.get_by_role("button", name="Resume"))
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("heading", name=f"Put {ONE} into production?")).to_be_visible()
        expect(page.get_by_text(f"Compared with {registered.NAME}/2, which is in production.")).to_be_visible()
        expect(page.get_by_role("table").first.get_by_text("0.97")).to_be_visible()
        fill_in(page, "approve", "Ada", "right on every ticket of last week")
        browsing.take(page, Path(os.environ.get("PICTURES") or tmp_path) / "approval.png", 1180)
        submit(page)
        said = server.reached(run, "Completed")["message"]
        browsing.visit(page, at, page.get_by_text("Completed").first)
    assert said.startswith(f"{ONE} is in production, approved by Ada (in Prefect, run ")
    assert f"before it was {registered.NAME}/2" in said
    one = server.version(third)
    assert "champion" in one.aliases
    assert one.tags["luthier.promoted_by"].startswith("Ada (in Prefect, run ")
    assert one.tags["luthier.promoted_why"] == "gate: promote; right on every ticket of last week"


def fill_in(page: Page, decision: str, name: str, comment: str) -> None:
    """Fill in the form, and leave it open."""
    fields = page.locator(".schema-form-property")
    fields.nth(0).locator(".p-select-button__control").press("ArrowDown")
    page.get_by_role("option", name=decision).click()
    fields.nth(1).get_by_role("textbox").fill(name)
    fields.nth(2).get_by_role("textbox").fill(comment)


def submit(page: Page) -> None:
    """Send the form; on sqlite a busy server refuses it at times, and then it stays open, to be sent again."""
    end = time.monotonic() + 120
    while True:
        page.get_by_role("button", name="Submit").click()
        try:
            expect(page.locator(".schema-form-property").first).to_be_hidden(timeout=10_000)
        except AssertionError:
            if time.monotonic() > end:
                raise
        else:
            return
