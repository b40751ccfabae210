import shutil
from pathlib import Path

import pytest

from infra.errors import Corrupt, Refused
from infra.storage.lineage import locate, trace, whole
from infra.storage.objects import LocalObjects
from infra.storage.receipt import Receipt
from infra.storage.store import Store
from tests.artifacts import committed, of_folder, place, stored
from tests.artifacts import whole as whole_of


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return Store(LocalObjects(tmp_path / "store"))


def made(store: Store, stage: str, **inputs: Receipt) -> Receipt:
    manifest = stored(store, {"file": stage.encode()}, stage)
    return store.receipt(store.commit(manifest.model_copy(update={"inputs": inputs})))


def test_a_registered_source_leads_to_its_artifact_also_after_a_move(local: Store, tmp_path: Path) -> None:
    receipt = made(local, "merging")
    assert locate(local, receipt.uri, receipt.content_sha256).attempt == receipt.attempt
    shutil.move(tmp_path / "store", tmp_path / "moved")
    moved = Store(LocalObjects(tmp_path / "moved"))
    assert locate(moved, receipt.uri + "/", receipt.content_sha256).attempt == receipt.attempt
    assert locate(moved, receipt.uri.replace("file://", "s3://bucket"), receipt.content_sha256)


@pytest.mark.parametrize("source", ["s3://elsewhere/model", "", "file:///stages/a/b", "runs:/1/model"])
def test_a_source_of_others_is_refused(local: Store, source: str) -> None:
    with pytest.raises(Refused, match="not registered by Luthier"):
        locate(local, source, "0" * 64)


@pytest.mark.parametrize("source", ["file:///s/stages/../../etc/x", "file:///s/stages/merging/.hidden/x"])
def test_a_source_cannot_lead_out_of_the_store(local: Store, source: str) -> None:
    with pytest.raises(Refused):
        locate(local, source, "0" * 64)


def test_a_model_that_is_gone_or_another_one_is_said_to_be(local: Store) -> None:
    receipt = made(local, "merging")
    with pytest.raises(Corrupt, match="not in the store"):
        locate(local, receipt.uri, "f" * 64)
    local.objects.delete(place(local, receipt, "file"))
    with pytest.raises(Corrupt, match="not in the store") as told:
        locate(local, receipt.uri, receipt.content_sha256)
    assert "LUTHIER_STORE" in told.value.remedy


def test_a_condemned_model_is_not_used(local: Store) -> None:
    receipt = made(local, "merging")
    local.condemn(local.manifest(receipt))
    with pytest.raises(Corrupt):
        locate(local, receipt.uri, receipt.content_sha256)


def test_the_tree_tells_each_artifact_once_and_what_is_gone(local: Store) -> None:
    base = made(local, "weights")
    data = made(local, "data")
    adapter = made(local, "training", weights=base, dataset=data)
    model = made(local, "merging", adapter=adapter, weights=base)
    local.objects.delete(place(local, data, "file"))
    told = [
        (depth, node.role, node.manifest is not None, node.again) for depth, node in trace(local, "x", model).below()
    ]
    assert told == [
        (0, "x", True, False),
        (1, "adapter", True, False),
        (2, "dataset", False, False),
        (2, "weights", True, False),
        (1, "weights", True, True),
    ]
    assert trace(local, "x", base).bytes == len("weights")
    assert whole(local, data) is None


def test_an_artifact_is_as_large_as_its_files_and_its_parts(local: Store) -> None:
    part = committed(local, {"tokens.bin": b"123456789"}, "shard")
    assert trace(local, "dataset", whole_of(local, part)).bytes == len("{}") + 9


def test_another_content_under_the_same_key_is_not_what_a_receipt_names(local: Store, tmp_path: Path) -> None:
    receipt = made(local, "data")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").write_text("changed")
    local.commit(of_folder(local, tmp_path / "new", "data"), supersede=True)
    assert whole(local, receipt) is None
