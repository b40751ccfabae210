"""What both tools say of preference tuning, by TRL's names."""

from typing import Any, get_args

from pipelines.foreign.made import Imported, Keys, number
from tasks.training.objectives import Dpo, Kto

LOSSES = {
    "dpo": get_args(Dpo.model_fields["loss_type"].annotation),
    "kto": get_args(Kto.model_fields["loss_type"].annotation),
}


def put_objective(made: Imported, keys: Keys, kind: str, loss: Any) -> None:
    """`kind` is dpo or kto, `loss` the tool's word for its loss."""
    fields = {
        "beta": keys.take("pref_beta", "rl_beta", "dpo_beta"),
        "label_smoothing": keys.take("dpo_label_smoothing"),
        "desirable_weight": keys.take("kto_chosen_weight", "kto_desirable_weight"),
        "undesirable_weight": keys.take("kto_rejected_weight", "kto_undesirable_weight"),
    }
    names = (Dpo if kind == "dpo" else Kto).model_fields
    made.put("train.objective.method", kind)
    if loss in LOSSES[kind]:
        made.put("train.objective.loss_type", loss)
    elif loss is not None:
        made.unmapped.append(f"{loss}: this loss is not known here; {LOSSES[kind][0]} stands in its place")
    for name, value in fields.items():
        if name in names:
            made.put(f"train.objective.{name}", number(value) or None)
