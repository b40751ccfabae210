"""Make a dataset: every shard that is not made yet, then the index over all of them, and the report."""

import io
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra import settings
from infra.errors import BadData, BadTemplate, Lost
from infra.frozen import canonical
from infra.launch.work import Summary, Work, main
from infra.memory import give_back
from infra.storage.receipt import Receipt
from tasks.data import pool, remote, samples, sources, stage, templates
from tasks.data.config import DataConfig
from tasks.data.figures import taken
from tasks.data.index import Index
from tasks.data.page import page
from tasks.data.places import Made
from tasks.data.plan import Planned, shards
from tasks.data.pool import Order
from tasks.data.report import Report, save, tell
from tasks.data.shard import CHAT, SIGNATURE, Told
from tasks.data.sides import Side
from tasks.data.similar import PLACES
from tasks.data.templates import Template
from tasks.data.tokens import Encoder, load, without_torch

SUMMARY = {
    "rows",
    "train_rows",
    "validation_rows",
    "dropped",
    "truncated",
    "split",
    "bad",
    "train_tokens",
    "supervised_share",
    "max_length",
    "suggested_max_length",
    "fill",
    "bins",
}


def work(job: Work[DataConfig]) -> Summary:
    """Fill `job.out` with the index of both sides, the prompts, the template and the report; shards become parts."""
    config, own = job.config, cache(partial(load, job.inputs["tokenizer"]))
    override = templates.override(config, own)
    made = _read(job, _make(job, override, own))
    tokenizer = own()
    template = Template(tokenizer, override)
    job.beat("packing")
    found = Index(config, made)
    give_back()  # the parts that its columns were put together from
    require_usable(found)
    found.choose(np.load(job.inputs["overlap"] / "rows.npy") if "overlap" in job.spec.inputs else None)
    found.cut()
    if config.near_duplicates is not None:
        job.beat("looking for near copies")
        found.drop_near_copies(_signatures(job, len(found.rows)), config.near_duplicates)
    report = _write(job, found, Encoder(tokenizer))
    (job.out / "chat_template.jinja").write_text(template.text or "", encoding="utf-8")
    _require_same_sources(job)
    job.origins.extend(sources.origins(config))
    return {
        **report.model_dump(include=SUMMARY),
        **({"judged": found.kind} if found.kind else {}),
        "shards": len(made),
        "template_sha256": template.sha256,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
    }


def _make(job: Work[DataConfig], template: str | None, own: Callable[[], object]) -> list[Planned]:
    """Have every shard made; they become the parts of the dataset, in order. `own` loads what this process needs later."""
    planned: list[Planned] = []
    told = Progress(job, planned)

    def orders() -> Iterator[Order]:
        for shard in shards(job.config, job.scratch / "sources"):
            planned.append(shard)
            yield Order(
                planned=shard, tokenizer=job.receipt("tokenizer"), folder=job.inputs["tokenizer"], template=template
            )

    for number, receipt in enumerate(_run(job, orders(), told.heard)):
        job.parts[f"shard-{number:05}"] = receipt
        told.done(number)
        if number == 0:
            own()  # other processes have shards to make meanwhile, and did not wait for it
    return planned


def _run(job: Work[DataConfig], orders: Iterator[Order], heard: Callable[[int], object]) -> Iterator[Receipt]:
    """On this machine's cores, or on the cluster that the environment names."""
    if address := settings.load().shards:
        return remote.run(orders, job.platform, address, heard)
    return pool.run(orders, job.platform, job.config.num_proc or pool.cores(), heard)


def _require_same_sources(job: Work[DataConfig]) -> None:
    if stage.step(job.config, job.receipt("tokenizer"), job.spec.inputs.get("overlap")).key != job.spec.key:
        raise Lost(
            "the source files changed while they were read", place="data.train_files", remedy="run it once they rest"
        )


class Progress:
    """What is heard of the shards, as beats; time left goes by the bytes of the sources."""

    def __init__(self, job: Work[DataConfig], planned: list[Planned]) -> None:
        self._job, self._planned, self._started = job, planned, time.monotonic()
        config = job.config
        both = [(field, source) for field in (True, False) for source in config.sources(field)]
        self._total = sum(file.size for side, source in both for file in sources.of(source, side))
        self._done = self._rows = 0

    def heard(self, rows: int) -> None:
        """All rows so far."""
        self._rows = rows
        self._beat()

    def done(self, number: int) -> None:
        """One more shard is there."""
        self._done += self._planned[number].size
        self._beat()

    def _beat(self) -> None:
        share = min(1.0, self._done / max(1, self._total))
        left = (time.monotonic() - self._started) * (1 / share - 1) if share else None
        self._job.beat("tokenising", int(1000 * share), 1000, left, rows=self._rows)


