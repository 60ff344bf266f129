"""Training heads for a target on what the target itself answers."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from draftproof.decoding import CausalModel, Request, Settings, decode
from draftproof.decoding.drafters.eagle_head import EagleHead
from draftproof.decoding.drafters.head_files import Heads, make_heads, save
from draftproof.decoding.drafters.medusa_heads import MedusaHeads
from draftproof.training.rows import IGNORED, TrainingRow, micro_batches
from draftproof.training.train import Progress
from draftproof.training.unrolled import Unrolled, later

_NOISE = 0.1
"""Half the width of the uniform noise on an EAGLE-1 head's features, as a share of their rms."""
_WARM = 20


@dataclass(frozen=True, slots=True)
class HeadRecipe:
    """How one set of heads is trained.

    Attributes:
        shape: its kind and the fields of its shape but the target's.
        steps, rows, rate, seed: as in `draftproof.training.train.Schedule`.
        runs: how often a sequence is run on the head's own outputs, the first run included.
        regress: weight of the smooth L1 distance to the target's next state.
    """

    shape: Mapping[str, str | int | tuple[int, ...]]
    steps: int = 400
    rows: int = 24
    rate: float = 2e-3
    seed: int = 0
    runs: int = 1
    regress: float = 0.0


def target_answers(
    target: CausalModel,
    prompts: Iterable[Sequence[int]],
    *,
    eos: Collection[int],
    max_new_tokens: int,
    batch: int = 32,
) -> list[TrainingRow]:
    """Return the prompts with what the target answers greedily, in the order of the prompts.

    Args:
        target: who answers.
        prompts: token ids of the rendered turns.
        eos: ids that end an answer.
        max_new_tokens: most tokens of an answer; one that has not ended by then is left out.
        batch: answers decoded together.
    """
    requests = [
        Request(id=str(i), prompt=tuple(prompt), max_new_tokens=max_new_tokens)
        for i, prompt in enumerate(prompts)
    ]
    rows = {
        int(answer.id): TrainingRow(requests[int(answer.id)].prompt, tuple(answer.tokens))
        for answer in decode(target, requests, Settings(eos=frozenset(eos), batch=batch))
        if answer.finish_reason == "stop"
    }
    return [rows[i] for i in sorted(rows)]


def train_sets(
    target: CausalModel,
    rows: Sequence[TrainingRow],
    recipes: Mapping[str, HeadRecipe],
    out: Path,
    progress: Progress,
) -> None:
    """Train every set of heads for one target and write each under its name.

    Args:
        target: the model that the heads propose for, in fp32.
        rows: see `target_answers`.
        recipes: by name.
        out: receives `<name>/config.json` and `<name>/model.safetensors`.
        progress: receives one line of text at a time.

    Raises:
        ValueError: There is no row, or a shape that no heads have.
    """
    sizes = {"hidden": target.hidden_size, "vocabulary": target.vocab_size,
             "layers": target.layers}  # fmt: skip
    for name, recipe in recipes.items():
        torch.manual_seed(recipe.seed)
        heads = make_heads({**recipe.shape, **sizes})
        train_heads(heads, target, rows, recipe, _named(progress, name))
        save(heads, out / name)


def _named(progress: Progress, name: str) -> Progress:
    return lambda line: progress(f"{name}: {line}")


