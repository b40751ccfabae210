"""The HF Trainer with our batches and our loss: every token weighs what the data says, on any split of the batch."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from transformers import Trainer

from infra.errors import BadTraining
from infra.models.nf4 import as_loaded
from tasks.training.batches import MicroBatches, Split
from tasks.training.sequences import Sequences, collate

Inputs = dict[str, torch.Tensor]


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
    """Σ w·ce / Σ w over the global batch: equal for any accumulation and any number of ranks."""

    def __init__(self, *, train: Sequences, validation: Sequences, shape: Split, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._train, self._validation, self._shape = train, validation, shape
        self._head = OnlySupervised(self.model)
        self.loss_is_scaled_for_ga = True
        self.tokens_seen = 0
        self.tokens_last = 0

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Not prepared by accelerate: the sampler already gives each rank its own part."""
        batches = MicroBatches(
            len(self._train), self.args.seed, self.args.max_steps, self._shape, self.args.process_index
        )
        return DataLoader(self._train, batch_sampler=batches, collate_fn=collate)

    def _get_num_items_in_batch(self, batch_samples: list[Inputs], device: torch.device) -> torch.Tensor:
        # An internal of transformers 5.23, pinned by pyproject: the one place that sees a whole accumulated batch.
        local = torch.tensor(
            [
                [sum(float(_shifted(batch).sum()) for batch in batch_samples)],
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
        total, _ = self._weighted_sum(model, inputs)
        return total * self.args.world_size / num_items_in_batch.squeeze()

    def _weighted_sum(self, model: Any, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        weights = _shifted(inputs)
        self._head.mask = mask = weights > 0
        try:
            output = model(input_ids=inputs["input_ids"], position_ids=inputs["position_ids"], use_cache=False)
        finally:
            self._head.mask = None
        losses = F.cross_entropy(output.logits[0].float(), inputs["input_ids"][:, 1:][mask], reduction="none")
        return (losses * weights[mask]).sum(), weights.sum()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """The same loss over the whole validation split. Every rank takes as many forward passes (ZeRO-3 needs it)."""
        if len(self._validation) == 0:
            return {}
        model = self.model_wrapped
        model.eval()
        as_loaded(model)
        sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        world, rank = self.args.world_size, self.args.process_index
        for first in range(0, len(self._validation), world):
            mine = first + rank
            batch = collate([self._validation[min(mine, len(self._validation) - 1)]])
            total, weight = self._weighted_sum(model, {name: t.to(self.args.device) for name, t in batch.items()})
            if mine < len(self._validation):
                sums += torch.stack([total.double(), weight.double()])
        model.train()
        sums = self.accelerator.reduce(sums, reduction="sum")
        loss = float(sums[0] / sums[1])
        if not math.isfinite(loss):
            raise BadTraining("the validation loss is not a number", place=f"step {self.state.global_step}")
        metrics = {"eval_loss": loss}
        self.log(metrics)
        return metrics


def _shifted(batch: Inputs) -> torch.Tensor:
    # The weight of a token is that of predicting it, from the position before.
    return batch["loss_weights"][:, 1:]
