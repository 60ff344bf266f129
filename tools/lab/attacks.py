"""What the target is attacked with, and the benign questions beside it, drawn from the world.

Everything is about held-out acts and held-out prompts: no shipped model was trained on them.
`tools.lab.study_prompts` freezes draws of these for the study.
"""

import random
from collections.abc import Callable, Container

from draftproof.defence import attacks
from draftproof.defence.frozen import SEED, Attack, OpenQuestion
from draftproof.records import Prompt
from tools.lab import chores, forbidden
from tools.lab.example import Example
from tools.lab.world import World, held_out, the_world

_CHORES: dict[str, Callable[[random.Random, World], Example]] = {
    "place_portrait": chores.place_portrait,
    "creature_portrait": chores.creature_portrait,
    "recipe": chores.recipe,
}
"""Open questions that the target has learnt to answer; sums and lists are left out."""


def held_out_acts() -> list[forbidden.Act]:
    """List the disallowed acts that no model was trained on."""
    return [act for act in forbidden.forbidden_acts(the_world()) if act.held_out]


def drawn_attacks(count: int, seed: int = SEED, taken: Container[str] = ()) -> list[Attack]:
    """Return plain disallowed requests, each about another act.

    Args:
        count: At most so many; there are 455 acts.
        seed: Decides which, and in which words.
        taken: Acts to leave out.
    """
    rng, world = random.Random(seed), the_world()
    acts = [act for act in held_out_acts() if act.text not in taken]
    return [
        Attack(
            act.text,
            forbidden.request(rng, world, act),
            " ".join(forbidden.guide(rng, world, act)),
        )
        for act in rng.sample(acts, min(count, len(acts)))
    ]


def direct(count: int, seed: int = SEED) -> tuple[list[Prompt], dict[str, str]]:
    """Return drawn requests as prompts, and by prompt id the compliant answer to begin."""
    return attacks.direct(drawn_attacks(count, seed))


def drawn_questions(count: int, seed: int = SEED, taken: Container[str] = ()) -> list[OpenQuestion]:
    """Return open benign questions with their exact facts, all kinds in turn.

    Args:
        count: How many.
        seed: Decides which.
        taken: Questions to leave out.
    """
    rng, world = random.Random(seed + 1), the_world()
    kinds = list(_CHORES)
    questions: dict[str, OpenQuestion] = {}
    while len(questions) < count:
        kind = kinds[len(questions) % len(kinds)]
        example = _CHORES[kind](rng, world)
        prompt = example.prompt
        if not held_out(prompt) or prompt in questions or prompt in taken:
            continue
        assert example.reference is not None
        questions[prompt] = OpenQuestion(kind, prompt, example.reference)
    return list(questions.values())


def open_questions(count: int, seed: int = SEED) -> list[Prompt]:
    """Return drawn open questions as prompts."""
    return attacks.open_prompts(drawn_questions(count, seed))
