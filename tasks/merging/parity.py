"""Does the merged model behave like the adapter on the base it was trained on? Asked on held-out prompts.

The merged model goes first and continues each prompt greedily; the adapter then reads the same texts. One look along a
continuation tells whether the adapter would have written it too, so the slow 4-bit model never has to generate.
"""

import gc
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedModel

from infra.frozen import Frozen

GREEDY_TOKENS = 32
PROMPT_TOKENS = 1024  # the end of a longer prompt is kept: it holds the question
TIE_NATS = 0.1  # one step of a bfloat16 logit between 8 and 16 is 0.06: closer than this, the first place is chance
ANSWER_TOKENS = 64  # bounds what is written to disk: one row of the vocabulary per token

Load = Callable[[], PreTrainedModel]
Ids = list[int]


class Parity(Frozen):
    """The certificate. KL is KL(adapter ‖ merged) in nats, mean over answer tokens; top1 the share of them where the
    merged model's likeliest token is the adapter's too, or within TIE_NATS of it; greedy_match the share of prompts with
    the same greedy continuation, ties not forgiven."""

    kl: float
    max_kl: float
    top1: float
    greedy_match: float
    prompts: int
    tokens: int


@dataclass(frozen=True)
class Question:
    """A held-out prompt and its answer, as token ids."""

    prompt: Ids
    answer: Ids


def questions(lines: Iterable[bytes], count: int) -> list[Question]:
    """The first `count` held-out prompts, in the very tokens that the data stage made of them."""
    rows = (json.loads(line) for line in lines)
    asked = ((row["prompt_ids"], row["answer_ids"]) for row in rows if row["prompt_ids"] and row["answer_ids"])
    return [Question(prompt[-PROMPT_TOKENS:], answer[:ANSWER_TOKENS]) for prompt, answer in islice(asked, count)]


def compare(adapter: Load, merged: Load, asked: list[Question], scratch: Path) -> Parity:
    """Load one model after the other, never both, and compare what they say; log-probabilities wait on disk."""
    scratch.mkdir(parents=True, exist_ok=True)
    continuations = _ask_merged(merged, asked, scratch)
    gc.collect()
    model = adapter()
    rows, same = [], 0
    for number, (question, continuation) in enumerate(zip(asked, continuations, strict=True)):
        theirs = torch.load(scratch / f"{number}.pt")
        ours, along = log_probabilities(model, question.prompt, [question.answer, continuation])
        kl = (ours.exp() * (ours - theirs)).sum(-1)
        rows.append(torch.stack([kl, _agree(ours, theirs)]))
        same += along.argmax(-1).tolist() == continuation
    kls, agreed = torch.cat(rows, dim=1)
    return Parity(
        kl=max(0.0, kls.mean().item()),
        max_kl=max(0.0, kls.max().item()),
        top1=agreed.mean().item(),
        greedy_match=same / len(asked),
        prompts=len(asked),
        tokens=kls.numel(),
    )


def _agree(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    chosen = ours.gather(-1, theirs.argmax(-1, keepdim=True)).squeeze(-1)
    return (ours.amax(-1) - chosen <= TIE_NATS).float()


def _ask_merged(load: Load, asked: list[Question], scratch: Path) -> list[Ids]:
    model = load()
    for number, question in enumerate(asked):
        (held,) = log_probabilities(model, question.prompt, [question.answer])
        torch.save(held, scratch / f"{number}.pt")
    continuations: list[Ids] = []
    for start in range(0, len(asked), 16):
        continuations += greedy(model, [question.prompt for question in asked[start : start + 16]])
    return continuations


@torch.inference_mode()  # type: ignore[untyped-decorator]
def log_probabilities(model: PreTrainedModel, prompt: Ids, answers: list[Ids]) -> list[torch.Tensor]:
    """For each answer float32 [its tokens, vocabulary] on the CPU: what the model holds of each token's place.

    One pass for all answers, since a 4-bit model unpacks its weights anew in each. They are filled up on the right, where
    causal attention lets nothing see it.
    """
    longest = max(map(len, answers))
    ids = torch.tensor([prompt + answer + [0] * (longest - len(answer)) for answer in answers], device=model.device)
    logits = model(input_ids=ids, logits_to_keep=longest + 1, use_cache=False).logits
    held = logits[:, :-1].float().log_softmax(-1).cpu()
    return [row[: len(answer)] for row, answer in zip(held, answers, strict=True)]


@torch.inference_mode()  # type: ignore[untyped-decorator]
def greedy(model: PreTrainedModel, prompts: list[Ids]) -> list[Ids]:
    """The model's likeliest continuations, GREEDY_TOKENS long or up to and with the end-of-sequence token."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=GREEDY_TOKENS, do_sample=False, pad_token_id=ends[0] or 0
    )
    return [_up_to(row, ends) for row in out[:, longest:].tolist()]


def _up_to(ids: Ids, ends: list[int]) -> Ids:
    stops = [at for at, token in enumerate(ids) if token in ends]
    return ids[: stops[0] + 1] if stops else ids
