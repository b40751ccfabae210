"""What a person sees of a finished run: the pages of Prefect and MLflow in a real browser, and pictures of them.

The pictures go into the test's folder, or, to take those of the docs anew (fonts-liberation gives them their letters):

    PICTURES=docs/pictures .venv/bin/pytest tests/e2e/test_pages.py
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.e2e import browsing, tickets
from tests.e2e.browsing import take, visit
from tests.e2e.stack import Stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.s3,
    browsing.NEEDS_CHROMIUM,
]

ARTIFACTS = ("overlap-report", "data-report", "training-report", "verdict", "before-after", "model-card", "links")


@pytest.fixture(scope="module")
def browser(shared: Stack) -> Iterator[BrowserContext]:
    with browsing.window(shared) as context:
        yield context


@pytest.fixture
def page(browser: BrowserContext) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture
def prefect(page: Page, stack: Stack) -> Page:
    """Prefect's first page."""
    visit(page, stack.variables["PREFECT_API_URL"].removesuffix("/api"), page.get_by_role("link", name="Deployments"))
    return page


@pytest.fixture(scope="module")
def addresses(browser: BrowserContext, shared: Stack, finished: str) -> dict[str, str]:
    """Of the finished run's page, and of its artifacts by key, found from Prefect's first page."""
    page = browser.new_page()
    prefect = shared.variables["PREFECT_API_URL"].removesuffix("/api")
    runs = page.get_by_role("link", name="Runs", exact=True)
    visit(page, prefect, runs)
    runs.click()
    (name,) = re.findall(r"Created flow run '(.+)'", finished)
    page.get_by_role("link", name=name).click()
    page.get_by_role("tab", name="Artifacts").click()
    cards = {key: card(page, key).get_attribute("href") for key in ARTIFACTS}
    found = {"run": page.url, **{key: f"{prefect}{path}" for key, path in cards.items()}}
    page.close()
    return found


def card(page: Page, key: str) -> Locator:
    """The card of a key on a run's page; by its address, as the description of another may have the key's words."""
    return page.locator(f'a[href$="/artifacts/key/{key}"]').first


@pytest.fixture
def version(page: Page, addresses: dict[str, str]) -> Page:
    """MLflow's page of the version that the run made, by the link on the run."""
    open_artifact(page, addresses["links"])
    page.get_by_role("link", name=f"/models/{tickets.NAME}/versions/").click()
    expect(page.get_by_role("heading", name=re.compile(r"Version \d"))).to_be_visible()
    return page


def open_artifact(page: Page, address: str) -> None:
    """The newest artifact of a key, by the key's address."""
    newest = page.get_by_role("link", name=re.compile(r"^[0-9a-f]{8}$")).first
    visit(page, address, newest)
    newest.click()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where the pictures of the docs go."""
    return Path(os.environ.get("PICTURES") or tmp_path)


def test_the_deployment_can_be_run_from_a_form(prefect: Page, pictures: Path) -> None:
    prefect.get_by_role("link", name="Deployments").click()
    mine = prefect.get_by_role("row").filter(has=prefect.get_by_role("link", name="finetune"))
    expect(mine.get_by_text("Ready", exact=True)).to_be_visible()
    mine.get_by_role("link", name="quickstart").click()
    prefect.get_by_role("button", name="Run", exact=True).click()
    prefect.get_by_role("menuitem", name="Custom run").click()
    expect(prefect.get_by_label("recipe")).to_have_value("quickstart")
    for told in ("path of a YAML file", "Fields that win over the recipe's"):
        expect(prefect.get_by_text(told)).to_be_visible()
    expect(prefect.get_by_role("button", name="Submit")).to_be_enabled()
    take(prefect, pictures / "form.png", 740)


def test_a_finished_run_shows_its_stages_and_artifacts(page: Page, addresses: dict[str, str], pictures: Path) -> None:
    visit(page, addresses["run"], page.get_by_role("tab", name="Artifacts"))
    expect(page.get_by_text("Completed").first).to_be_visible()
    expect(page.get_by_text("11 Task runs")).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    for key in ARTIFACTS:
        expect(card(page, key)).to_be_visible()
    expect(page.get_by_text("Loss curve and figures")).to_be_visible()
    take(page, pictures / "run.png", 1040)


@pytest.mark.parametrize(
    ("artifact", "heading", "cells", "picture"),
    [
        ("data-report", "Data", ("rows read", "48", "to train on"), "row lengths"),
        ("training-report", "Training", ("eval_loss", "qlora", "tokens_per_s"), "loss"),
        ("before-after", f"{tickets.NAME} version 1: promoted to candidate", ("teams", "exact_match", "0.000"), ""),
        ("verdict", "Promote: every bar was passed.", ("≥ 0.5, ≥ base + 0.3", "passed"), ""),
    ],
)
def test_an_artifact_reads_well(
    page: Page,
    addresses: dict[str, str],
    artifact: str,
    heading: str,
    cells: tuple[str, ...],
    picture: str,
    tmp_path: Path,
) -> None:
    open_artifact(page, addresses[artifact])
    expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    for cell in cells:
        expect(page.get_by_role("table").get_by_text(cell, exact=True).first).to_be_visible()
    if picture:
        shown = page.get_by_role("img", name=picture)
        expect(shown).to_be_visible()
        assert shown.evaluate("image => image.decode().then(() => image.naturalWidth)") > 400
    take(page, tmp_path / f"{artifact}.png", 960)


@pytest.mark.usefixtures("finished")
def test_the_data_report_shows_rows_with_their_mask(page: Page, stack: Stack, pictures: Path, tmp_path: Path) -> None:
    stack("data", "report", tickets.NAME, "--to", str(tmp_path / "report.html"), **stack.variables)
    page.set_content((tmp_path / "report.html").read_text())
    expect(page.get_by_role("heading", name="Rows as they are trained on")).to_be_visible()
    learned = page.locator("ins.learned")
    assert learned.count() == 20
    assert learned.first.evaluate("one => getComputedStyle(one).textDecorationLine") == "underline"
    page.get_by_role("heading", name="Lengths").scroll_into_view_if_needed()
    take(page, pictures / "data.png", 1180)


def test_the_version_has_its_card_alias_and_tags(version: Page, pictures: Path) -> None:
    expect(version.get_by_text("@ candidate")).to_be_visible()
    expect(version.get_by_text("Verdict: promote.")).to_be_visible()
    for heading in ("Before and after", "How it was made", "How to use it"):
        expect(version.get_by_role("heading", name=heading)).to_be_visible()
    take(version, pictures / "version.png", 800)
    for tag in ("luthier.verdict", "luthier.base_sha256", "luthier.content_sha256"):
        expect(version.get_by_text(tag).first).to_be_visible()


def test_the_versions_run_has_a_loss_curve(version: Page, pictures: Path) -> None:
    version.get_by_role("link", name="train-").click()
    expect(version.get_by_text("Finished")).to_be_visible()
    expect(version.get_by_role("link", name=tickets.NAME)).to_be_visible()
    version.get_by_role("tab", name="Model metrics").click()
    version.get_by_placeholder("Search metric charts").fill("loss")
    for curve in ("loss", "eval_loss"):
        expect(version.get_by_text(re.compile(rf"^train-\w+ \({curve}\)$"))).to_be_visible()
    take(version, pictures / "curves.png", 640)
