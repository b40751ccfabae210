"""How every benchmark says what it measured: one JSON line a figure."""

import json


def figure(name: str, value: float, *, target: float, better: str, unit: str, n: int) -> None:
    """Print one figure; `better` is higher or lower, `n` the number of measurements behind the value."""
    line = {"figure": name, "value": float(f"{value:.4g}"), "target": target, "better": better, "unit": unit, "n": n}
    print(json.dumps(line), flush=True)  # noqa: T201
