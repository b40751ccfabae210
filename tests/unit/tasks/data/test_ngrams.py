"""Runs of words that texts share with questions: exactly those that a slow and simple search finds."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data import ngrams
from tasks.data.ngrams import Index, Shared, fold

QUESTIONS = [
    "the cat sat on a mat while seven quiet birds watched it from the old garden wall and sang",
    "when a train leaves the north station at noon how far has it gone by the evening of the same day",
]
WORDS = [question.split() for question in QUESTIONS]
FILLER = "nothing of this is asked anywhere "


def found(texts: list[str], questions: list[str], ngram: int = 13, tasks: list[str] | None = None) -> list[Shared]:
    return list(Index(questions, tasks or ["t"] * len(questions), ngram).shared([fold(text) for text in texts]))


@pytest.mark.parametrize(
    "text",
    [
        QUESTIONS[0],
        QUESTIONS[0].upper(),
        f"{FILLER * 9}\n{QUESTIONS[0]}\n{FILLER * 9}",
        ", ".join(WORDS[0]) + "?!",
        "\t\n".join(WORDS[0]),
        "“" + " … ".join(WORDS[0]) + "”",
        " ".join(WORDS[0][3:16]),
        FILLER * 20_000 + QUESTIONS[0],
    ],
    ids=["as it is", "other case", "inside a text", "punctuation", "line breaks", "beyond ASCII", "13 words", "long"],
)
def test_a_question_is_found_however_it_is_written(text: str) -> None:
    (shared,) = found([FILLER, text], QUESTIONS)
    assert (shared.text, shared.question) == (1, 0)
    assert shared.words in QUESTIONS[0]
    assert len(shared.words.split()) == min(len(WORDS[0]), len(fold(text).split()))


def test_twelve_words_in_a_row_are_not_enough() -> None:
    twelve = [word if number % 13 != 12 else "other" for number, word in enumerate(WORDS[1])]
    assert found([" ".join(twelve)], QUESTIONS) == []
    assert found([" ".join(WORDS[1][:12])], QUESTIONS) == []
    assert len(found([" ".join(WORDS[1][:12])], QUESTIONS, ngram=12)) == 1


def test_a_short_question_counts_where_it_stands_whole() -> None:
    question = "Who wrote the second letter?"
    assert [one.words for one in found([f"tell me who wrote the second letter now {FILLER}"], [question])] == [
        "who wrote the second letter"
    ]
    assert found(["who wrote the second"], [question]) == []
    assert found(["who wrote it"], ["Who wrote it?"]) == []


def test_a_run_does_not_go_on_in_the_next_text() -> None:
    assert found([" ".join(WORDS[0][:9]), " ".join(WORDS[0][9:])], QUESTIONS) == []


def test_numbers_alone_are_no_question() -> None:
    numbers = " ".join(map(str, range(20)))
    assert found([numbers], [numbers]) == []
    assert found(["1 2 3 4 5"], ["1, 2, 3, 4, 5?"]) == []
    assert len(found([f"add {numbers}"], [f"add {numbers}"])) == 1


def test_the_form_that_many_questions_of_a_task_share_is_no_question() -> None:
    form = "Read the following ticket with great care and answer with one word of the list: "
    questions = [f"{form} {name}" for name in ("door", "lamp", "ring", "hose", "desk")]
    index = Index(questions, ["t"] * 5, 13)
    assert list(index.shared([fold(f"{form} chair")])) == []
    assert {one.question for one in index.shared([fold(questions[1])])} == {1}
    # Three questions are few, and a form of one task may be a question of another.
    assert len(found([f"{form} chair"], questions[:3])) == 3
    assert {one.question for one in found([f"{form} chair"], [*questions, form], tasks=["t"] * 5 + ["u"])} == {5}


def test_a_question_is_found_without_the_form_that_its_task_gives_it() -> None:
    bare = [
        "What gas do cats need to live?",
        "Who wrote it down first of all?",
        "Why is snow white?",
        "Is salt a metal?",
    ]
    asked = [f"Question: {one}\nAnswer:" for one in bare]
    shared = found([" ".join(bare)], asked)
    # Of the last two too little would be left, so they are looked for as they are.
    assert [(one.question, one.words) for one in shared] == [
        (0, "what gas do cats need to live"),
        (1, "who wrote it down first of all"),
    ]
    assert [one.question for one in found([" ".join(asked)], asked)] == [0, 1, 2, 3]
    assert found([" ".join(bare)], asked[:3]) == []


def test_questions_that_cannot_be_searched_for_are_known() -> None:
    assert Index(
        [QUESTIONS[0], "too short", "1 2 3 4 5 6", "long enough it is now"], ["t"] * 4, 13
    ).searched.tolist() == [0, 3]
    assert Index([], [], 13).searched.tolist() == []
    assert found(["anything at all"], []) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Die Straße ist naß", "die STRASSE ist nass"),
        ("ﬁne ① Ａｂｃ", "fine 1 abc"),
        ("cafe\u0301", "CAFÉ"),
        ("co\u00adoperate zero\u200dwidth", "cooperate zerowidth"),
        ("don’t stop—now", "don't stop now"),
        ("snake_case", "snake case"),
        ("مرحبا، بالعالم", "مرحبا بالعالم"),
        ("हिन्दी भाषा", "हिन्दी, भाषा"),
        ("half \ud800 a character", "half a character"),
    ],
)
def test_forms_of_the_same_words_are_the_same(one: str, other: str) -> None:
    assert fold(one).split() == fold(other).split()


def test_scripts_without_spaces_count_characters() -> None:
    question = "北京是哪个国家的首都并且有多少人口"
    assert len(fold(question).split()) == len(question)
    assert len(found([f"问题:{question}?"], [question])) == 1
    assert found([question[:12]], [question]) == []


def bare(number: int, questions: list[str], tasks: list[str]) -> list[bytes]:
    """A question without the words that all questions of its task begin or end with."""
    peers = [fold(question).split() for question, task in zip(questions, tasks, strict=True) if task == tasks[number]]
    words = kept = fold(questions[number]).split()
    if len(peers) > 3:
        while kept and all(peer[: 1 + len(words) - len(kept)] == words[: 1 + len(words) - len(kept)] for peer in peers):
            kept = kept[1:]
        tail = 0
        while tail < len(words) and all(peer[-tail - 1 :] == words[-tail - 1 :] for peer in peers):
            tail += 1
        kept = kept[: max(0, len(kept) - tail)]
    return kept if len(kept) >= 5 else words


def naive(texts: list[str], questions: list[str], tasks: list[str], ngram: int) -> Iterator[tuple[int, int]]:
    """The same by comparing everything with everything."""
    split = [bare(number, questions, tasks) for number in range(len(questions))]
    runs: list[set[tuple[bytes, ...]]] = []
    for words in split:
        length = ngram if len(words) >= ngram else len(words) if len(words) >= 5 else 0
        made = {tuple(words[at : at + length]) for at in range(len(words) - length + 1)} if length else set()
        runs.append({run for run in made if not all(word.isdigit() for word in run)})
    for (number, text), question in itertools.product(enumerate(texts), range(len(questions))):
        peers = [runs[other] for other in range(len(questions)) if tasks[other] == tasks[question]]
        words = fold(text).split()
        for run in runs[question]:
            count = sum(run in peer for peer in peers)
            form = count > 3 and count > 0.1 * len(peers)
            if not form and any(tuple(words[at : at + len(run)]) == run for at in range(len(words))):
                yield number, question
                break


def sentences(longest: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(["a", "B", "1", "2,", "é"]), max_size=longest).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(sentences(30), max_size=8),
    asked=st.lists(st.tuples(sentences(12), st.sampled_from("tu")), max_size=24),
    ngram=st.integers(5, 8),
)
def test_exactly_what_a_naive_search_finds_is_found(texts: list[str], asked: list[tuple[str, str]], ngram: int) -> None:
    questions, tasks = [one for one, _ in asked], [task for _, task in asked]
    fast = [(shared.text, shared.question) for shared in found(texts, questions, ngram, tasks)]
    assert sorted(fast) == sorted(naive(texts, questions, tasks, ngram))


def test_hashing_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = fold(" ".join(WORDS[0] * 5))
    whole = ngrams.Words([text, b"", text])
    monkeypatch.setattr(ngrams, "CHUNK", 64)
    parts = ngrams.Words([text, b"", text])
    assert ngrams.Words([b"a " + b"b" * 200 + b" c", b"d"]).counts.tolist() == [3, 1]
    assert ngrams.Words([b"b" * 200]).counts.tolist() == [1]
    assert parts.hashes.tolist() == whole.hashes.tolist()
    assert parts.counts.tolist() == whole.counts.tolist() == [95, 0, 95]
