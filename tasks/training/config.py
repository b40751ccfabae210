"""The recipe's `train:` section."""

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from infra.frozen import Frozen, NotInKey
from infra.launch.resources import Resources
from tasks.training.methods import Full, Tuning
from tasks.training.objectives import Objective, Sft
from tasks.training.zero import Preset

# What the Trainer is told elsewhere in this section, so that a recipe cannot say two things at once.
OWNED = {
    **dict.fromkeys(
        ["output_dir", "resume_from_checkpoint", "save_strategy", "report_to", "use_cpu", "remove_unused_columns"],
        "set by Luthier",
    ),
    **dict.fromkeys(["save_only_model", "save_total_limit", "enable_jit_checkpoint"], "set by Luthier"),
    **dict.fromkeys(["gradient_accumulation_steps", "per_device_eval_batch_size"], "train.train_batch_size"),
    **dict.fromkeys(["logging_strategy"], "train.logging_steps"),
    **dict.fromkeys(["eval_strategy", "do_eval"], "train.eval_steps"),
    **dict.fromkeys(
        ["accelerator_config", "average_tokens_across_devices", "load_best_model_at_end", "push_to_hub"],
        "set by Luthier",
    ),
}


class TrainConfig(Frozen):
    """How to tune. `train_batch_size` is the truth; what fits on a device decides only how it is split."""

    tuning: Tuning = Field(description="full, lora or qlora, with the method's own fields")
    objective: Objective = Field(default_factory=Sft, description="sft, dpo or kto, with the objective's own fields")
    learning_rate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="default: 2e-4 for adapters, 2e-5 for full; with dpo and kto 1e-5 and 1e-6",
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"] = Field(
        "cosine", description="how the learning rate goes after warm-up"
    )
    warmup_steps: float = Field(0.03, ge=0, description="steps, or a share of all steps where below 1")
    num_train_epochs: float = Field(
        1.0, gt=0, description="times that every sequence is seen, in steps rounded to whole ones"
    )
    max_steps: int | None = Field(None, ge=1, description="overrides num_train_epochs")
    train_batch_size: int = Field(
        16, ge=1, description="packed sequences (rows without packing) a step, on all devices"
    )
    per_device_train_batch_size: Annotated[int, NotInKey()] = Field(
        1, ge=1, description="at most so many sequences at once on a device; accumulation is derived"
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    bf16: bool = Field(True, description="forward and backward in bfloat16; with neither bf16 nor fp16 all is float32")
    fp16: bool = Field(False, description="with loss scaling; needs a GPU")
    deepspeed: Preset | dict[str, JsonValue] = Field(
        "zero2", description="a preset, or the path or content of a DeepSpeed JSON"
    )
    gradient_checkpointing: Annotated[bool, NotInKey()] = Field(False, description="less memory, about 25 % slower")
    num_processes: Annotated[int | None, NotInKey()] = Field(
        None, ge=1, description="on all nodes together; default: one a GPU, else one a node"
    )
    resources: Annotated[Resources, NotInKey()] = Field(
        default_factory=Resources, description="what training takes of a cluster"
    )
    logging_steps: Annotated[int, NotInKey()] = Field(
        1, ge=1, description="loss, learning rate and speed are noted every so many steps"
    )
    eval_steps: Annotated[int | None, NotInKey()] = Field(None, ge=1, description="default: only after the last step")
    save_steps: Annotated[int, NotInKey()] = Field(
        50, ge=1, description="a checkpoint is committed every so many steps"
    )
    ddp_timeout: Annotated[int, NotInKey()] = Field(
        1800, ge=30, description="seconds a step may take before it counts as hung"
    )
    loss_watchdog_threshold: Annotated[float | None, NotInKey()] = Field(
        None, gt=0, description="training ends where the loss stays above this; about twice the loss it starts with"
    )
    loss_watchdog_patience: Annotated[int, NotInKey()] = Field(
        3, ge=1, description="logged losses in a row above the threshold before it ends"
    )
    on_oom: Annotated[Literal["adapt", "fail"], NotInKey()] = Field(
        "adapt",
        description="adapt: out of memory, training goes on with half as many sequences at once, at one with gradient_checkpointing; fail: it ends",
    )
    seed: int = Field(42, description="order of the sequences, start of the adapter, dropout")
    training_args: dict[str, JsonValue] = Field(
        default_factory=dict, description="any further transformers.TrainingArguments"
    )

    @model_validator(mode="after")
    def _one_precision(self) -> "TrainConfig":
        if self.bf16 and self.fp16:
            raise ValueError("train.bf16 and train.fp16 exclude each other: set bf16: false to use fp16")
        return self

    @model_validator(mode="after")
    def _as_many_on_each_node(self) -> "TrainConfig":
        if self.num_processes and self.num_processes % self.resources.nodes:
            raise ValueError(
                f"train.num_processes is of all nodes together, and {self.num_processes} cannot be shared evenly by "
                f"{self.resources.nodes} (train.resources.nodes)"
            )
        return self

    @model_validator(mode="after")
    def _nothing_said_twice(self) -> "TrainConfig":
        for name in self.training_args:
            if name in type(self).model_fields:
                raise ValueError(f"train.training_args.{name} is a field of its own: set train.{name}")
            if name in OWNED:
                raise ValueError(f"train.training_args.{name} cannot be set: {OWNED[name]} decides it")
        if isinstance(self.deepspeed, dict):
            for name in ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"):
                if self.deepspeed.get(name, "auto") != "auto":
                    raise ValueError(f"train.deepspeed.{name} cannot be set: train.train_batch_size decides it")
        return self

    def material(self) -> dict[str, Any]:
        """What the key is made of: without the objective where it is sft, as before there were others."""
        made = super().material()
        if isinstance(self.objective, Sft):
            del made["objective"]
        return made

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after warm-up."""
        full = isinstance(self.tuning, Full)
        if isinstance(self.objective, Sft):
            return self.learning_rate or (2e-5 if full else 2e-4)
        return self.learning_rate or (1e-6 if full else 1e-5)

    @property
    def held(self) -> Literal["bfloat16", "float16", "float32"]:
        """The dtype of the weights that are trained, or that the adapter is beside."""
        # Without an engine that keeps fp32 master weights, small updates would be lost to bf16 rounding.
        if (isinstance(self.tuning, Full) and self.deepspeed == "none") or self.precision == "fp32":
            return "float32"
        return "bfloat16" if self.bf16 else "float16"

    @property
    def precision(self) -> Literal["bf16", "fp16", "fp32"]:
        """The arithmetic of forward and backward."""
        return "bf16" if self.bf16 else "fp16" if self.fp16 else "fp32"
