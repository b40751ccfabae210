"""What is written behind training is the state as it was; the mark comes last, and no error is lost."""

import json
from collections import OrderedDict
from concurrent import futures
from pathlib import Path

import pytest
import torch

from tasks.training import behind as module
from tasks.training.behind import Behind

pytestmark = pytest.mark.heavy


@pytest.fixture
def behind(tmp_path: Path) -> Behind:
    return Behind(tmp_path, rank=1, ranks_here=2)


def test_training_that_goes_on_does_not_change_what_is_saved(behind: Behind, tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    state = {"w": weight, "groups": [{"lr": 0.1}], "order": OrderedDict(b=(weight[0], 1), a=None)}
    with behind.checkpoint(5):
        behind.save(state, tmp_path / "state.pt")
        weight.data.zero_()
        state["groups"][0]["lr"] = 0.2  # type: ignore[index]
    behind.drain()
    read = torch.load(tmp_path / "state.pt", weights_only=True)
    assert read["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read["groups"] == [{"lr": 0.1}]
    assert list(read["order"]) == ["b", "a"]
    assert read["order"]["b"][0].tolist() == [0, 1, 2]
    assert json.loads((tmp_path / "ready-5-1").read_text())["stall_s"] < behind.last_s


def test_buffers_are_used_again_and_never_for_two_things_at_once(behind: Behind, tmp_path: Path) -> None:
    for step in range(3):
        with behind.checkpoint(step):
            behind.save([torch.full((4,), float(step)), torch.full((4,), step + 0.5)], tmp_path / "a.pt")
            behind.save(torch.full((4,), step + 0.7), tmp_path / "b.pt")
        behind.drain()
        assert [tensor[0].item() for tensor in torch.load(tmp_path / "a.pt")] == [step, step + 0.5]
        assert torch.load(tmp_path / "b.pt")[0].item() == pytest.approx(step + 0.7)
    assert [len(buffers) for buffers in behind._buffers.values()] == [3]


def test_two_names_of_one_tensor_stay_one(behind: Behind, tmp_path: Path) -> None:
    tied = torch.randn(3)
    behind.save({"a": tied, "b": tied}, tmp_path / "state.pt")
    behind.drain()
    read = torch.load(tmp_path / "state.pt")
    assert read["a"].data_ptr() == read["b"].data_ptr()


def test_where_memory_is_short_it_is_written_at_once(
    behind: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short:
        available = 100

    monkeypatch.setattr(module.psutil, "virtual_memory", Short)
    behind.save(torch.zeros(100), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt").shape == (100,)
    assert behind._buffers == {}


def test_what_could_not_be_written_is_told_and_leaves_no_mark(behind: Behind, tmp_path: Path) -> None:
    with behind.checkpoint(5):
        behind.save(torch.zeros(1), tmp_path / "nowhere" / "state.pt")
    futures.wait(behind._jobs)
    with pytest.raises(RuntimeError, match="nowhere"):
        behind.busy()
    with pytest.raises(RuntimeError, match="nowhere"):
        behind.drain()
    assert not list(tmp_path.glob("ready-*"))


def test_it_is_busy_until_the_worker_has_taken_the_checkpoint_away(behind: Behind, tmp_path: Path) -> None:
    assert not behind.busy()
    folder = tmp_path / "checkpoints" / "checkpoint-5"
    folder.mkdir(parents=True)
    assert behind.busy()
    folder.rmdir()
    assert not behind.busy()
