"""What a preview looks like in a pipe and on a terminal."""

import sys

import pytest

from pipelines.cli import data
from tasks.data.preview import Answer, Part, Shown

ANSWER = Answer(
    rows=(
        Shown(
            place="rows.jsonl:1",
            tokens=7,
            learned=2,
            parts=(
                Part(text="<s>", weight=0),
                Part(text="2+2=\x1b[31m", weight=0.1),
                Part(text="4</s>", weight=1, learned=True),
            ),
        ),
        Shown(
            place="rows.jsonl:2",
            tokens=900,
            learned=1,
            fate="dropped",
            parts=(Part(text="x" * 9000, weight=1, learned=True),),
        ),
        Shown(place="rows.jsonl:3", reason="is not JSON", sample="{what"),
    ),
    unused_columns=("id",),
)


def test_in_a_pipe_what_is_learned_stands_in_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    data._tell(ANSWER, 512)
    told = capsys.readouterr()
    assert "rows.jsonl:1  7 tokens, 2 of them learned\n<s>2+2=[31m⟦4</s>⟧\n" in told.out, "and nothing steers"
    assert "900 tokens, 1 of them learned; dropped, as max_length is 512" in told.out
    assert "… 7000 characters …" in told.out
    assert "rows.jsonl:3  cannot be used: is not JSON" in told.out
    assert "\n{what\n" in told.out
    assert "columns that are not used: id" in told.err
    totals = told.out.split("Altogether")[1]
    for said in ("rows looked at  3", "shortest 7, median 900, longest 900", "cannot be used  1: is not JSON"):
        assert said in totals
    assert "dropped         1 above max_length" in totals


def judged(*tokens: tuple[int, bool]) -> Shown:
    """A row with an answer of so many tokens each, and whether it was rejected."""
    parts = [Part(text="text", weight=1, learned=True, rejected=bad, tokens=count) for count, bad in tokens]
    learned = sum(count for count, _ in tokens)
    return Shown(place="rows.jsonl:1", tokens=9 + learned, learned=learned, parts=tuple(parts))


@pytest.mark.parametrize(
    ("rows", "about", "answers"),
    [
        (
            [judged((6, False), (2, True)), judged((3, False), (4, True))],
            "17 tokens with both answers, 6 of them in the chosen one, 2 in the rejected",
            "chosen 4.5 tokens on average, rejected 3.0 tokens on average, the chosen one is longer in 50% of the pairs",
        ),
        (
            [judged((2, True)), judged((5, False))],
            "2 of them in an answer that was not liked",
            "liked 5.0 tokens on average, not liked 2.0 tokens on average",
        ),
    ],
)
def test_lengths_of_judged_answers_are_told(
    rows: list[Shown], about: str, answers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data._tell(Answer(rows=tuple(rows)), 512)
    told = capsys.readouterr().out
    assert f"{about}\n⟦" in told
    assert f"answers         {answers}\n" in told
    assert "⟦-text-⟧" in told


@pytest.mark.parametrize(
    ("chat", "asked_as_chat", "said"),
    [
        (False, True, "these rows are plain text, but the evaluation asks through the chat template"),
        (True, False, "these rows are conversations, but the evaluation asks without the chat template"),
        (True, True, ""),
        (False, False, ""),
    ],
)
def test_rows_of_another_kind_than_the_evaluation_asks_are_told(
    chat: bool, asked_as_chat: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (Shown(place="rows.jsonl:1", chat=chat, parts=(Part(text="x", weight=1),)),)
    data._compare(Answer(rows=rows), asked_as_chat)
    told = capsys.readouterr().err
    assert (said in told) if said else (told == "")


def test_on_a_terminal_it_is_green(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    data._tell(ANSWER, 512)
    told = capsys.readouterr().out
    assert "\x1b[4;32m4</s>\x1b[0m" in told
    assert "⟦" not in told


def test_what_is_odd_about_a_row_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    row = Shown(
        place="rows.jsonl:1", tokens=9, warnings=("no token of it is learned",), parts=(Part(text="x", weight=0),)
    )
    data._tell(Answer(rows=(row,)), 512)
    told = capsys.readouterr()
    assert "look at it: no token of it is learned" in told.err
    assert "with warnings" in told.out
