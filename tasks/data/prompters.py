"""Axolotl's prompt formats of a user's own ({instruction}, {input}, {system}) as row templates.

What is written when: axolotl/prompt_strategies/user_defined.py. Where a row has no input, it is no_input_format, or format
with nothing in its place; a system prompt comes first, in system_format.
"""

import re
from collections.abc import Mapping
from typing import Any

KEYS = (
    *("system_prompt", "system_format", "field_system", "field_instruction", "field_input", "field_output"),
    *("format", "no_input_format"),
)


def columns(told: Mapping[str, Any]) -> dict[str, str]:
    """The columns that a format reads, by the names that stand in it; input and system only where a field says so."""
    named = {name: told.get(f"field_{name}") for name in ("instruction", "input", "output", "system")}
    named["instruction"] = named["instruction"] or "instruction"
    named["output"] = named["output"] or "output"
    return {name: str(column) for name, column in named.items() if column}


def templates(told: Mapping[str, Any]) -> dict[str, str]:
    """Row templates of prompt and completion; every column must have a name that Jinja can write."""
    held = columns(told)
    written = {name: f"{{{{ {column} }}}}" for name, column in held.items()}
    format_ = str(told.get("format") or ("{instruction} {input}" if "input" in held else "{instruction}"))
    bare = _filled(str(told.get("no_input_format") or format_), written | {"input": ""})
    prompt = bare
    if "input" in held:
        prompt = _where(held["input"], _filled(format_, written), bare)
    return {"prompt": _system(told, held) + prompt, "completion": written["output"]}


def _system(told: Mapping[str, Any], held: Mapping[str, str]) -> str:
    format_, fixed = str(told.get("system_format") or "{system}"), str(told.get("system_prompt") or "")
    if "system" in held:
        return _where(held["system"], _filled(format_, {"system": f"{{{{ {held['system']} }}}}"}), "")
    return _filled(format_, {"system": _filled(fixed, {})}) if fixed else ""


def _where(column: str, there: str, otherwise: str) -> str:
    if there == otherwise:
        return there
    return f"{{% if {column} is defined and {column} %}}{there}{{% else %}}{otherwise}{{% endif %}}"


def _filled(text: str, written: Mapping[str, str]) -> str:
    """A Python format with its names written otherwise; what Jinja would read as its own stays text."""
    quoted = re.sub(r"{{|{%|{#", lambda found: "{{ '" + found[0] + "' }}", text)
    return re.sub(r"{(\w+)}", lambda found: written.get(found[1], found[0]), quoted)
