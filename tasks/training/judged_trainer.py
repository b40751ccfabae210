"""The trainer of preference objectives: log-probabilities of whole texts, beside those of where the training started."""

from collections.abc import Callable
from typing import Any

import torch

from infra.models.nf4 import as_loaded
from tasks.training import judging
from tasks.training.judged_sequences import collate_judged
from tasks.training.objectives import Dpo, Kto
from tasks.training.trainer import Inputs, OnlySupervised, WeightedTrainer, losses, shifted


class JudgedTrainer(WeightedTrainer):
    """The mean over the judged answers (DPO: pairs) of the global batch: equal for any accumulation and any number of ranks."""

    collate: Callable[[Any], dict[str, Any]] = staticmethod(collate_judged)

    def __init__(self, *, objective: Dpo | Kto, **kwargs: Any) -> None:
        self._objective = objective
        self.SUMS = 5 if isinstance(objective, Dpo) else 6
        super().__init__(**kwargs)
        self._seen = torch.zeros(self.SUMS - 1, dtype=torch.float64, device=self.args.device)
        self._drift = torch.zeros((), device=self.args.device)
        self._drifts: list[float] = []

    def amount(self, batch: Inputs) -> float:
        """Pairs, or answers with a label."""
        return len(batch["reference"]) / (2 if isinstance(self._objective, Dpo) else 1)

    def sums(self, model: Any, inputs: Inputs) -> tuple[torch.Tensor, ...]:
        """The loss, the number of answers, and the sums that named() takes."""
        policy, reference = log_probabilities(model, self._head, inputs), inputs["reference"]
        if isinstance(self._objective, Dpo):
            tokens = texts(inputs, shifted(inputs)[shifted(inputs) > 0])
            policy, reference, tokens = (of.view(-1, 2) for of in (policy, reference, tokens))
            each = judging.dpo(self._objective, policy, reference, tokens)
            figures = judging.dpo_figures(self._objective, policy.detach(), reference)
        else:
            desirable = inputs["desirable"]
            each = judging.kto(self._objective, policy, reference, desirable, self._drift)
            figures = judging.kto_figures(self._objective, policy.detach(), reference, desirable)
        amount = torch.tensor(len(each), dtype=each.dtype, device=each.device)
        if torch.is_grad_enabled():
            (learned, spread), each_texts = by_token(each.detach(), inputs), len(reference.reshape(-1)) // len(each)
            self._blame.note(spread, torch.ones_like(spread), learned, inputs["position_ids"], each_texts)
            self._seen += torch.cat([amount[None], figures]).double()
        return each.sum(), amount, *figures

    def named(self, sums: list[float]) -> dict[str, float]:
        """TRL's names of what people watch."""
        return judging.dpo_named(sums) if isinstance(self._objective, Dpo) else judging.kto_named(sums)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """With the means of all steps since the last time; every rank comes here."""
        if "loss" in logs:
            seen = self.accelerator.reduce(self._seen, reduction="sum")
            logs |= self.named(seen.tolist())
            self._seen = torch.zeros_like(self._seen)
            if self._drifts:
                logs["kl"] = sum(self._drifts) / len(self._drifts)
                self._drifts.clear()
        super().log(logs, *args, **kwargs)

    def _get_num_items_in_batch(self, batch_samples: list[Inputs], device: torch.device) -> torch.Tensor:
        if self._measures:
            self._drift = self._measured(batch_samples, [True] * len(batch_samples))
            self._drifts.append(float(self._drift))
        return super()._get_num_items_in_batch(batch_samples, device)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The same loss over the whole validation split, with the drift on all of it."""
        if self._measures and len(self._validation):
            world, rank, last = self.args.world_size, self.args.process_index, len(self._validation) - 1
            mine = [first + rank for first in range(0, last + 1, world)]
            batches = (self.collate([self._validation[min(at, last)]]) for at in mine)
            self._drift = self._measured(batches, [at <= last for at in mine])
        told: dict[str, float] = super().evaluate(*args, **kwargs)
        return told

    @property
    def _measures(self) -> bool:
        return isinstance(self._objective, Kto) and self._objective.loss_type == "kto"

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _measured(self, batches: Any, counted: list[bool]) -> torch.Tensor:
        """How far the model went from its reference on the strangers of all ranks, never below 0. It is known before the
        first of its micro-batches is learned from, so that the split of the batch makes no difference."""
        model = self.model_wrapped
        model.eval()
        as_loaded(model)
        sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        for batch, counts in zip(batches, counted, strict=True):
            inputs = self._prepare_inputs(batch["strangers"])
            gain = log_probabilities(model, self._head, inputs) - inputs["reference"]
            self.callback_handler.on_prediction_step(self.args, self.state, self.control)
            if counts:
                sums += torch.stack([gain.sum().double(), torch.tensor(len(gain), device=gain.device).double()])
        model.train()
        sums = self.accelerator.reduce(sums, reduction="sum")
        return (sums[0] / sums[1]).clamp(min=0).float()


def log_probabilities(model: Any, head: OnlySupervised, inputs: Inputs) -> torch.Tensor:
    """log p of the answer in each text, [texts], every token with its weight."""
    weights = shifted(inputs)
    return texts(inputs, -losses(model, head, inputs) * weights[weights > 0])


def by_token(each: torch.Tensor, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tokens are learned, [batch, longest − 1], and of each of them the value of its row: a pair's in both texts."""
    learned = shifted(inputs) > 0
    return learned, each[inputs["number"][:, 1:][learned] // (len(inputs["reference"]) // len(each))]


def texts(inputs: Inputs, values: torch.Tensor) -> torch.Tensor:
    """Sums by text, [texts], of values of the tokens that count; they stand in the order of the texts."""
    counted = inputs["number"][:, 1:][shifted(inputs) > 0]
    lengths = torch.bincount(counted, minlength=len(inputs["reference"]))
    return torch.segment_reduce(values, "sum", lengths=lengths)
