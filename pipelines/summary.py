"""What a finished run says: the model before and after, and where it went."""

from prefect.artifacts import create_markdown_artifact
from prefect.logging import get_run_logger

from infra.storage.receipt import Receipt

OUTCOMES = {"promote": "promoted to candidate", "hold": "held", "undecided": "undecided, and so not promoted"}


def announce(
    baseline: Receipt,
    prompted: Receipt | None,
    incumbent: Receipt | None,
    scores: Receipt,
    verdict: Receipt,
    version: Receipt,
) -> None:
    """Put the before/after table on the Prefect run, and into its log, with what the verdict means."""
    columns = {"base": baseline, "base, prompted": prompted, "in production": incumbent, "tuned": scores}
    text = table({name: receipt for name, receipt in columns.items() if receipt is not None})
    meaning = "".join(f"{verdict.summary[said]}\n" for said in ("meaning", "prompting") if said in verdict.summary)
    outcome = OUTCOMES[str(verdict.summary["outcome"])]
    line = f"{version.summary.get('name')} version {version.summary.get('version')}: {outcome}"
    misses = "".join(f"- {miss}\n" for miss in _misses(verdict))
    page = f"# {line}\n\n{meaning}\n{misses}\n{text}\n"
    create_markdown_artifact(key="before-after", description="Base and tuned, and the verdict", markdown=page)
    get_run_logger().info("%s\n%s%s%s", line, meaning, misses, text)


def table(columns: dict[str, Receipt]) -> str:
    """A markdown table of every task's metrics, a column an evaluation."""
    heads = [f"{name} ({receipt.summary.get('num_fewshot')}-shot)" for name, receipt in columns.items()]
    rows = [
        f"| {task} | {metric} | " + " | ".join(_cell(receipt, task, metric) for receipt in columns.values()) + " |"
        for task, metrics in _scores(next(iter(columns.values()))).items()
        for metric in metrics
    ]
    return "\n".join([f"| task | metric | {' | '.join(heads)} |", "|---" * (2 + len(heads)) + "|", *rows])


def _misses(verdict: Receipt) -> list[str]:
    """The bars that were not passed, as sentences."""
    failed = verdict.summary.get("failed")
    return [str(miss) for miss in failed] if isinstance(failed, list) else []


def _scores(receipt: Receipt) -> dict[str, dict[str, float]]:
    scores = receipt.summary.get("scores")
    return scores if isinstance(scores, dict) else {}  # type: ignore[return-value]


def _cell(receipt: Receipt, task: str, metric: str) -> str:
    value = _scores(receipt).get(task, {}).get(metric)
    return "–" if value is None else f"{value:.3f}"
