"""Chat templates that ship with Luthier, by name: Jinja files in chat_templates/, and the tokens that each needs."""

from pathlib import Path
from typing import Any

from infra.errors import BadTemplate

NAMES: dict[str, tuple[str, ...]] = {
    "alpaca": (),
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "mistral": ("[INST]", "[/INST]"),
    "phi4": ("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
    "zephyr": (),
}


def path(name: str) -> str:
    """The file of a named template; any other name is a file's already."""
    return str(Path(__file__).parent / "chat_templates" / f"{name}.jinja") if name in NAMES else name


def require(name: str, tokenizer: Any) -> None:
    """BadTemplate where the tokenizer lacks a token that the named template ends or opens its turns with."""
    needed = NAMES.get(name, ())
    lacking = [token for token in needed if tokenizer.backend_tokenizer.token_to_id(token) is None]
    if lacking:
        raise BadTemplate(
            f"the chat template {name} needs tokens that the tokenizer does not have",
            place="data.chat_template",
            value=", ".join(lacking),
            remedy="name the template of the model's family there, or leave it out to use the tokenizer's own",
        )
