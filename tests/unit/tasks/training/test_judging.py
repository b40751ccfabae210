"""Our preference losses are TRL's, to the gradient: on one batch, packed here, padded there."""

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.training import judging
from tasks.training.judged_sequences import JudgedSequences, collate_judged
from tasks.training.judged_trainer import log_probabilities
from tasks.training.objectives import Dpo, Kto
from tasks.training.trainer import OnlySupervised
from tests import tiny
from tests.unit.tasks.training.prepared import PROMPT, judged

pytestmark = [pytest.mark.heavy, pytest.mark.slow]

TEXTS = 8  # of both batches


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tiny.tokenizer(tmp_path_factory.mktemp("model")), vocab_size=tiny.VOCAB)


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def packed(root: Path, kind: str) -> dict[str, Any]:
    """All training texts of a small data set as one batch of packed sequences; the reference says 0."""
    count = TEXTS // 2 if kind == "pairs" else TEXTS
    index, shard = judged(root, kind, count, 0)
    side = JudgedSequences(index / "train", [shard], None)
    return collate_judged([side[at] for at in range(len(side))])


def padded(texts: list[list[int]]) -> dict[str, torch.Tensor]:
    """Token ids as TRL's collators lay them out."""
    longest = max(map(len, texts))
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    seen = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    answer = torch.tensor([[0] * PROMPT + [1] * (len(text) - PROMPT) + [0] * (longest - len(text)) for text in texts])
    return {"input_ids": ids, "attention_mask": seen, "completion_mask": answer}


def texts(batch: dict[str, Any]) -> list[list[int]]:
    """The texts of a packed batch, each by itself, in order."""
    made = []
    for ids, at, number in zip(batch["input_ids"], batch["position_ids"], batch["number"], strict=True):
        begins = [*np.flatnonzero(at.numpy() == 0).tolist(), len(ids)]
        # Padding has position 0 too, each token for itself.
        for start, stop in pairwise(begins):
            if stop - start > 1:
                made.append((int(number[start]), ids[start:stop].tolist()))
    return [ids for _, ids in sorted(made)]


def trainer(kind: str, model: Any, folder: Path, root: Path, fields: dict[str, Any]) -> Any:
    """TRL's own, to be asked for a loss; its data set is never looked at."""
    import trl  # noqa: PLC0415 - seconds, which the other tests need not wait
    from datasets import Dataset  # noqa: PLC0415

    row = {"prompt": "a", **({"chosen": "b", "rejected": "c"} if kind == "DPO" else {"completion": "b", "label": True})}
    config = getattr(trl, f"{kind}Config")(
        output_dir=str(root / "trl"), use_cpu=True, report_to=[], bf16=False, **fields
    )
    return getattr(trl, f"{kind}Trainer")(
        model=copy.deepcopy(model),
        ref_model=copy.deepcopy(model),
        args=config,
        train_dataset=Dataset.from_list([row] * 2),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )


def assert_alike(ours: Any, our_loss: torch.Tensor, theirs: Any, their_loss: torch.Tensor) -> None:
    """Loss and every gradient."""
    torch.testing.assert_close(our_loss, their_loss, atol=1e-5, rtol=1e-5)
    our_loss.backward()
    their_loss.backward()
    their_gradients = dict(theirs.named_parameters())
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, their_gradients[name].grad, atol=2e-6, rtol=1e-3, msg=name)
        assert weight.grad.abs().max() > 0, name


def reference(count: int) -> torch.Tensor:
    return torch.linspace(-40, -20, count)[torch.randperm(count, generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        *({"loss_type": name} for name in ("ipo", "hinge", "apo_zero", "apo_down")),
        {"loss_type": "robust", "label_smoothing": 0.2},
    ],
)
def test_dpo_is_trls(model: Any, folder: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    batch, objective = packed(tmp_path, "pairs"), Dpo(method="dpo", beta=0.2, **fields)
    ours, said = copy.deepcopy(model), reference(TEXTS)
    found = texts(batch)
    policy = log_probabilities(ours, OnlySupervised(ours), batch)
    tokens = torch.tensor([float(len(text) - PROMPT) for text in found])
    our_loss = judging.dpo(objective, policy.view(-1, 2), said.view(-1, 2), tokens.view(-1, 2)).mean()

    theirs = trainer("DPO", model, folder, tmp_path, {"beta": 0.2, "precompute_ref_log_probs": False, **fields})
    theirs.precompute_ref_logps = True
    inputs = padded(found[::2] + found[1::2]) | {"ref_chosen_logps": said[::2], "ref_rejected_logps": said[1::2]}
    their_loss = theirs._compute_loss(theirs.model, inputs, False)
    figures = judging.dpo_named([4.0, *judging.dpo_figures(objective, policy.detach().view(-1, 2), said.view(-1, 2))])
    for name, value in figures.items():
        assert float(value) == pytest.approx(theirs._metrics["eval"][name][0], abs=1e-4), name
    assert_alike(ours, our_loss, theirs.model, their_loss)


@pytest.mark.parametrize(
    "fields",
    [{}, {"desirable_weight": 1.3, "undesirable_weight": 0.7}, {"loss_type": "apo_zero_unpaired"}],
)
def test_kto_is_trls(model: Any, folder: Path, tmp_path: Path, fields: dict[str, Any]) -> None:
    batch, objective = packed(tmp_path, "labels"), Kto(method="kto", beta=0.2, **fields)
    ours, said, strange = copy.deepcopy(model), reference(TEXTS), reference(TEXTS + 1)[1:] - 20
    head = OnlySupervised(ours)
    with torch.no_grad():
        gain = log_probabilities(ours, head, batch["strangers"]) - strange
    drift = gain.mean().clamp(min=0)
    assert drift > 0
    policy = log_probabilities(ours, head, batch)
    our_loss = judging.kto(objective, policy, said, batch["desirable"], drift).mean()

    theirs = trainer("KTO", model, folder, tmp_path, {"beta": 0.2, "train_sampling_strategy": "sequential", **fields})
    theirs.precompute_ref_logps = True
    own, others = padded(texts(batch)), padded(texts(batch["strangers"]))
    inputs = own | {f"KL_{name}": value for name, value in others.items()}
    inputs |= {"label": batch["desirable"], "ref_logps": said, "ref_KL_logps": strange}
    their_loss = theirs._compute_loss(theirs.model, inputs, False)
    assert_alike(ours, our_loss, theirs.model, their_loss)


def test_a_stranger_is_a_prompt_with_the_answer_to_another(tmp_path: Path) -> None:
    batch = packed(tmp_path, "labels")
    own, others = texts(batch), texts(batch["strangers"])
    assert [text[:PROMPT] for text in others] == [text[:PROMPT] for text in own]
    assert [text[PROMPT:] for text in others] == [text[PROMPT:] for text in [*own[1:], own[0]]]


def test_what_there_is_none_of_has_no_mean() -> None:
    assert judging.kto_named([2.0, 3.0, 2.0, 0.0, 0.0]) == {"rewards/chosen": 1.5}
