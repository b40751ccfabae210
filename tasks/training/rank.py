"""What every rank runs, started by the worker through torchrun: load, train, save. Talks to its worker by files."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainingArguments, set_seed

from infra.errors import BadRecipe, LuthierError, OutOfMemory
from infra.frozen import Frozen, canonical
from infra.launch.lifeline import die_with_parent
from tasks.training import loading, zero
from tasks.training.batches import Split, split, steps
from tasks.training.callbacks import Journal, Ready
from tasks.training.config import TrainConfig
from tasks.training.sequences import Sequences
from tasks.training.trainer import WeightedTrainer

CURVE = ("step", "loss", "eval_loss", "learning_rate", "grad_norm")


class RankJob(Frozen):
    """What the worker tells its ranks: where things lie on this node."""

    config: TrainConfig
    weights: str
    weights_sha256: str
    dataset: str
    shards: list[str]
    out: str
    scratch: str
    resume_from: str | None = None


@dataclass(frozen=True)
class Run:
    """A run's arithmetic, equal on every rank."""

    shape: Split
    total_steps: int
    device: torch.device


def main(path: str) -> None:
    """Train, or leave an error report beside the job and exit with 1."""
    die_with_parent()
    job = RankJob.model_validate_json(Path(path).read_bytes())
    try:
        train(job)
    except LuthierError as error:
        _report(job, error)
    except torch.OutOfMemoryError as error:
        _report(
            job,
            OutOfMemory(
                "a device ran out of memory in training",
                place="train.per_device_train_batch_size",
                value=job.config.per_device_train_batch_size,
                remedy=f"lower it, set gradient_checkpointing: true, or use zero3 ({str(error)[:200]})",
            ),
        )


def train(job: RankJob) -> None:
    """One rank's part of the whole run, from the checkpoint it was given or from the start."""
    config = job.config
    on_gpu = torch.cuda.is_available()
    if config.fp16 and not on_gpu:
        raise BadRecipe("fp16 needs a GPU", place="train.fp16", value=True, remedy="set bf16: true or neither (fp32)")
    dataset, validation = _sequences(job)
    arguments, run = _arguments(job, len(dataset), use_cpu=not on_gpu)
    set_seed(config.seed)  # the Trainer seeds too, but only after the adapter has drawn its first weights
    model = loading.load(config, Path(job.weights), run.device)
    trainer = WeightedTrainer(
        model=model,
        args=arguments,
        train=dataset,
        validation=validation,
        shape=run.shape,
    )
    journal = Journal(trainer, Path(job.scratch) / "journal.jsonl", loading.matmul_sizes(model), run.device)
    trainer.add_callback(journal)
    trainer.add_callback(Ready(Path(job.scratch)))
    trainer.train(resume_from_checkpoint=job.resume_from)
    trainer.evaluate()
    save(trainer, job)


def _sequences(job: RankJob) -> tuple[Sequences, Sequences]:
    """What is trained on, and what is held out."""
    folder, shards = Path(job.dataset), [Path(shard) for shard in job.shards]
    weight = json.loads((folder / "index.json").read_bytes())["prompt_loss_weight"]
    return Sequences(folder / "train", shards, weight), Sequences(folder / "validation", shards, weight)


def save(trainer: WeightedTrainer, job: RankJob) -> None:
    """Write the adapter or the tuned weights, the same bytes whatever machine this is."""
    out = Path(job.out)
    trainer.save_model(str(out))
    if trainer.args.process_index == 0:
        # A pickle of this machine's paths, of no use to anyone.
        (out / "training_args.bin").unlink(missing_ok=True)
        (out / "README.md").unlink(missing_ok=True)
        adapter = out / "adapter_config.json"
        if adapter.exists():
            named = json.loads(adapter.read_text()) | {"base_model_name_or_path": f"sha256:{job.weights_sha256}"}
            if isinstance(named["target_modules"], list):
                named["target_modules"].sort()  # peft writes a set: another order in every process
            adapter.write_text(json.dumps(named, indent=2, sort_keys=True))
        (out / "training.json").write_bytes(canonical(_facts(job.config)))
        # The Trainer keeps this list in its checkpoints, so a resumed run tells the whole story.
        curve = [{k: line[k] for k in CURVE if k in line} for line in trainer.state.log_history]
        (out / "log_history.json").write_bytes(canonical([line for line in curve if len(line) > 1]))
    dist.barrier()


def _facts(config: TrainConfig) -> dict[str, Any]:
    """What whoever merges the result must know about how its base was held."""
    four_bit = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": loading.QUANT_TYPE,
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": loading.DTYPES[config.precision][0],
    }
    return {
        "method": config.tuning.method,
        "dtype": loading.DTYPES[config.precision][0],
        "quantization": four_bit if config.tuning.load_in_4bit else None,
    }


def _arguments(job: RankJob, sequences: int, use_cpu: bool) -> tuple[TrainingArguments, Run]:
    config = job.config
    world = int(os.environ["WORLD_SIZE"])
    shape = split(config.train_batch_size, config.per_device_train_batch_size, world)
    total = steps(sequences, config.train_batch_size, config.num_train_epochs, config.max_steps)
    engine = zero.engine_config(
        config.deepspeed,
        micro_batch=shape.micro,
        accumulation=shape.accumulation,
        world_size=world,
        max_grad_norm=config.max_grad_norm,
        precision=config.precision,
    )
    if engine is not None:
        _prepare_deepspeed(use_cpu)
    arguments = TrainingArguments(
        output_dir=str(Path(job.scratch) / "checkpoints"),
        max_steps=total,
        per_device_train_batch_size=shape.micro,
        gradient_accumulation_steps=shape.accumulation,
        learning_rate=config.peak_learning_rate,
        lr_scheduler_type=config.lr_scheduler_type,
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=config.bf16,
        fp16=config.fp16,
        deepspeed=engine,
        use_cpu=use_cpu,
        ddp_timeout=config.ddp_timeout,
        gradient_checkpointing=config.gradient_checkpointing,
        logging_steps=config.logging_steps,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if config.eval_steps else "no",
        eval_steps=config.eval_steps,
        save_strategy="steps",
        save_steps=config.save_steps,
        seed=config.seed,
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
        **config.training_args,
    )
    return arguments, Run(shape, total, arguments.device)


def _prepare_deepspeed(use_cpu: bool) -> None:
    """Start DeepSpeed's communication, before any weights are loaded (ZeRO-3 shards while loading)."""
    import deepspeed  # noqa: PLC0415 - only runs that use it pay for its import

    if use_cpu:
        # gloo alone is enough here; the shared-memory op would compile for minutes, and a killed build leaves a lock
        # that every later start waits on for ever.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo" if use_cpu else "nccl")


def _report(job: RankJob, error: LuthierError) -> None:
    rank = os.environ.get("RANK", "0")
    (Path(job.scratch) / f"error-{rank}.json").write_bytes(canonical(error.report().model_dump(mode="json")))
    raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1])
    # Everything is on disk. The destructors of the communication's threads abort now and then at interpreter exit
    # ("terminate called without an active exception"), which would make a finished training count as a dead rank.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
