"""A sum over ranks is right, is told with its speed, and a wrong one ends the rank."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from infra.errors import Lost
from tasks.training.adding import add_up
from tasks.training.presence import ADDED, Added

pytestmark = pytest.mark.heavy
CPU = torch.device("cpu")


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/met", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_the_sum_is_told_by_the_first_rank(tmp_path: Path) -> None:
    add_up(CPU, tmp_path)
    told = Added.model_validate_json((tmp_path / ADDED).read_bytes())
    assert (told.backend, told.ranks, told.nodes, told.size) == ("gloo", 1, 2, 2**24)
    assert told.seconds > 0


@pytest.mark.usefixtures("alone")
def test_a_wrong_sum_is_lost_with_the_rank_and_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = dist.all_reduce

    def over_a_bad_wire(tensor: torch.Tensor, **how: object) -> None:
        right(tensor, **how)
        tensor[7] += 1

    monkeypatch.setattr(dist, "all_reduce", over_a_bad_wire)
    with pytest.raises(Lost, match=r"rank 0 on .* got a wrong sum") as lost:
        add_up(CPU, tmp_path)
    assert lost.value.value == "1 of 1024 numbers are wrong"
    assert not (tmp_path / ADDED).exists()
