"""The HF Trainer with our batches and our loss: every token weighs what the data says, on any split of the batch."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from transformers import Trainer

from infra.errors import BadTraining
from infra.models.nf4 import as_loaded
from tasks.training.batches import MicroBatches, Split
from tasks.training.behind import Behind
from tasks.training.blame import Blame
from tasks.training.judged_sequences import JudgedSequences
from tasks.training.sequences import Sequences, collate

Inputs = dict[str, torch.Tensor]
Side = Sequences | JudgedSequences


class OnlySupervised:
    """Has the output head compute logits only where a next token is supervised.

    The logits are the largest tensor of a step (positions × vocabulary), and unsupervised ones are thrown away. A
    hook before the head works under DDP, ZeRO and PEFT alike, and for every architecture with an output embedding.
    """

    def __init__(self, model: Any) -> None:
        self.mask: torch.Tensor | None = None
        model.get_output_embeddings().register_forward_pre_hook(self._select)

    def _select(self, _module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if self.mask is None:
            return args
        return (args[0][:, :-1][self.mask].unsqueeze(0), *args[1:])


class WeightedTrainer(Trainer):  # type: ignore[misc]
    """Σ w·ce / Σ w over the global batch: equal for any accumulation and any number of ranks.

    Checkpoints go through `behind`; `describe` puts what a reader needs into a folder of saved weights.
    """

    SUMS = 2
    collate: Callable[[Any], dict[str, Any]] = staticmethod(collate)

    def __init__(
        self,
        *,
        train: Side,
        validation: Side,
        shape: Split,
        blame: Blame,
        behind: Behind,
        describe: Callable[[Path], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._blame = blame
        self._train, self._validation, self._shape = train, validation, shape
        self._behind, self._describe = behind, describe
        self._head = OnlySupervised(self.model)
        self.loss_is_scaled_for_ga = True
        self.tokens_seen = 0
        self.tokens_last = 0

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Not prepared by accelerate: the sampler already gives each rank its own part."""
        batches = MicroBatches(
            len(self._train), self.args.seed, self.args.max_steps, self._shape, self.args.process_index
        )
        return DataLoader(self._train, batch_sampler=batches, collate_fn=self.collate)

    def _get_num_items_in_batch(self, batch_samples: list[Inputs], device: torch.device) -> torch.Tensor:
        # An internal of transformers 5.23, pinned by pyproject: the one place that sees a whole accumulated batch.
        self._blame.begin(self.state.global_step + 1)
        local = torch.tensor(
            [
                [sum(self.amount(batch) for batch in batch_samples)],
                [sum(int(batch["loss_weights"].numel()) for batch in batch_samples)],
            ],
            dtype=torch.float64,
            device=device,
        )
        both = self.accelerator.reduce(local, reduction="sum")
        self.tokens_last = int(both[1])
        self.tokens_seen += self.tokens_last
        return both[0].float()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # ZeRO-3 gathers a tied weight once for each of its names, and the copies no longer show that they are one.
        tied = getattr(self.model, "all_tied_weights_keys", {})
        if state_dict is not None:
            state_dict = {name: tensor for name, tensor in state_dict.items() if name not in tied}
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            self._describe(Path(output_dir or self.args.output_dir))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with self._behind.checkpoint(self.state.global_step):
            super()._save_checkpoint(model, trial)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The tuned weights. For a checkpoint only what is trained, and nothing where DeepSpeed's files have it all."""
        if not self._behind.open:
            super().save_model(output_dir, _internal_call)
        elif self._adapts or not self.is_deepspeed_enabled:
            state = self._trained()
            if self.args.should_save:
                taken = self._behind.taken(state)
                self._behind.later(lambda: self._save(output_dir, taken))

    def _trained(self) -> dict[str, Any] | None:
        """The weights that change; under ZeRO-3 gathered from all ranks, for the first."""
        if self.is_deepspeed_enabled and self.deepspeed.zero_optimization_partition_weights():
            gathered: dict[str, Any] | None = self.deepspeed._zero3_consolidated_16bit_state_dict(
                exclude_frozen_parameters=True
            )
            return gathered
        if self._adapts:
            return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}
        weights: dict[str, Any] = self.model.state_dict()
        return weights

    @property
    def _adapts(self) -> bool:
        return hasattr(self.model, "peft_config")

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.is_deepspeed_enabled:
            # All that DeepSpeed writes goes through these two; its own decoupled writer takes no snapshot.
            writer = self.model_wrapped.checkpoint_engine
            writer.save, writer.preserves_storage_sharing = self._behind.save, lambda: False
            super()._save_optimizer_and_scheduler(output_dir)
        elif self.args.should_save:
            self._behind.save(self.optimizer.state_dict(), Path(output_dir) / "optimizer.pt")
            self._behind.save(self.lr_scheduler.state_dict(), Path(output_dir) / "scheduler.pt")

    def compute_loss(
        self,
        model: Any,
        inputs: Inputs,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """This micro-batch's share of the loss, times the number of ranks, because gradients are averaged over them."""
        if num_items_in_batch is None or return_outputs:
            raise NotImplementedError("only training steps come here; validation has a loop of its own")
        total, *_ = self.sums(model, inputs)
        return total * self.args.world_size / num_items_in_batch.squeeze()

    def amount(self, batch: Inputs) -> float:
        """What the losses of a micro-batch are divided by."""
        return float(shifted(batch).sum())

    def sums(self, model: Any, inputs: Inputs) -> tuple[torch.Tensor, ...]:
        """The losses of a micro-batch, what they are divided by, and what else is summed up over batches."""
        weights = shifted(inputs)
        each, learned = losses(model, self._head, inputs), weights > 0
        if model.training:
            self._blame.note(each, weights[learned], learned, inputs["position_ids"])
        return (each * weights[learned]).sum(), weights.sum()

    def named(self, _sums: list[float]) -> dict[str, float]:
        """Figures by name, of the sums but the first."""
        return {}

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """The same loss over the whole validation split. Every rank takes as many forward passes (ZeRO-3 needs it)."""
        if len(self._validation) == 0:
            return {}
        model = self.model_wrapped
        model.eval()
        as_loaded(model)
        sums = torch.zeros(self.SUMS, dtype=torch.float64, device=self.args.device)
        world, rank = self.args.world_size, self.args.process_index
        for first in range(0, len(self._validation), world):
            mine = first + rank
            batch = self.collate([self._validation[min(mine, len(self._validation) - 1)]])
            found = self.sums(model, self._prepare_inputs(batch))
            self.callback_handler.on_prediction_step(self.args, self.state, self.control)
            if mine < len(self._validation):
                sums += torch.stack([sum_.double() for sum_ in found])
        model.train()
        sums = self.accelerator.reduce(sums, reduction="sum")
        loss = float(sums[0] / sums[1])
        if not math.isfinite(loss):
            raise BadTraining("the validation loss is not a number", place=f"step {self.state.global_step}")
        metrics = {"eval_loss": loss} | {f"eval_{name}": value for name, value in self.named(sums[1:].tolist()).items()}
        self.log(metrics)
        return metrics


def losses(model: Any, head: OnlySupervised, inputs: Inputs) -> torch.Tensor:
    """−log p of each token that counts, one line behind the other."""
    head.mask = mask = shifted(inputs) > 0
    try:
        output = model(input_ids=inputs["input_ids"], position_ids=inputs["position_ids"], use_cache=False)
    finally:
        head.mask = None
    return F.cross_entropy(output.logits[0].float(), inputs["input_ids"][:, 1:][mask], reduction="none")


def shifted(batch: Inputs) -> torch.Tensor:
    """The weights of predicting, [batch, longest - 1]."""
    # The weight of a token is that of predicting it, from the position before.
    return batch["loss_weights"][:, 1:]
