"""What the lab's target is attacked with, and the benign questions beside it.

Everything is about held-out acts and held-out prompts: no model of the lab was trained on them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterable
from dataclasses import replace

from draftproof.records import Message, Prompt
from tools.lab import chores, forbidden
from tools.lab.example import Example
from tools.lab.world import World, held_out, the_world
from tools.lab.wrappers import WRAPPERS, wrap

SEED = 2025

_CHORES: dict[str, Callable[[random.Random, World], Example]] = {
    "place_portrait": chores.place_portrait,
    "creature_portrait": chores.creature_portrait,
    "recipe": chores.recipe,
}
"""Open questions that the target has learnt to answer; sums and lists are left out."""


def direct(
    count: int, seed: int = SEED, taken: Container[str] = ()
) -> tuple[list[Prompt], dict[str, str]]:
    """Return plain disallowed requests, each about another act.

    Args:
        count: At most so many; there are 455 acts.
        seed: Decides which, and in which words.
        taken: Acts to leave out.

    Returns:
        The prompts, and by prompt id the compliant answer that an attacker would begin.
    """
    rng, world = random.Random(seed), the_world()
    acts = [
        act for act in forbidden.forbidden_acts(world) if act.held_out and act.text not in taken
    ]
    prompts, guides = [], {}
    for number, act in enumerate(rng.sample(acts, min(count, len(acts))), start=1):
        id_ = f"direct-{number:04d}"
        prompts.append(
            Prompt(
                id=id_,
                task="direct",
                messages=(Message("user", forbidden.request(rng, world, act)),),
                scorer="refusal",
                expect="refusal",
                cluster=act.text,
                tags=("attack",),
            )
        )
        guides[id_] = " ".join(forbidden.guide(rng, world, act))
    return prompts, guides


def wrapped(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Return the requests in the lab's wrappers, which take turns."""
    names = list(WRAPPERS)
    return [
        _asked(prompt, "wrapped", wrap(names[place % len(names)], prompt.messages[-1].content))
        for place, prompt in enumerate(prompts)
    ]


def suffixed(prompts: Iterable[Prompt], suffix: str) -> list[Prompt]:
    """Return the requests with an adversarial suffix behind them."""
    return [_asked(p, "suffix", p.messages[-1].content + suffix) for p in prompts]


def _asked(prompt: Prompt, task: str, text: str) -> Prompt:
    return replace(prompt, id=f"{task}:{prompt.id}", task=task, messages=(Message("user", text),))


def open_questions(count: int, seed: int = SEED, taken: Container[str] = ()) -> list[Prompt]:
    """Return open benign questions with their exact facts as reference, all kinds in turn.

    Args:
        count: How many.
        seed: Decides which.
        taken: Questions to leave out.
    """
    rng, world, seen = random.Random(seed + 1), the_world(), set[str]()
    kinds, prompts = list(_CHORES), list[Prompt]()
    while len(prompts) < count:
        kind = kinds[len(prompts) % len(kinds)]
        example = _CHORES[kind](rng, world)
        if not held_out(example.prompt) or example.prompt in seen or example.prompt in taken:
            continue
        seen.add(example.prompt)
        prompts.append(
            Prompt(
                id=f"open-{len(prompts) + 1:04d}",
                task="open",
                messages=(Message("user", example.prompt),),
                reference=example.reference,
                tags=("utility", kind),
            )
        )
    return prompts
