"""A model, a tokenizer and rows small enough to make anew in every test; nothing here needs torch."""

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

VOCAB = 512
END, PAD = "<|im_end|>", "<|endoftext|>"
SPECIAL = [PAD, "<|im_start|>", END]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_COLOURS = ["red", "green", "blue", "amber", "violet", "white"]
_THINGS = ["printer", "router", "laptop", "badge", "invoice", "parcel", "account", "screen"]
_FAULTS = ["is broken", "does not start", "was lost", "makes a noise", "is too slow", "has expired"]


def tokenizer(folder: Path) -> Path:
    """A byte-level BPE of VOCAB tokens with a ChatML template, as AutoTokenizer reads it; the ends differ: eos is
    `<|im_end|>`, pad is `<|endoftext|>`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(_bpe(), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    return folder


def model(
    folder: Path, vocab_size: int = VOCAB, hidden_size: int = 64, layers: int = 2, tied: bool = True, seed: int = 0
) -> Path:
    """A Llama with random float32 weights: config.json and model.safetensors, beside whatever is in the folder."""
    from safetensors.numpy import save_file  # noqa: PLC0415 - rows and tokenizers need no safetensors

    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": 2 * hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": SPECIAL.index(END),
        "pad_token_id": SPECIAL.index(PAD),
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    weights = dict(_weights(np.random.default_rng(seed), vocab_size, hidden_size, layers, tied))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """Conversations that a model can learn: the answer names what the question held; some have two turns, some a
    system message. All different for n up to 10,000."""
    chance = random.Random(seed)
    return [{"messages": _conversation(chance, number)} for number in range(n)]


def _conversation(chance: random.Random, number: int) -> list[dict[str, str]]:
    turns = [turn for _ in range(chance.choice([1, 1, 2])) for turn in _turn(chance, number)]
    if chance.random() < 0.5:
        turns.insert(0, {"role": "system", "content": "Sort the ticket."})
    return turns


def _turn(chance: random.Random, number: int) -> list[dict[str, str]]:
    colour, thing, fault = chance.choice(_COLOURS), chance.choice(_THINGS), chance.choice(_FAULTS)
    detail = " Please look at it soon." * chance.choice([0, 0, 1, 3])
    question = f"Ticket {number}: my {colour} {thing} {fault}.{detail}"
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": json.dumps({"thing": thing, "colour": colour})},
    ]


@cache
def _bpe() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415 - rows need none

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator((turn["content"] for row in rows(300) for turn in row["messages"]), trainer)
    return str(made.to_str(pretty=True))


def _weights(
    chance: np.random.Generator, vocab_size: int, hidden: int, layers: int, tied: bool
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return (chance.standard_normal((rows, columns)) * 0.05).astype(np.float32)

    yield "model.embed_tokens.weight", matrix(vocab_size, hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        for name, out in {"q": hidden, "k": hidden // 2, "v": hidden // 2, "o": hidden}.items():
            yield f"{at}.self_attn.{name}_proj.weight", matrix(out, hidden)
        yield f"{at}.mlp.gate_proj.weight", matrix(2 * hidden, hidden)
        yield f"{at}.mlp.up_proj.weight", matrix(2 * hidden, hidden)
        yield f"{at}.mlp.down_proj.weight", matrix(hidden, 2 * hidden)
        for norm in ["input_layernorm", "post_attention_layernorm"]:
            yield f"{at}.{norm}.weight", np.ones(hidden, np.float32)
    yield "model.norm.weight", np.ones(hidden, np.float32)
    if not tied:
        yield "lm_head.weight", matrix(vocab_size, hidden)
