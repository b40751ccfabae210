"""What preference objectives make of log-probabilities: losses, and the rewards that people watch."""

import torch
import torch.nn.functional as F

from tasks.training.objectives import Dpo, Kto


def dpo(objective: Dpo, policy: torch.Tensor, reference: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The loss of each pair, [n], from the log-probabilities of its texts and their weight of tokens, [n, 2], the chosen
    one first (Rafailov et al. 2023, eq. 7)."""
    beta, gain = objective.beta, policy - reference
    margin = gain[:, 0] - gain[:, 1]
    if objective.loss_type == "hinge":  # Zhao et al. 2023
        return torch.relu(1 - beta * margin)
    if objective.loss_type == "ipo":  # Azar et al. 2023, eq. 17, by token as TRL has it
        each = gain / tokens
        return (each[:, 0] - each[:, 1] - 1 / (2 * beta)) ** 2
    if objective.loss_type == "apo_zero":  # D'Oosterlinck et al. 2024, eq. 7
        return 1 - torch.sigmoid(beta * gain[:, 0]) + torch.sigmoid(beta * gain[:, 1])
    if objective.loss_type == "apo_down":  # eq. 8
        return torch.sigmoid(beta * gain[:, 0]) + 1 - torch.sigmoid(beta * margin)
    right = -F.logsigmoid(beta * margin)
    if objective.loss_type == "robust":  # Chowdhury et al. 2024
        share = objective.label_smoothing
        return ((1 - share) * right + share * F.logsigmoid(-beta * margin)) / (1 - 2 * share)
    return right


def dpo_figures(objective: Dpo, policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Sums over the pairs: rewards of the chosen, of the rejected, and how often the first is above the second; [3]."""
    rewards = objective.beta * (policy - reference)
    return torch.cat([rewards.sum(0), (rewards[:, 0] > rewards[:, 1]).sum().float()[None]])


def dpo_named(sums: list[float]) -> dict[str, float]:
    """TRL's names for the means, from the number of pairs and the figures."""
    pairs, chosen, rejected, right = sums
    return {
        "rewards/chosen": chosen / pairs,
        "rewards/rejected": rejected / pairs,
        "rewards/margins": (chosen - rejected) / pairs,
        "rewards/accuracies": right / pairs,
    }


def kto(
    objective: Kto, policy: torch.Tensor, reference: torch.Tensor, desirable: torch.Tensor, drift: torch.Tensor
) -> torch.Tensor:
    """The loss of each answer, [n], where `drift` is the estimate of KL(model ‖ reference), at least 0, that counts as a
    constant (Ethayarajh et al. 2024, eq. 8)."""
    gain = policy - reference
    if objective.loss_type == "apo_zero_unpaired":
        drift = torch.zeros_like(drift)
    sign = torch.where(desirable, 1.0, -1.0)
    weight = torch.where(desirable, objective.desirable_weight, objective.undesirable_weight)
    return weight * (1 - torch.sigmoid(objective.beta * sign * (gain - drift)))


def kto_figures(objective: Kto, policy: torch.Tensor, reference: torch.Tensor, desirable: torch.Tensor) -> torch.Tensor:
    """Rewards of the desirable, their number, and the same of the others; [4]."""
    rewards = objective.beta * (policy - reference)
    return torch.stack([rewards[desirable].sum(), desirable.sum(), rewards[~desirable].sum(), (~desirable).sum()])


def kto_named(sums: list[float]) -> dict[str, float]:
    """TRL's names for the means, from the number of answers and the figures; what there is none of has no mean."""
    _, chosen, liked, rejected, disliked = sums
    named = {}
    if liked:
        named["rewards/chosen"] = chosen / liked
    if disliked:
        named["rewards/rejected"] = rejected / disliked
    if liked and disliked:
        named["rewards/margins"] = named["rewards/chosen"] - named["rewards/rejected"]
    return named
