"""Training heads for the target on what the target itself answers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tools.lab.corpus import Stream
from tools.lab.example import Example
from tools.lab.tokenizer import prompt_ids
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.drafters.eagle_head import EagleHead
from draftproof.decoding.drafters.medusa_heads import MedusaHeads
from draftproof.lab.heads import Heads, make_heads, save
from draftproof.records import DraftproofError
from draftproof.training.train import IGNORED, micro_batches
from draftproof.training.unrolled import Unrolled, later

Progress = Callable[[str], None]

PROMPTS, PROMPT_SEED, LIMIT = 4000, 21, 96
_NOISE = 0.1
"""Half the width of the uniform noise on an EAGLE-1 head's features, as a share of their rms."""
_WARM = 20


@dataclass(frozen=True, slots=True)
class HeadRecipe:
    """How one set of heads is trained.

    Attributes:
        shape: its kind and the fields of its shape but the target's.
        steps, rows, rate, seed: as in `draftproof.training.train.Recipe`.
        runs: how often a sequence is run on the head's own outputs, the first run included.
        regress: weight of the smooth L1 distance to the target's next state.
    """

    shape: dict[str, Any] = field(default_factory=dict)
    steps: int = 400
    rows: int = 24
    rate: float = 2e-3
    seed: int = 0
    runs: int = 1
    regress: float = 0.0


_LAYER: dict[str, Any] = {"heads": 4, "kv_heads": 2}
RECIPES: dict[str, HeadRecipe] = {
    "medusa": HeadRecipe({"kind": "medusa", "heads": 3}, steps=400, seed=22),
    "eagle": HeadRecipe(
        {"kind": "eagle", **_LAYER, "width": 128, "mlp": 128, "taps": (-1,)}, seed=23, regress=1.0
    ),
    "eagle3": HeadRecipe(
        {"kind": "eagle3", **_LAYER, "width": 96, "mlp": 128, "taps": (1, 2, 3)},
        steps=300,
        seed=24,
        runs=3,
    ),
}


def own_answers(target: CausalModel, tokenizer: Any, seed: int, count: int) -> list[Example]:
    """Ask the target prompts of the training stream and return what it answers greedily."""
    prompts = list(dict.fromkeys(e.prompt for e in islice(Stream(seed), count)))
    requests = [
        Request(id=str(i), prompt=tuple(prompt_ids(tokenizer, p)), max_new_tokens=LIMIT)
        for i, p in enumerate(prompts)
    ]
    end = int(tokenizer.eos_token_id)
    found = []
    for answer in decode(target, requests, Settings(eos={end}, batch=32)):
        if answer.finish_reason == "stop":
            text = tokenizer.decode(answer.tokens[:-1], skip_special_tokens=True)
            found.append((int(answer.id), text))
    return [Example("own", prompts[i], text) for i, text in sorted(found)]


