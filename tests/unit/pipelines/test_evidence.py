"""What people read before they decide and after: nothing in it acts, and it says what can be done next."""

from datetime import UTC, datetime

from pipelines import evidence
from tasks.registry.config import DecisionConfig
from tasks.registry.standing import Standing

ASKED = DecisionConfig(name="tickets", version=4, verdict="v" * 64)
UNTIL = datetime(2026, 11, 28, 16, 5, tzinfo=UTC)
EVIL = "<img src=x onerror=alert(1)> ![p](http://e/p.png) [click](http://e) \x1b[2J"


def test_the_question_says_what_is_compared_until_when_and_shows_the_verdict_below() -> None:
    text = evidence.question(ASKED, "tickets/3", "[page](http://m/4)", "# Promote: good.\n\n| a | b |\n", UNTIL)
    assert text.startswith("### Put tickets/4 into production?\n")
    assert "- Compared with tickets/3, which is in production." in text
    assert "[page](http://m/4)" in text
    assert "2026-11-28 16:05 UTC" in text
    assert text.endswith("\n\n#### Promote: good.\n\n| a | b |\n")
    first = evidence.question(ASKED, "", "", "# Promote", UNTIL)
    assert "Nothing was in production" in first
    assert "MLflow" not in first


def test_what_comes_from_data_becomes_no_link_picture_or_html() -> None:
    text = evidence.question(ASKED, "", "", f"# Promote\n\n| {EVIL} |", UNTIL, note=f"taken back by {EVIL}")
    assert text.count(r"\<img src=x onerror=alert(1)\>") == 2
    assert text.count(r"!\[p\](http://e/p.png) \[click\](http://e)") == 2
    assert "\x1b" not in text


def test_each_end_says_what_can_be_done() -> None:
    by = {"by": "Ada", "at": "2026-11-25T16:00:00+00:00", "why": "fewer complaints"}
    promoted = evidence.settled(ASKED, Standing(state="promoted", before=3, **by))
    assert promoted.startswith("tickets/4 is in production, approved by Ada: fewer complaints; before it was tickets/3")
    assert "`luthier rollback tickets`" in promoted
    assert evidence.settled(ASKED, Standing(state="promoted", by="Ada")).endswith("before it was nothing")
    refused = evidence.settled(ASKED, Standing(state="refused", **by))
    assert refused.startswith("tickets/4 was refused by Ada, 2026-11-25T16:00:00+00:00: fewer complaints;")
    assert "`luthier promote tickets/4`" in refused
    there = Standing(state="in production", by="Bob", why="gate: promote")
    assert "already, by Bob: gate: promote; nothing" in evidence.settled(ASKED, there)
    assert evidence.awaiting("tickets/4") == "tickets/4 awaits approval: `luthier promote tickets/4`"
    assert evidence.held("tickets/4", "hold", "A bar was missed.").endswith("production: hold. A bar was missed.")
