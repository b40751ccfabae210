"""What every rank runs, started by the worker through torchrun: load, train, save. Talks to its worker by files."""

import json
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainingArguments, set_seed

from infra.errors import BadRecipe, LuthierError, OutOfMemory
from infra.frozen import Frozen, canonical
from infra.launch.lifeline import die_with_parent
from tasks.training import loading, ranks, zero
from tasks.training.adding import add_up
from tasks.training.batches import Split, split, steps
from tasks.training.behind import Behind
from tasks.training.blame import Blame
from tasks.training.callbacks import Journal, Moving
from tasks.training.config import TrainConfig
from tasks.training.judged_sequences import JudgedSequences
from tasks.training.judged_trainer import JudgedTrainer
from tasks.training.objectives import Sft
from tasks.training.places import Places
from tasks.training.presence import ADDING, JOINING, LOADING, Telling
from tasks.training.sequences import Sequences
from tasks.training.stopping import Agreement
from tasks.training.trainer import Side, WeightedTrainer
from tasks.training.watchdog import Watchdog

WATCH_FIRST_S = 60
CURVE = ("step", "loss", "eval_loss", "learning_rate", "grad_norm", "kl")


class RankJob(Frozen):
    """What the worker tells its ranks: where things lie on this node."""

    config: TrainConfig
    weights: str
    weights_sha256: str
    dataset: str
    shards: list[str]
    out: str
    scratch: str
    reference: str | None = None
    resume_from: str | None = None
    universal: bool = False


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
        train(job, Telling(Path(job.scratch)))
    except LuthierError as error:
        ranks.report(job.scratch, error)
    except (MemoryError, RuntimeError) as error:
        if not ranks.of_memory(error):
            raise
        ranks.report(
            job.scratch,
            OutOfMemory(
                "a device ran out of memory in training",
                place="train.per_device_train_batch_size",
                value=job.config.per_device_train_batch_size,
                remedy=f"lower it, set gradient_checkpointing: true, or use zero3 ({str(error)[:200]})",
            ),
        )


def train(job: RankJob, telling: Telling) -> None:
    """One rank's part of the whole run, from the checkpoint it was given or from the start."""
    telling.at(JOINING)
    config = job.config
    on_gpu = torch.cuda.is_available()
    if config.fp16 and not on_gpu:
        raise BadRecipe("fp16 needs a GPU", place="train.fp16", value=True, remedy="set bf16: true or neither (fp32)")
    dataset, validation = _sequences(job)
    arguments, run = _arguments(job, len(dataset), use_cpu=not on_gpu)
    if int(os.environ["GROUP_WORLD_SIZE"]) > 1:
        telling.at(ADDING)
        add_up(run.device, Path(job.scratch))
    telling.at(LOADING)
    set_seed(config.seed)  # the Trainer seeds too, but only after the adapter has drawn its first weights
    model = loading.load(config, Path(job.weights), run.device)
    places = Places(Path(job.dataset), [Path(shard) for shard in job.shards])
    blame = Blame(dataset, places, config.seed, run.shape, arguments.process_index)
    scratch = Path(job.scratch)
    behind = Behind(scratch, arguments.process_index, int(os.environ["LOCAL_WORLD_SIZE"]))
    kind: Any = (
        WeightedTrainer if isinstance(config.objective, Sft) else partial(JudgedTrainer, objective=config.objective)
    )
    trainer: WeightedTrainer = kind(
        model=model,
        args=arguments,
        train=dataset,
        validation=validation,
        shape=run.shape,
        blame=blame,
        behind=behind,
        describe=lambda folder: describe(folder, job),
    )
    agreement = Agreement(behind, scratch)
    # Before the journal, which takes numbers only.
    trainer.add_callback(Watchdog(blame, config.loss_watchdog_threshold, config.loss_watchdog_patience))
    trainer.add_callback(Journal(trainer, scratch / "journal.jsonl", loading.matmul_sizes(model), run.device))
    trainer.add_callback(agreement)
    trainer.add_callback(Moving(telling))
    trainer.train(resume_from_checkpoint=job.resume_from)
    if not agreement.stopped:
        trainer.evaluate()
        save(trainer, job)


def _sequences(job: RankJob) -> tuple[Side, Side]:
    """What is trained on, and what is held out."""
    folder, shards = Path(job.dataset), [Path(shard) for shard in job.shards]
    if job.reference is not None:
        train, validation = (
            JudgedSequences(folder / side, shards, Path(job.reference)) for side in ("train", "validation")
        )
        return train, validation
    weight = json.loads((folder / "index.json").read_bytes())["prompt_loss_weight"]
    return Sequences(folder / "train", shards, weight), Sequences(folder / "validation", shards, weight)


def save(trainer: WeightedTrainer, job: RankJob) -> None:
    """Write the adapter or the tuned weights, the same bytes whatever machine this is."""
    out = Path(job.out)
    trainer.save_model(str(out))
    if trainer.args.process_index == 0:
        # The Trainer keeps this list in its checkpoints, so a resumed run tells the whole story.
        curve = [{k: line[k] for k in line if k in CURVE or "rewards/" in k} for line in trainer.state.log_history]
        (out / "log_history.json").write_bytes(canonical([line for line in curve if len(line) > 1]))
    dist.barrier()


def describe(folder: Path, job: RankJob) -> None:
    """Make a folder of saved weights the same on any machine, and say what whoever merges it must know."""
    # A pickle of this machine's paths, of no use to anyone.
    (folder / "training_args.bin").unlink(missing_ok=True)
    (folder / "README.md").unlink(missing_ok=True)
    adapter = folder / "adapter_config.json"
    if adapter.exists():
        named = json.loads(adapter.read_text()) | {"base_model_name_or_path": f"sha256:{job.weights_sha256}"}
        if isinstance(named["target_modules"], list):
            named["target_modules"].sort()  # peft writes a set: another order in every process
        adapter.write_text(json.dumps(named, indent=2, sort_keys=True))
    (folder / "training.json").write_bytes(canonical(_facts(job.config)))


def _facts(config: TrainConfig) -> dict[str, Any]:
    """How the base was held while it was trained on."""
    four_bit = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": loading.QUANT_TYPE,
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": loading.DTYPES[config.precision][0],
    }
    return {
        "method": config.tuning.method,
        **({} if isinstance(config.objective, Sft) else {"objective": config.objective.model_dump(mode="json")}),
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
        universal=job.universal,
    )
    if engine is not None:
        prepare_deepspeed(use_cpu, config.ddp_timeout + WATCH_FIRST_S)
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
        # The worker's own watch comes first: it knows which rank the others wait for.
        ddp_timeout=config.ddp_timeout + WATCH_FIRST_S,
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


def prepare_deepspeed(use_cpu: bool, timeout_s: int = 1800) -> None:
    """Start DeepSpeed's communication, before any weights are loaded (ZeRO-3 shards while loading)."""
    import deepspeed  # noqa: PLC0415 - only runs that use it pay for its import

    if use_cpu:
        # gloo alone is enough here; the shared-memory op would compile for minutes, and a killed build leaves a lock
        # that every later start waits on for ever.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo" if use_cpu else "nccl", timeout=timedelta(seconds=timeout_s))


if __name__ == "__main__":
    main(sys.argv[1])
    # Everything is on disk. The destructors of the communication's threads abort now and then at interpreter exit
    # ("terminate called without an active exception"), which would make a finished training count as a dead rank.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
