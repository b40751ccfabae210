"""The model card: what a person wants to know before using the model, from the records of the run."""

from pydantic import JsonValue

from infra.frozen import Frozen

Figures = dict[str, JsonValue]
Scores = dict[str, dict[str, float]]


class Card(Frozen):
    """Everything that the card says. `uri` is where the model lies, `weights` and the like are summaries of stages."""

    name: str
    alias: str
    base: str
    base_sha256: str
    uri: str
    promote: bool
    failed: list[str]
    weights: Figures
    data: Figures
    training: Figures
    merge: Figures
    before: Scores
    after: Scores
    lineage: dict[str, str]


def render(card: Card) -> str:
    """The card as markdown, ending in a newline."""
    parts = [_head(card), _scores(card), _making(card), _use(card), _lineage(card)]
    return "\n\n".join(parts) + "\n"


def _head(card: Card) -> str:
    license_id = card.weights.get("license") or "unknown: look it up before you pass the model on"
    return "\n".join(
        [
            f"# {card.name}",
            "",
            f"A fine-tune of **{card.base}** ({_text(card.weights, 'architecture')}, {_number(card.weights, 'parameters')} parameters).",
            f"Licence of the base: {license_id}.",
            "",
            _verdict(card),
        ]
    )


def _verdict(card: Card) -> str:
    if card.promote:
        return f"Verdict: **promote**. Every bar of the gate was passed; alias `{card.alias}`."
    misses = "".join(f"\n- {line}" for line in card.failed)
    return f"Verdict: **hold**. Registered for inspection; alias `{card.alias}` was not moved.{misses}"


def _scores(card: Card) -> str:
    rows = [
        f"| {task} | {metric} | {_score(card.before.get(task, {}).get(metric))} | {_score(value)} |"
        for task, metrics in sorted(card.after.items())
        for metric, value in sorted(metrics.items())
    ]
    return "\n".join(["## Before and after", "", "| task | metric | base | tuned |", "|---|---|---:|---:|", *rows])


def _making(card: Card) -> str:
    data, training, merge = card.data, card.training, card.merge
    return "\n".join(
        [
            "## How it was made",
            "",
            f"- Data: {_number(data, 'train_rows')} rows to train on, {_number(data, 'validation_rows')} held out, "
            f"{_number(data, 'dropped')} dropped.",
            f"- Training: {_text(training, 'method')}, {_number(training, 'steps')} steps, "
            f"loss {_score(training.get('loss'))}, held-out loss {_score(training.get('eval_loss'))}.",
            f"- Merge: into the {_text(merge, 'base')} base, stored as {_text(merge, 'dtype')}.",
            f"- Parity of adapter and merged model on held-out prompts: KL {_score(merge.get('kl'))} nats a token, "
            f"top-1 agreement {_score(merge.get('top1'))}, greedy match {_score(merge.get('greedy_match'))}.",
        ]
    )


def _use(card: Card) -> str:
    version = f"@{card.alias}" if card.promote else "/<the number of this version>"
    return f"""## How to use it

The model lies at `{card.uri}`; its folder `model/` is complete by itself.

```python
from transformers import pipeline

generate = pipeline("text-generation", model="model/")
generate([{{"role": "user", "content": "…"}}], max_new_tokens=256)
```

```sh
vllm serve model/
```

```python
import mlflow

mlflow.transformers.load_model("models:/{card.name}{version}")
```"""


def _lineage(card: Card) -> str:
    rows = [f"| {what} | `{sha}` |" for what, sha in sorted({**card.lineage, "base": card.base_sha256}.items())]
    return "\n".join(["## Where it comes from", "", "| artifact | sha256 |", "|---|---|", *rows])


def _text(figures: Figures, name: str) -> str:
    value = figures.get(name)
    return "unknown" if value is None else str(value)


def _number(figures: Figures, name: str) -> str:
    value = figures.get(name)
    return f"{value:,}" if isinstance(value, int) else "an unknown number of"


def _score(value: JsonValue) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "–"
