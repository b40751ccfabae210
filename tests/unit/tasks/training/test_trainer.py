"""Rows packed into one sequence do not see each other, and the loss is the weighted mean that it says it is."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

from tasks.training.sequences import collate
from tasks.training.trainer import OnlySupervised
from tests import tiny
from tests.unit.tasks.training.prepared import random_rows, sequences

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny.model(tmp_path_factory.mktemp("model")), dtype=torch.float32)


def test_packed_rows_do_not_see_each_other(model: Any, tmp_path: Path) -> None:
    rows = random_rows(7)
    packed = collate([sequences(tmp_path, rows, [[2, 0, 5], [1, 3, 4, 6]])[index] for index in range(2)])
    with torch.no_grad():
        together = model(input_ids=packed["input_ids"], position_ids=packed["position_ids"], use_cache=False).logits
        for line, order in enumerate([[2, 0, 5], [1, 3, 4, 6]]):
            start = 0
            for row in order:
                tokens = torch.tensor([rows[row][0]])
                alone = model(input_ids=tokens, use_cache=False).logits[0]
                torch.testing.assert_close(together[line, start : start + len(alone)], alone, atol=1e-5, rtol=0)
                start += len(alone)


def test_positions_restart_and_padding_weighs_nothing(tmp_path: Path) -> None:
    made = sequences(tmp_path, [([5, 6, 7], [0, -1, 1]), ([8, 9], [-1, 0.5])], [[0, 1], [1]])
    batch = collate([made[0], made[1]])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [8, 9, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]]
    torch.testing.assert_close(
        batch["loss_weights"], torch.tensor([[0, 0.1, 1, 0, 0.5], [0, 0.5, 0, 0, 0]]), atol=1e-4, rtol=0
    )


def test_logits_only_where_supervised_are_the_same_logits(model: Any, tmp_path: Path) -> None:
    batch = collate([sequences(tmp_path, random_rows(4), [[0, 1, 2, 3]])[0]])
    arguments = {"input_ids": batch["input_ids"], "position_ids": batch["position_ids"], "use_cache": False}
    head = OnlySupervised(model)
    with torch.no_grad():
        whole = model(**arguments).logits
        head.mask = mask = batch["loss_weights"][:, 1:] == 1.0
        some = model(**arguments).logits
        head.mask = None
    torch.testing.assert_close(some[0], whole[:, :-1][mask])
    reference = F.cross_entropy(whole[0, :-1], batch["input_ids"][0, 1:], reduction="none")[mask[0]]
    torch.testing.assert_close(F.cross_entropy(some[0], batch["input_ids"][:, 1:][mask], reduction="none"), reference)
