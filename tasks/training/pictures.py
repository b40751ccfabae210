"""The loss curve as a picture."""

import io
from typing import Any

from matplotlib.figure import Figure


def draw_loss(lines: list[dict[str, Any]]) -> bytes:
    """A PNG of the training loss a step, with the validation loss where it was measured."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, label, style in (("loss", "training", "-"), ("eval_loss", "validation", "o")):
        points = [(line["step"], line[name]) for line in lines if name in line]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set(xlabel="step", ylabel="loss (weighted cross-entropy)")
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110, metadata={"Software": None})
    return picture.getvalue()
