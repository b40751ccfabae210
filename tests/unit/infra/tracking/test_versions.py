"""Versions of one content: however many were made, one is left, and it is the one that aliases lead to."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from infra.tracking.versions import CONTENT, Versions
from tests import registered

pytestmark = pytest.mark.heavy

TAGS = {CONTENT: "a" * 64}


@pytest.mark.parametrize(("aliased", "left"), [(None, [1]), ("1", [1]), ("2", [1, 2])])
def test_what_lost_replies_left_behind_is_deleted_but_for_what_an_alias_leads_to(
    tmp_path: Path, aliased: str | None, left: list[int]
) -> None:
    (tmp_path / "mlflow.db").write_bytes(registered._empty_database())
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(uri, registry_uri=uri)
    client.create_registered_model("model")
    for _ in range(3):
        client.create_model_version("model", "file:///model", tags=TAGS)
    if aliased:
        client.set_registered_model_alias("model", "champion", aliased)
    assert Versions(uri).ensure("model", "file:///model", TAGS, None, "the card") == 1
    assert sorted(int(one.version) for one in client.search_model_versions("name = 'model'")) == left
