"""Near copies: what signatures estimate, which rows are found at which similarity, and that nothing else decides."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.rows import Chat, Plain
from tasks.data.similar import NOTHING, PLACES, banding, copies, repetition, signatures
from tasks.data.texts import compared

ROOT = Path(__file__).parents[4]
WORDS = [f"word{number}" for number in range(3000)]


def texts(count: int, words: int = 120, seed: int = 0) -> list[list[str]]:
    chance = np.random.default_rng(seed)
    return [[WORDS[pick] for pick in chance.integers(0, len(WORDS), words)] for _ in range(count)]


def edited(words: list[str], similarity: float, chance: np.random.Generator) -> list[str]:
    """With words at the end replaced, until so much of the shingles of both together is common to both."""
    shingles = len(words) - 4
    changed = round(shingles * (1 - similarity) / (1 + similarity))
    return words[: len(words) - changed] + [f"new{chance.integers(10**9)}" for _ in range(changed)]


def jaccard(left: list[str], right: list[str]) -> float:
    a, b = ({tuple(words[at : at + 5]) for at in range(len(words) - 4)} for words in (left, right))
    return len(a & b) / len(a | b)


def joined(rows: list[list[str]]) -> list[str]:
    return [" ".join(words) for words in rows]


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_signatures_estimate_the_jaccard_similarity_of_shingles(similarity: float) -> None:
    chance = np.random.default_rng(1)
    before = texts(300)
    after = [edited(words, similarity, chance) for words in before]
    true = np.mean([jaccard(*pair) for pair in zip(before, after, strict=True)])
    shares = (signatures(joined(before)) == signatures(joined(after))).mean(axis=1)
    assert abs(true - similarity) < 0.01
    assert abs(shares.mean() - true) < 0.01
    assert shares.std() < 0.05


@pytest.mark.parametrize(
    ("threshold", "similarity", "least", "most"),
    [
        (0.8, 1.0, 1, 1),
        (0.8, 0.95, 1, 1),
        (0.8, 0.9, 0.98, 1),
        (0.8, 0.8, 0.3, 0.7),
        (0.8, 0.7, 0, 0.02),
        (0.8, 0.5, 0, 0),
        (0.8, 0.0, 0, 0),
        (0.5, 0.65, 0.98, 1),
        (0.5, 0.35, 0, 0.02),
        (0.95, 1.0, 1, 1),
        (0.95, 0.85, 0, 0.02),
    ],
)
def test_copies_are_found_above_the_threshold_and_not_below(
    threshold: float, similarity: float, least: float, most: float
) -> None:
    chance = np.random.default_rng(2)
    before = texts(500)
    rows = before + [edited(words, similarity, chance) for words in before]
    found = copies(signatures(joined(rows)), threshold)
    assert (found[:500] == -1).all(), "the earlier rows stay"
    hit = found[500:] >= 0
    assert least <= hit.mean() <= most
    assert (found[500:][hit] == np.flatnonzero(hit)).all(), "and each copy names its own original"


def test_rows_that_share_a_long_beginning_are_no_copies_but_copies_among_them_are_found() -> None:
    chance = np.random.default_rng(3)
    shared = texts(1, 80)[0]
    before = [shared + words for words in texts(2000, 60, seed=4)]
    rows = before + [edited(words, 0.95, chance) for words in before[:100]]
    found = copies(signatures(joined(rows)), 0.8)
    assert (found[2000:] == np.arange(100)).mean() > 0.98
    assert (found[:2000] >= 0).mean() < 0.002


def test_of_a_chain_of_copies_the_first_in_the_order_stays() -> None:
    chance = np.random.default_rng(5)
    chain = texts(1, 400)
    for _ in range(4):
        chain.append(edited(chain[-1], 0.93, chance))
    other = texts(1, 400, seed=6)
    found = signatures(joined([*chain, *other]))
    assert copies(found, 0.8).tolist() == [-1, 0, 0, 0, 0, -1]
    assert copies(found, 0.8, np.array([5, 3, 4, 0, 1, 2])).tolist() == [3, 3, 3, -1, 3, -1]


def test_a_crowd_of_equal_rows_is_one_group() -> None:
    rows = ["the same words again and again in every row"] * 3000 + joined(texts(100))
    found = copies(signatures(rows), 0.8)
    assert found[:3000].tolist() == [-1, *[0] * 2999]
    assert (found[3000:] == -1).all()


def test_case_and_punctuation_do_not_count_and_words_do() -> None:
    made = signatures(["Hello, world!", "hello world", "world hello", "你好。世界", "你好 世界", "ÄPFEL", "äpfel"])
    assert (made[0] == made[1]).all()
    assert (made[1] != made[2]).all()
    assert (made[3] != made[4]).any(), "marks of scripts without spaces are characters like others"
    assert (made[5] == made[6]).all()


def test_rows_without_words_are_copies_of_nothing() -> None:
    made = signatures(["", "...", "\n", "\ud800 x", "a"])
    assert (made[:3] == NOTHING).all()
    assert (made[3:] != NOTHING).all()
    assert copies(made, 0.5).tolist() == [-1] * 5
    assert copies(signatures([]), 0.8).tolist() == []


@given(st.lists(st.text(max_size=60), max_size=12), st.integers(0, 12))
def test_a_signature_depends_on_its_text_alone(rows: list[str], cut: int) -> None:
    made = signatures(rows)
    assert made.dtype == np.uint32
    assert made.shape == (len(rows), PLACES)
    apart = np.concatenate([signatures(rows[:cut]), signatures(rows[cut:])])
    assert (made == apart).all()


def test_signatures_are_the_same_in_every_process_and_must_not_change() -> None:
    code = "from tasks.data.similar import signatures; print(signatures(['the same words in every row', 'x'])[:, [0, 127]].tolist())"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True, env={"PYTHONHASHSEED": "7"}
    )
    assert done.stdout.strip() == "[[981697782, 2278922073], [3203362564, 1417559751]]"


def test_the_same_rows_give_the_same_copies_from_memory_and_from_a_file(tmp_path: Path) -> None:
    chance = np.random.default_rng(8)
    before = texts(200)
    made = signatures(joined(before + [edited(words, 0.8, chance) for words in before]))
    np.save(tmp_path / "made.npy", made)
    found = copies(np.load(tmp_path / "made.npy", mmap_mode="r"), 0.8)
    assert (found == copies(made, 0.8)).all()


@given(st.floats(0.5, 1))
def test_bands_leave_no_copy_undiscovered(threshold: float) -> None:
    bands, width = banding(threshold)
    assert bands * width <= PLACES
    assert 1 - (1 - threshold**width) ** bands > 0.998


def test_what_the_system_says_to_every_row_does_not_make_rows_alike() -> None:
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}]
    assert compared(Chat([*said, {"role": "assistant", "content": "b"}])) == "a\nb"
    assert compared(Plain("a", "b")) == "a\nb"


@pytest.mark.parametrize(
    ("rows", "share"),
    [
        ([], 0),
        (["", "x"], 0),
        ([" ".join(WORDS[:100])], 0),
        ([" ".join(WORDS[:50]), " ".join(WORDS[:50])], 0),
        ([" ".join(WORDS[:50] * 2)], 1),
        ([" ".join([*WORDS[:60], *WORDS[:20]])], 0.5),
        (["yes " * 40], 1),
        (["yes " * 10], 0),
    ],
)
def test_repetition_is_the_share_of_words_in_runs_that_come_again(rows: list[str], share: float) -> None:
    assert repetition(rows) == share
