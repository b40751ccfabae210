"""The training stage: what is to be tuned on what, and everything that can be refused before a GPU is taken."""

import importlib.util
import re
from difflib import get_close_matches
from pathlib import Path

from infra.errors import BadRecipe
from infra.launch.produce import OnBeat, produce
from infra.launch.step import Step
from infra.settings import Platform
from infra.storage.receipt import Receipt
from tasks.training.batches import split
from tasks.training.config import TrainConfig
from tasks.training.objectives import KINDS, OBJECTIVES
from tasks.training.reference_config import ReferenceConfig


def step(config: TrainConfig, weights: Receipt, dataset: Receipt, reference: Receipt | None = None) -> Step:
    """The step that tunes `weights` on `dataset`; BadRecipe where the recipe cannot work, or not on these rows.

    The key does without what the reference says, as it follows from weights and dataset.
    """
    check(config)
    require_fitting(config, dataset)
    aside = {} if reference is None else {"reference": reference}
    inputs = {"weights": weights, "dataset": dataset}
    return Step("training", 1, config, inputs, aside=aside, resources=config.resources)


def reference_step(config: TrainConfig, weights: Receipt, dataset: Receipt) -> Step:
    """The step that asks `weights` for the log-probabilities of judged answers."""
    require_fitting(config, dataset)
    inputs = {"weights": weights, "dataset": dataset}
    return Step("reference", 1, ReferenceConfig.of(config), inputs, module="tasks.training.reference")


def run(
    config: TrainConfig, weights: Receipt, dataset: Receipt, platform: Platform, on_beat: OnBeat | None = None
) -> Receipt:
    """The adapter (or the tuned weights); a run that was killed goes on from its newest committed checkpoint."""
    made = step(config, weights, dataset)
    if config.objective.judged and platform.store.find(made.stage, made.key) is None:
        reference = produce(reference_step(config, weights, dataset), platform, on_beat)
        made = step(config, weights, dataset, reference)
    return produce(made, platform, on_beat)


def require_fitting(config: TrainConfig, dataset: Receipt) -> None:
    """BadRecipe where the rows are not of the kind that the objective trains on."""
    require_kind(config, str(dataset.summary.get("judged", "")))


def require_kind(config: TrainConfig, found: str, where: str = "the rows") -> None:
    """The same for a kind of rows: pairs, labels, or nothing where they are not judged; `where` says whose."""
    wanted = config.objective.judged
    if wanted == found:
        return
    method = next(name for name, of in OBJECTIVES.items() if of(method=name).judged == found)
    instead = ", or give the answers that were liked as prompt and completion" if wanted == "" else ""
    raise BadRecipe(
        f"{config.objective.method} trains on {KINDS[wanted]}, and {where} are {KINDS[found]}",
        place="train.objective",
        value=config.objective.method,
        remedy=f"set train.objective: {{method: {method}}}{instead}",
    )


def check(config: TrainConfig) -> None:
    """Refuse what the recipe alone shows to be wrong."""
    if config.num_processes:
        split(config.train_batch_size, config.per_device_train_batch_size, config.num_processes)
    known = training_arguments()
    for name, value in config.training_args.items():
        if known and name not in known:
            near = get_close_matches(name, known, 1)
            raise BadRecipe(
                "transformers has no such training argument",
                place=f"train.training_args.{name}",
                value=value,
                remedy=f"did you mean {near[0]}?" if near else "see the fields of transformers.TrainingArguments",
            )


def training_arguments() -> set[str]:
    """The fields of the installed TrainingArguments, read from its source because importing it would load torch.

    Empty where transformers is not installed beside the flow; then the worker refuses what is unknown.
    """
    installed = importlib.util.find_spec("transformers")
    if installed is None or installed.origin is None:
        return set()
    source = (Path(installed.origin).parent / "training_args.py").read_text()
    # Not by ast: Python 3.11 counts its depth for all threads at once, and while Prefect's look at signatures it raises.
    _, _, rest = source.partition("\nclass TrainingArguments:")
    body = re.split(r"^\S", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return set(re.findall(r"^    (\w+): \S", body, re.MULTILINE))
