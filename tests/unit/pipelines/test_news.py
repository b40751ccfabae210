"""Nothing is new where every key is the version's; else what differs is named, and what is not known is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.settings import Platform
from infra.storage import layout
from infra.storage.receipt import Receipt
from pipelines import recipe as recipes
from pipelines.again import Made
from pipelines.news import SHOWN, News, differences, look
from tasks.registry.rivals import Judged, Rival, Rivals
from tests import jobs
from tests.e2e import recipes as tiny
from tests.unit.pipelines.test_again import walked

pytestmark = pytest.mark.heavy  # writes a model


@dataclass
class Production:
    """A recipe whose version is in production."""

    path: Path
    on: Platform
    made: Made

    def rivals(self, *turned_down: Judged) -> Rivals:
        model = self.receipt("model")
        version = {"version": "tiny-tickets/3", "registration": self.made.records["version"].key}
        champion = Rival(**version, model=model, tokenizer=self.receipt("tokenizer"))
        return Rivals(champion=champion, turned_down=turned_down)

    def receipt(self, role: str) -> Receipt:
        return self.on.store.receipt(self.made.records[role])

    def look(self, *turned_down: Judged, **overrides: Any) -> News:
        changed = {name.replace("__", "."): value for name, value in overrides.items()}
        return look(recipes.load(str(self.path), changed), self.rivals(*turned_down), self.on.store)


@pytest.fixture
def production(tmp_path: Path, luthier_home: Path) -> Production:
    path, on = tiny.write(tmp_path / "project"), jobs.platform(tmp_path / "on")
    return Production(path, on, walked(path, on))


def test_nothing_is_new_where_nothing_changed_and_how_fast_it_is_made_does_not_matter(production: Production) -> None:
    news = production.look(train__per_device_train_batch_size=1, evaluate__batch_size=2)
    assert (news.new, news.reasons) == (False, ())
    assert news.line == "Nothing new since tiny-tickets/3, which is in production"
    assert news.since is not None
    assert news.since.version == "tiny-tickets/3"
    assert news.since.dataset.content_sha256 == production.receipt("dataset").content_sha256


def test_rows_that_were_only_written_anew_are_new_until_they_are_known_to_come_out_the_same(
    production: Production,
) -> None:
    rows = production.path.parent / "rows.jsonl"
    rows.write_text(rows.read_text().replace("\n", "\n\n"))
    assert production.look().new
    walked(production.path, production.on)
    assert not production.look().new


def test_other_rows_are_named_by_their_file(production: Production) -> None:
    (production.path.parent / "more.jsonl").write_text((production.path.parent / "rows.jsonl").read_text())
    news = production.look(data__train_files=[str(production.path.parent / "*.jsonl")])
    assert news.new
    assert [reason.rpartition("/")[2] for reason in news.reasons] == ["more.jsonl: was not there"]
    assert "more.jsonl: was not there" in news.page()


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("train__max_steps", 9, ["train.max_steps: 6 → 9"]),
        ("train__objective", {"method": "dpo"}, ["train.objective: "]),  # which the rows of then are not for
        ("merge__dtype", "bfloat16", ["merge.dtype: float32 → bfloat16"]),
        ("gate__incumbent__margin", 0.1, ["gate.incumbent"]),
        ("register__alias", "staging", ["register.alias: candidate → staging"]),
        ("data__decontamination", "drop", ["data.decontamination: report → drop"]),
        ("data__max_length", 128, ["the data, its template or its rules: not what it was"]),
        ("evaluate__limit", 3, ["the tasks in"]),
    ],
)
def test_settings_that_matter_are_new_and_named(
    production: Production, field: str, value: object, told: list[str]
) -> None:
    news = production.look(**{field: value})
    assert news.new
    assert [reason.startswith(start) for reason, start in zip(news.reasons, told, strict=True)] == [True]


def test_the_version_that_a_run_found_is_no_setting_of_the_gate(production: Production) -> None:
    verdict = production.made.records["verdict"]
    found: dict[str, Any] = {**verdict.config}
    found["incumbent"] = {**found["incumbent"], "version": "tiny-tickets/2"}
    records = production.made.records | {"verdict": verdict.model_copy(update={"config": found})}
    assert [*differences(recipes.load(str(production.path)), Made(records))] == []


def test_a_version_that_the_recipe_names_is_compared_with_instead(production: Production) -> None:
    news = production.look(gate__incumbent__version="tiny-tickets/3")
    assert news.line == "Nothing new since tiny-tickets/3, as gate.incumbent.version says"


def test_another_base_is_new(production: Production) -> None:
    weights = production.path.parent / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert production.look().reasons == (f"the base model {production.path.parent / 'model'}: not what it was",)


def test_without_a_champion_it_is_said_and_all_is_new(production: Production) -> None:
    news = look(recipes.load(str(production.path)), Rivals(), production.on.store)
    assert (news.new, news.since) == (True, None)
    assert news.line == "Of tiny-tickets no version is in production that could be compared with"


@pytest.mark.parametrize("lost", ["registry", "training", "merging"])
def test_where_the_lineage_is_gone_it_is_said_and_all_is_new(production: Production, lost: str) -> None:
    role = {"registry": "version", "training": "adapter", "merging": "model"}[lost]
    production.on.store.objects.delete(layout.manifest(lost, production.made.records[role].key, 1))
    news = production.look()
    assert news.new
    assert news.line.startswith("What tiny-tickets/3 was made of is not known any more: ")


def test_what_was_turned_down_already_is_not_made_again(production: Production) -> None:
    path = production.path.with_name("changed.yaml")
    path.write_text(production.path.read_text().replace("max_steps: 6", "max_steps: 7"))
    later = walked(path, production.on).records["version"]
    held = Judged(version="tiny-tickets/4", registration=later.key, outcome="held")
    news = production.look(held, train__max_steps=7)
    assert not news.new
    assert news.line == "Nothing new since tiny-tickets/4, which was held beside tiny-tickets/3"
    assert news.reasons == ("train.max_steps: 6 → 7",)
    assert production.look(held, train__max_steps=8).new
    unknown = Judged(version="tiny-tickets/5", registration="f" * 64, outcome="held")
    assert production.look(unknown, train__max_steps=7).new


def test_of_many_reasons_the_first_are_shown_and_none_leaves_its_block() -> None:
    news = News(True, "New", tuple(f"s3://b/{number}```: was not there" for number in range(SHOWN + 5)))
    page = news.page()
    assert page.count("```") == 2
    assert "and 5 more" in page