def _read(job: Work[DataConfig], planned: list[Planned]) -> list[Made]:
    """What every shard tells, without its tokens."""
    store, made = job.platform.store, []
    for plan, receipt in zip(planned, job.parts.values(), strict=True):
        told = Told.model_validate_json(store.read(receipt, "shard.json"))
        files = ("rows.npy", "judged.npy") if told.judged else ("rows.npy",)
        made.append(Made(plan, told, *(np.load(io.BytesIO(store.read(receipt, file))) for file in files)))
    return made


def _signatures(job: Work[DataConfig], rows: int) -> NDArray[np.uint32]:
    """The signatures of all rows, [rows, PLACES], in a file of this machine."""
    path = job.scratch / "signatures.bin"
    with path.open("wb") as file:
        for name, receipt in job.parts.items():
            folder = job.platform.cache.materialise(job.platform.store, receipt, job.scratch / "shards" / name)
            with (folder / "signatures.bin").open("rb") as part:
                shutil.copyfileobj(part, file, 2**20)
    return np.memmap(path, SIGNATURE, "r", shape=(rows, PLACES)) if rows else np.zeros((0, PLACES), SIGNATURE)


def require_usable(found: Index) -> None:
    """BadData where a file is empty or too many rows were bad, BadTemplate where the masks cannot be right."""
    found.require_rows_in_files()
    bad, rows = found.bad, found.total
    if bad > found.config.max_bad_rows * rows:
        problems = found.problems["bad"]
        raise BadData(
            f"{bad} of {rows} rows cannot be used; at most {found.config.max_bad_rows:.2%} may be bad",
            place=problems[0].place,
            value="; ".join(f"{problem.place} {problem.text}" for problem in problems[:5]),
            remedy="mend or remove these rows, or raise data.max_bad_rows",
        )
    chats = found.rows["kind"] == CHAT
    learned = int(found.rows["learned"][chats].sum(dtype=np.int64))
    predicted = int(found.rows["length"][chats].sum(dtype=np.int64)) - int(chats.sum()) * (1 + (found.kind == "pairs"))
    if chats.any() and learned in (0, predicted):
        raise BadTemplate(
            f"{learned} of {predicted} tokens of the conversations are answers, so the masks cannot be right",
            place="data.chat_template",
            value=f"supervised share {100 * learned / max(predicted, 1):.0f} %",
            remedy="see how the template marks the assistant's turn (add_generation_prompt)",
        )


def _write(job: Work[DataConfig], found: Index, encoder: Encoder) -> Report:
    """Both sides of the index, the held-out prompts, and the figures of all of it."""
    sides = found.divided()
    for name, side in sides.items():
        side.write(job.out / name)
    _write_places(job.out, found, sides)
    looked = samples.Looked(job.platform, list(job.parts.values()), job.scratch / "shards")
    samples.write_prompts(job.out / "prompts.jsonl", found, sides["validation"].times > 0, looked, encoder)
    report = tell(found, sides["train"], sides["validation"], samples.sampled(found, looked, encoder))
    save(job.out, report)
    shown = samples.shown(found, sides["train"].times, looked, encoder)
    (job.out / "report.html").write_text(page(report, shown, encoder.special), encoding="utf-8")
    return report


def _write_places(out: Path, found: Index, sides: dict[str, Side]) -> None:
    """index.json, taken.npy and quarantine.jsonl: what every row is and was, and the bad ones."""
    index = {"prompt_loss_weight": found.prompt_loss_weight, "shards": found.places.told()}
    if found.kind:
        index["judged"] = found.kind
    (out / "index.json").write_bytes(canonical(index))
    np.save(out / "taken.npy", taken(sides["train"], sides["validation"]))
    with (out / "quarantine.jsonl").open("wb") as file:
        for bad in found.quarantined():
            file.write(canonical({"place": bad.place, "reason": bad.text, "sample": bad.sample}) + b"\n")


if __name__ == "__main__":
    without_torch()
    main(DataConfig, work)