def train_heads(
    heads: Heads,
    target: CausalModel,
    rows: Sequence[TrainingRow],
    recipe: HeadRecipe,
    progress: Progress,
) -> None:
    """Train `heads` in place, the target frozen, everything in fp32.

    Raises:
        ValueError: There is no row.
    """
    if not rows:
        raise ValueError("heads need at least one answer of the target to learn from")
    torch.manual_seed(recipe.seed)
    rows = random.Random(recipe.seed).sample(rows, len(rows))
    batches = _TargetBatches(target, rows, recipe, _layers(heads))
    target.module.requires_grad_(False)
    optimiser = torch.optim.AdamW(
        heads.parameters(), lr=recipe.rate, betas=(0.9, 0.95), weight_decay=0.01
    )
    falling = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / _WARM, max(0.02, 1 - step / recipe.steps)),
    )
    heads.train()
    began, recent = time.monotonic(), []
    for step, batch in zip(range(recipe.steps), batches, strict=False):
        losses = list(_losses(heads, target, batch, recipe))
        # the further ahead, the fewer drafts live to be judged: 0.8 a step, as in both papers
        sum((0.8**i * loss for i, loss in enumerate(losses)), start=torch.zeros(())).backward()
        torch.nn.utils.clip_grad_norm_(heads.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        falling.step()
        recent.append([loss.item() for loss in losses])
        if (step + 1) % 50 == 0 or step + 1 == recipe.steps:
            means = ", ".join(f"{sum(x) / len(x):.3f}" for x in zip(*recent, strict=True))
            seconds = time.monotonic() - began
            progress(f"step {step + 1}/{recipe.steps} loss {means} after {seconds:.0f} s")
            recent = []
    heads.eval()


class _TargetBatch(NamedTuple):
    """A micro-batch and the target's states at it.

    Attributes:
        ids: `[B, T] int64`.
        learnt: `[B, T] bool`, whether the token after a slot belongs to the answer.
        states: of the tapped layers, each `[B, T, hidden] float32`.
    """

    ids: Tensor
    learnt: Tensor
    states: list[Tensor]


class _TargetBatches:
    """All micro-batches in random order, again and again.

    The target's states are computed once and kept in half precision: for the small heads that
    learn from them they would otherwise be most of the work.
    """

    def __init__(
        self,
        target: CausalModel,
        rows: Sequence[TrainingRow],
        recipe: HeadRecipe,
        layers: tuple[int, ...],
    ) -> None:
        count = min(-(-len(rows) // recipe.rows), recipe.steps)
        source = micro_batches(cycle(rows), recipe.rows, recipe.seed)
        self._batches = list(islice(source, count))
        self._target, self._layers = target, layers
        self._states: dict[int, list[Tensor]] = {}
        self._rng = random.Random(recipe.seed)

    def __iter__(self) -> Iterator[_TargetBatch]:
        while True:
            for index in self._rng.sample(range(len(self._batches)), len(self._batches)):
                ids, labels = self._batches[index]
                if index not in self._states:
                    self._states[index] = self._target_states(ids)
                learnt = functional.pad(labels[:, 1:] != IGNORED, (0, 1))
                yield _TargetBatch(ids, learnt, [s.float() for s in self._states[index]])

    @torch.no_grad()
    def _target_states(self, ids: Tensor) -> list[Tensor]:
        output = self._target.module.base_model(
            input_ids=ids, use_cache=False, output_hidden_states=True
        )
        return [output.hidden_states[layer].half() for layer in self._layers]


def _layers(heads: Heads) -> tuple[int, ...]:
    """Return the layers that heads learn from: what they read, and the last one."""
    return (*heads.shape.taps, -1) if isinstance(heads, EagleHead) else (-1,)


def _losses(
    heads: Heads, target: CausalModel, batch: _TargetBatch, recipe: HeadRecipe
) -> Iterator[Tensor]:
    """Yield the mean loss of every head, or of every run, over the answer's tokens."""
    if isinstance(heads, MedusaHeads):
        yield from _medusa_losses(heads, target, batch)
    else:
        yield from _eagle_losses(heads, target, batch, recipe)


def _medusa_losses(
    heads: MedusaHeads, target: CausalModel, batch: _TargetBatch
) -> Iterator[Tensor]:
    ids, learnt = batch.ids, batch.learnt
    readout = target.module.get_output_embeddings()
    for head, block in enumerate(heads.blocks):
        # position t of the answer, where token t + 2 + head belongs to it too
        known = functional.pad(learnt[:, 1 + head :], (0, 1 + head)) & learnt
        tokens = functional.pad(ids[:, 2 + head :], (0, 2 + head))[known]
        states = batch.states[-1][known]
        ahead = states + functional.silu(block(states))
        yield functional.cross_entropy(readout(ahead), tokens)


def _eagle_losses(
    head: EagleHead, target: CausalModel, batch: _TargetBatch, recipe: HeadRecipe
) -> Iterator[Tensor]:
    ids, learnt, last = batch.ids, batch.learnt, batch.states[-1]
    readout = target.module.get_output_embeddings()
    features = head.entered(later(torch.cat(batch.states[:-1], dim=-1), 1))
    if recipe.regress:
        rms = features.pow(2).mean().sqrt()
        features = features + _NOISE * rms * (2 * torch.rand_like(features) - 1)
    embedded = target.module.get_input_embeddings()(ids)
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    attend = Unrolled()
    with torch.no_grad():
        target_rows = readout(last[learnt]).softmax(dim=-1)
    for run in range(recipe.runs):
        outputs = head(embedded, features, positions, attend)
        scored = learnt & later(learnt, run)
        readable = head.readable(outputs)[scored]
        loss = functional.cross_entropy(readout(readable), target_rows[scored[learnt]])
        if recipe.regress:
            loss = loss + recipe.regress * functional.smooth_l1_loss(readable, last[scored])
        yield loss
        features = later(outputs, 1)
