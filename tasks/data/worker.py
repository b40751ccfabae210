"""Make a dataset: read, render, encode and weigh every row; split, pack, report."""

import json
import time
from pathlib import Path

import numpy as np

from infra.errors import Lost
from infra.launch.work import Summary, Work, main
from tasks.data import sources, stage
from tasks.data.config import DataConfig
from tasks.data.formats import read
from tasks.data.layouts import Shape
from tasks.data.packing import Bins, one_each, pack
from tasks.data.preparation import Preparation, require_rows
from tasks.data.report import Problem, Report, save, suggest
from tasks.data.spool import Spool, save_bins
from tasks.data.templates import Template
from tasks.data.tokens import load

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
    """Fill `job.out` with both splits, the prompts, the template and the report."""
    job.beat("loading the tokenizer")
    tokenizer, config = load(job.inputs["tokenizer"]), job.config
    override = config.chat_template and sources.text(config.chat_template, "data.chat_template")
    template = Template(tokenizer, override)
    preparation = Preparation(config, tokenizer, template, Spool(job.scratch / "spool", config.prompt_loss_weight))
    shape = Shape(config.format, config.columns)
    _read_all(job, preparation, shape)
    preparation.finish()
    _require_same_sources(job)
    job.beat("packing")
    report = _split(job.out, preparation, sorted(shape.unused))
    save(job.out, report, np.array(preparation.lengths, dtype=np.int64))
    (job.out / "chat_template.jinja").write_text(template.text or "", encoding="utf-8")
    return {
        **report.model_dump(include=SUMMARY),
        "template_sha256": template.sha256,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
    }


def _read_all(job: Work[DataConfig], preparation: Preparation, shape: Shape) -> None:
    config, started = job.config, time.monotonic()
    sides = [
        ("data.validation_files", config.validation_files or [], True),
        ("data.train_files", config.train_files, False),
    ]
    steps = 100 * sum(len(sources.files(names, field)) for field, names, _ in sides)
    done = 0
    for field, names, validation in sides:
        for name, path in sources.fetched(names, field, job.scratch / "sources"):
            for share in preparation.feed(read(path, name, shape), validation):
                step = done + int(100 * share)
                eta = (time.monotonic() - started) * (steps / step - 1) if step else None
                job.beat("tokenising", step, steps, eta, rows=preparation.tally.rows)
            done += 100


def _require_same_sources(job: Work[DataConfig]) -> None:
    if stage.step(job.config, job.receipt("tokenizer")).key != job.spec.key:
        raise Lost(
            "the source files changed while they were read", place="data.train_files", remedy="run it once they rest"
        )


def _split(out: Path, preparation: Preparation, unused: list[str]) -> Report:
    config, spool, tally = preparation.config, preparation.spool, preparation.tally
    chosen = preparation.chosen()
    require_rows(int((~chosen).sum()), tally)
    lengths = {"train": spool.write(out / "train", ~chosen), "validation": spool.write(out / "validation", chosen)}
    bins = {split: _pack(out / split, lengths[split], config) for split in lengths}
    held = set(spool.fingerprints[chosen].tolist())
    lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in preparation.prompts.items(held.__contains__)]
    (out / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    tokens, heads = int(lengths["train"].sum()), spool.heads
    before = np.array(preparation.lengths, dtype=np.int64)
    return Report(
        rows=tally.rows,
        train_rows=int((heads & ~chosen).sum()),
        validation_rows=int((heads & chosen).sum()),
        dropped=tally.dropped,
        truncated=tally.truncated,
        split=tally.split,
        bad=tally.bad,
        dropped_why=dict(tally.why),
        duplicates=int(heads.sum()) - len(np.unique(spool.fingerprints[heads])),
        unused_columns=unused,
        train_tokens=tokens,
        validation_tokens=int(lengths["validation"].sum()),
        supervised_share=int(spool.learned[~chosen].sum()) / tokens,
        straddling_tokens=tally.straddling,
        prompt_loss_weight=config.prompt_loss_weight,
        packing=config.packing,
        bins=len(bins["train"]),
        fill=tokens / (len(bins["train"]) * config.max_length),
        max_length=config.max_length,
        suggested_max_length=suggest(before),
        longest=int(before.max()),
        median_length=int(np.median(before)),
        problems={kind: [Problem(place=a, text=b) for a, b in found] for kind, found in tally.problems.items()},
    )


def _pack(folder: Path, lengths: np.ndarray, config: DataConfig) -> Bins:
    bins = pack(lengths, config.max_length) if config.packing else one_each(len(lengths))
    save_bins(folder, bins)
    return bins


if __name__ == "__main__":
    main(DataConfig, work)
