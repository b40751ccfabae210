"""Rearranged documents hold what they held, in the orders of the paper, and are cut the same everywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import BadModel
from tasks.data.infilling import FORMS, Infilling, Marks
from tasks.data.rows import BadRow, Text
from tasks.data.templates import Rendered, Template
from tasks.data.tokens import Encoder
from tests import chats, tiny

pytestmark = pytest.mark.heavy

PRE, SUF, MID = MARKS = Marks("<fim_prefix>", "<fim_suffix>", "<fim_middle>")


def infilling(rate: float, spm_rate: float, marks: Marks = MARKS) -> Infilling:
    tokenizer = chats.tokenizer(tiny.TEMPLATE + "".join(marks))
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})
    return Infilling(tokenizer, rate, spm_rate)


@given(st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"])))
def test_the_parts_in_their_places_are_the_document(text: str) -> None:
    made = infilling(1, 0).rearranged(text)
    prefix, rest = made.removeprefix(PRE).split(SUF)
    suffix, middle = rest.split(MID)
    assert made.startswith(PRE)
    assert prefix + middle + suffix == text


@given(st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"])))
def test_spm_puts_the_suffix_first_and_cuts_where_psm_does(text: str) -> None:
    prefix, rest = infilling(1, 0).rearranged(text).removeprefix(PRE).split(SUF)
    suffix, middle = rest.split(MID)
    assert infilling(1, 1).rearranged(text) == f"{PRE}{SUF}{suffix}{MID}{prefix}{middle}"


def test_rates_are_shares_of_documents_and_a_higher_one_holds_a_lower_one() -> None:
    texts = [f"document {number} of some length" for number in range(2000)]
    chosen = {rate: {text for text in texts if infilling(rate, 0.5).rearranged(text) != text} for rate in (0, 0.3, 0.6)}
    assert not chosen[0]
    assert 0.25 < len(chosen[0.3]) / len(texts) < 0.35
    assert chosen[0.3] < chosen[0.6]
    first = sum(infilling(1, 0.5).rearranged(text).startswith(PRE + SUF) for text in texts)
    assert 0.45 < first / len(texts) < 0.6  # some prefixes are empty


def test_a_document_is_cut_the_same_in_every_process() -> None:
    assert infilling(1, 0).rearranged("def two():\n    return 2\n") == (
        "<fim_prefix>def two():\n    <fim_suffix>n 2\n<fim_middle>retur"
    )


def test_all_of_a_rearranged_document_is_learned_and_eos_ends_it() -> None:
    tokenizer = chats.tokenizer(tiny.TEMPLATE + "".join(MARKS))
    tokenizer.add_special_tokens({"additional_special_tokens": list(MARKS)})
    (rendered,) = Template(tokenizer, infilling=Infilling(tokenizer, 1, 0)).render([("a:1", Text("some words"))])
    assert isinstance(rendered, Rendered)
    (tokens,) = Encoder(tokenizer).encode([rendered])
    assert tokens.weights.tolist() == [0] + [1] * (len(tokens.ids) - 1)
    marked = [tokenizer.convert_ids_to_tokens(token) for token in tokens.ids.tolist()]
    assert marked[0] == PRE
    assert marked.count(SUF) == marked.count(MID) == 1
    assert marked[-1] == tokenizer.eos_token


def test_a_document_that_holds_a_mark_is_a_bad_row() -> None:
    with pytest.raises(BadRow, match="the text holds the token <fim_suffix>"):
        infilling(0.1, 0.5).rearranged("x <fim_suffix> y")


@pytest.mark.parametrize("form", FORMS)
def test_the_tokens_of_each_family_are_found(form: Marks) -> None:
    assert infilling(1, 0, form).rearranged("").startswith(form.prefix + form.suffix)


def test_a_tokenizer_that_cannot_infill_is_refused_by_name() -> None:
    with pytest.raises(BadModel, match="no tokens for infilling") as caught:
        Infilling(chats.tokenizer(tiny.TEMPLATE), 0.5, 0.5)
    assert caught.value.place == "data.fim_rate"
    assert all(form.prefix in caught.value.value for form in FORMS)