def train_heads(
    heads: Heads,
    target: CausalModel,
    tokenizer: Any,
    examples: list[Example],
    plan: HeadRecipe,
    progress: Progress,
) -> None:
    """Train `heads` in place, the target frozen, everything in fp32."""
    torch.manual_seed(plan.seed)
    examples = random.Random(plan.seed).sample(examples, len(examples))
    lessons = _Lessons(target, tokenizer, examples, plan, _layers(heads))
    target.module.requires_grad_(False)
    optimiser = torch.optim.AdamW(
        heads.parameters(), lr=plan.rate, betas=(0.9, 0.95), weight_decay=0.01
    )
    falling = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / _WARM, max(0.02, 1 - step / plan.steps)),
    )
    heads.train()
    began, lately = time.monotonic(), []
    for step, lesson in zip(range(plan.steps), lessons, strict=False):
        losses = list(_losses(heads, target, lesson, plan))
        # the further ahead, the fewer drafts live to be judged: 0.8 a step, as in both papers
        loss = sum((0.8**i * one for i, one in enumerate(losses)), start=torch.zeros(()))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(heads.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        falling.step()
        lately.append([one.item() for one in losses])
        if (step + 1) % 50 == 0 or step + 1 == plan.steps:
            means = ", ".join(f"{sum(x) / len(x):.3f}" for x in zip(*lately, strict=True))
            seconds = time.monotonic() - began
            progress(f"step {step + 1}/{plan.steps} loss {means} after {seconds:.0f} s")
            lately = []
    heads.eval()


class _Lesson(NamedTuple):
    """A micro-batch with what the target thinks of it.

    Attributes:
        ids: `[B, T] int64`.
        wanted: `[B, T] bool`, whether the token after a slot belongs to the answer.
        states: of the tapped layers, each `[B, T, hidden] float32`.
    """

    ids: Tensor
    wanted: Tensor
    states: list[Tensor]


class _Lessons:
    """All micro-batches in random order, again and again.

    The target's states are computed once and kept in half precision: for the small heads that
    learn from them they would otherwise be most of the work.
    """

    def __init__(
        self,
        target: CausalModel,
        tokenizer: Any,
        examples: list[Example],
        plan: HeadRecipe,
        layers: tuple[int, ...],
    ) -> None:
        count = min(-(-len(examples) // plan.rows), plan.steps)
        source = micro_batches(tokenizer, cycle(examples), plan.rows, plan.seed)
        self._batches = list(islice(source, count))
        self._target, self._layers = target, layers
        self._states: dict[int, list[Tensor]] = {}
        self._rng = random.Random(plan.seed)

    def __iter__(self) -> Iterator[_Lesson]:
        while True:
            for index in self._rng.sample(range(len(self._batches)), len(self._batches)):
                ids, labels = self._batches[index]
                if index not in self._states:
                    self._states[index] = self._computed(ids)
                wanted = functional.pad(labels[:, 1:] != IGNORED, (0, 1))
                yield _Lesson(ids, wanted, [s.float() for s in self._states[index]])

    @torch.no_grad()
    def _computed(self, ids: Tensor) -> list[Tensor]:
        found = self._target.module.model(input_ids=ids, use_cache=False, output_hidden_states=True)
        return [found.hidden_states[layer].half() for layer in self._layers]


def _layers(heads: Heads) -> tuple[int, ...]:
    """Return the layers that heads learn from: what they read, and the last one."""
    return (*heads.shape.taps, -1) if isinstance(heads, EagleHead) else (-1,)


def _losses(
    heads: Heads, target: CausalModel, lesson: _Lesson, plan: HeadRecipe
) -> Iterator[Tensor]:
    """Yield the mean loss of every head, or of every run, over the answer's tokens."""
    if isinstance(heads, MedusaHeads):
        yield from _medusa_losses(heads, target, lesson)
    else:
        yield from _eagle_losses(heads, target, lesson, plan)


def _medusa_losses(heads: MedusaHeads, target: CausalModel, lesson: _Lesson) -> Iterator[Tensor]:
    ids, wanted = lesson.ids, lesson.wanted
    for head, block in enumerate(heads.blocks):
        # position t of the answer, of which token t + 2 + head is known
        there = functional.pad(wanted[:, 1 + head :], (0, 1 + head)) & wanted
        tokens = functional.pad(ids[:, 2 + head :], (0, 2 + head))[there]
        states = lesson.states[-1][there]
        ahead = states + functional.silu(block(states))
        yield functional.cross_entropy(target.module.lm_head(ahead), tokens)


def _eagle_losses(
    head: EagleHead, target: CausalModel, lesson: _Lesson, plan: HeadRecipe
) -> Iterator[Tensor]:
    ids, wanted, last = lesson.ids, lesson.wanted, lesson.states[-1]
    features = head.entered(later(torch.cat(lesson.states[:-1], dim=-1), 1))
    if plan.regress:
        rms = features.pow(2).mean().sqrt()
        features = features + _NOISE * rms * (2 * torch.rand_like(features) - 1)
    embedded = target.module.get_input_embeddings()(ids)
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    attend = Unrolled()
    with torch.no_grad():
        goals = target.module.lm_head(last[wanted]).softmax(dim=-1)
    for run in range(plan.runs):
        made = head(embedded, features, positions, attend)
        judged = wanted & later(wanted, run)
        readable = head.readable(made)[judged]
        loss = functional.cross_entropy(target.module.lm_head(readable), goals[judged[wanted]])
        if plan.regress:
            loss = loss + plan.regress * functional.smooth_l1_loss(readable, last[judged])
        yield loss
        features = later(made, 1)


def make_all(
    place: Path, out: Path, *, seed: int, steps_scale: float = 1.0, progress: Progress
) -> None:
    """Train every set of heads of `RECIPES` for one target and write them under `out`.

    Args:
        place: directory of the target, its weights rounded as they ship, with its tokenizer.
        out: receives `<name>/config.json` and `<name>/model.safetensors`.
        seed: build seed.
        steps_scale: factor on the numbers of optimiser steps and of prompts.
        progress: receives one line of text at a time.

    Raises:
        DraftproofError: no target there, or one that never ends an answer.
    """
    try:
        module = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise DraftproofError(f"{place}: no target can be read from it: {error}") from error
    target = CausalModel(module, place.name)
    count = max(32, round(PROMPTS * min(1.0, steps_scale)))
    examples = own_answers(target, tokenizer, PROMPT_SEED + 1000 * seed, count)
    progress(f"heads: {len(examples)} answers of the target to learn from")
    if not examples:
        raise DraftproofError(f"{place}: no answer of this target ends within {LIMIT} tokens")
    own = {
        "hidden": target.hidden_size,
        "vocabulary": target.vocab_size,
        "layers": target.layers,
    }
    for name, base in RECIPES.items():
        steps = max(2, round(base.steps * steps_scale))
        plan = replace(base, steps=steps, seed=base.seed + 1000 * seed)
        torch.manual_seed(plan.seed)
        heads = make_heads({**plan.shape, **own})
        train_heads(heads, target, tokenizer, examples, plan, _named(progress, name))
        save(heads, out / name)


def _named(progress: Progress, name: str) -> Progress:
    return lambda line: progress(f"{name}: {line}")
