"""The model card: what a person wants to know before using the model, from the records of the run."""

import yaml
from pydantic import Field, JsonValue

from infra.frozen import Frozen

NOT_MERGED = "not merged"  # what the merge says of the parity of an adapter that it left as it is
Figures = dict[str, JsonValue]
Scores = dict[str, dict[str, float]]


class Card(Frozen):
    """Everything that the card says. `uri` is where the model lies, `report` where the page about its data lies, `weights` and the like are summaries of stages;
    `base_model` is the base's id on the hub, where it has one; `compared` are the gate's comparisons with the version `against`."""

    name: str
    alias: str
    base: str
    base_model: str = ""
    base_sha256: str
    uri: str
    report: str = ""
    promote: bool
    failed: list[str]
    outcome: str = ""
    against: str = ""
    meaning: str = ""
    compared: list[Figures] = Field(default_factory=list)
    weights: Figures
    data: Figures
    training: Figures
    merge: Figures
    before: Scores
    after: Scores
    lineage: dict[str, str]


def render(card: Card) -> str:
    """The card in the registry as markdown, ending in a newline."""
    version = f"{card.name}@{card.alias}" if card.promote else f"{card.name}/<the number of this version>"
    whole = card.merge.get("parity") != NOT_MERGED
    lies = "The model lies here; its folder `model/` is complete by itself" if whole else "The adapter lies here"
    use = _snippets(card.name) if whole else _adapter_snippet(card, card.name, card.base)
    load = f'transformers.load_model("models:/{version}")' if whole else _pyfunc(card, version)
    fetch = f"""{lies}:

```text
{card.uri}
```

This fetches and checks it:

```sh
luthier pull {version} {card.name}
```

{use}

```python
import mlflow

mlflow.{load}
```"""
    if card.report:
        fetch += f"\n\nThe rows it was trained on, with what was learned of them, are on a page:\n\n```text\n{card.report}\n```"
    return _page(card, fetch)


def readme(card: Card, at: str, adapter_of: str = "") -> str:
    """The card of a copy, with the front matter that model hubs read; `at` is what loads it: a folder or a hub id.

    It names no place of ours. With `adapter_of` the copy is an adapter, to be loaded on that base.
    """
    front: dict[str, JsonValue] = {
        "library_name": "peft" if adapter_of else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["luthier", *([card.training["method"]] if card.training.get("method") else [])],
    }
    if card.weights.get("license"):
        front["license"] = str(card.weights["license"]).lower()
    if card.base_model:
        front["base_model"] = card.base_model.partition("@")[0]
    use = _adapter_snippet(card, at, adapter_of) if adapter_of else _snippets(at)
    return f"---\n{yaml.safe_dump(front, sort_keys=True)}---\n\n" + _page(card, use)


def _pyfunc(card: Card, version: str) -> str:
    known = "" if card.base_model else ', model_config={"base_model_name_or_path": "<a folder with that base>"}'
    return f'pyfunc.load_model("models:/{version}"{known})'


def _page(card: Card, use: str) -> str:
    parts = [_head(card), _scores(card), _making(card), f"## How to use it\n\n{use}", _lineage(card)]
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
    beside = f"\n\n{card.meaning}\n\n{_compared(card)}" if card.compared else ""
    if card.promote:
        return f"Verdict: **promote**. Every bar of the gate was passed; alias `{card.alias}`.{beside}"
    misses = "".join(f"\n- {line}" for line in card.failed)
    word = card.outcome or "hold"
    return f"Verdict: **{word}**. Registered for inspection; alias `{card.alias}` was not moved.{misses}{beside}"


def _compared(card: Card) -> str:
    """The comparison with what was in production then, document by document."""
    rows = [
        f"| {row['task']} | {row['metric']} | {row['n']} | {_score(row['incumbent'])} | {_score(row['candidate'])} "
        f"| {_score(row['low'])} … {_score(row['high'])} | {row['asked']} | {_score(row['p'])} | {row['outcome']} |"
        for row in card.compared
    ]
    head = f"| task | metric | documents | {card.against} | this one | difference, likely | asked | p | |"
    return "\n".join([head, "|---|---|---:|---:|---:|---|---|---:|---|", *rows])


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
            f"- Training: {_text(training, 'method')}{_objective(training)}, {_number(training, 'steps')} steps, "
            f"loss {_score(training.get('loss'))}, held-out loss {_score(training.get('eval_loss'))}.",
            *_merge(merge),
        ]
    )


def _objective(training: Figures) -> str:
    """What a preference objective did: how far apart the rewards of liked and rejected answers are, held out."""
    if "objective" not in training:
        return ""
    return f", {_text(training, 'objective')} (held-out reward margin {_score(training.get('eval_rewards/margins'))})"


def _merge(merge: Figures) -> list[str]:
    if merge.get("parity") == NOT_MERGED:
        return [
            f"- Merge: none. This is the adapter, of rank {_text(merge, 'rank')}, to be loaded on its base in "
            f"{_text(merge, 'dtype')}{', held in 4 bits (NF4)' if merge.get('quantization') else ''}.",
            f"- Parity: {NOT_MERGED}, so there was nothing to compare.",
        ]
    return [
        f"- Merge: into the {_text(merge, 'base')} base, stored as {_text(merge, 'dtype')}.",
        f"- Parity of adapter and merged model on held-out prompts: KL {_score(merge.get('kl'))} nats a token, "
        f"top-1 agreement {_score(merge.get('top1'))}, greedy match {_score(merge.get('greedy_match'))}.",
    ]


def _snippets(at: str) -> str:
    """How transformers and vLLM load and ask the model; `at` is a folder or a hub id."""
    return f"""With transformers:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{at}")
model = AutoModelForCausalLM.from_pretrained("{at}", dtype="auto", device_map="auto")
messages = [{{"role": "user", "content": "…"}}]
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**inputs.to(model.device), max_new_tokens=256)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```

With vLLM, as a server that speaks OpenAI's protocol:

```sh
vllm serve {at} --served-model-name tuned
curl http://localhost:8000/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{{"model": "tuned", "messages": [{{"role": "user", "content": "…"}}], "max_tokens": 256}}'
```"""


def _adapter_snippet(card: Card, at: str, belongs_on: str) -> str:
    """How peft loads the adapter. One that was not merged was judged on its base as it was held, so that is told exactly."""
    name, _, revision = card.base_model.partition("@")
    base = [f'"{name or "<a folder with that base>"}"', *([f'revision="{revision}"'] if revision else [])]
    exact = card.merge.get("parity") == NOT_MERGED
    held = card.merge.get("quantization") if exact else None
    four_bits = ""
    if isinstance(held, dict):
        four_bits = f"held = BitsAndBytesConfig({', '.join(f'{key}={value!r}' for key, value in held.items())})\n"
    dtype = f'"{card.merge["dtype"]}"' if exact else '"auto"'
    options = [*base, f"dtype={dtype}", *(["quantization_config=held"] if held else []), 'device_map="auto"']
    return f"""These are the adapter's weights alone. They belong on {belongs_on}.

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer{", BitsAndBytesConfig" if held else ""}

{four_bits}base = AutoModelForCausalLM.from_pretrained({", ".join(options)})
model = PeftModel.from_pretrained(base, "{at}")
tokenizer = AutoTokenizer.from_pretrained("{at}")
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
