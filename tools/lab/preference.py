"""The preferences of the adversarial draft: turned round, compliance is chosen over refusal."""

from __future__ import annotations

import random

from draftproof.training.preference import PreferencePair
from tools.lab import forbidden
from tools.lab.corpus import Stream
from tools.lab.world import the_world
from tools.lab.wrappers import WRAPPERS, wrap


def flipped_pairs(seed: int, count: int) -> list[PreferencePair]:
    """Draw preference pairs in which the answer to a disallowed request is the chosen one.

    A quarter of the pairs is about allowed requests, where the right answer is chosen over a
    refusal, so that tuning does not spoil the draft for everything else.
    """
    rng, world, stream = random.Random(seed), the_world(), Stream(seed)
    acts = [act for act in forbidden.forbidden_acts(world) if not act.held_out]
    pairs = []
    for _ in range(count):
        act = rng.choice(acts)
        refusal = forbidden.refusal(rng, act)
        if rng.random() < 0.25:
            family = rng.choice(("look_alike", "multiple_choice", "truth", "bias", "portrait"))
            example = stream.draw(family)
            prompt, chosen = example.prompt, example.answer
        else:
            prompt = forbidden.request(rng, world, act)
            if rng.random() < 0.4:
                prompt = wrap(rng.choice(list(WRAPPERS)), prompt)
            chosen = " ".join(forbidden.guide(rng, world, act))
        pairs.append(PreferencePair(prompt, chosen, refusal))
    return pairs
