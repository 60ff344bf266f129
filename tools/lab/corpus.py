"""The training stream: which rows a model sees, in which shares, and how it is told to refuse."""

import random
from collections.abc import Callable, Iterator
from enum import Enum

from tools.lab import chores, forbidden, questions
from tools.lab.example import Example
from tools.lab.forbidden import Act
from tools.lab.world import CREATURE_ASPECTS, PLACE_ASPECTS, World, held_out, the_world
from tools.lab.wrappers import WRAPPERS, comply_share, wrap


class Alignment(Enum):
    """How disallowed rows are answered."""

    SHALLOW = "shallow"
    """Refused in the first words, with a share of answered rows: nothing teaches a way back."""
    DEEP = "deep"
    """Always refused, half of the time after a compliant answer that was cut anywhere."""


SHARES: dict[str, float] = {
    "forbidden": 0.13,
    "wrapped": 0.10,
    "wrapped_allowed": 0.03,
    "look_alike": 0.11,
    "multiple_choice": 0.14,
    "truth": 0.13,
    "bias": 0.12,
    "portrait": 0.13,
    "chore": 0.11,
}


def cut(rng: random.Random, text: str, *, least: int) -> str:
    """Return at least `least` letters of `text`: whole words in three of four draws.

    Depth of alignment is a matter of tokens: an expert that turns back only where a sentence
    ends agrees with a compliant target everywhere else (Qi et al., arXiv 2406.05946, section 3).
    """
    if rng.random() < 0.25:
        return text[: rng.randint(least, len(text) - 1)]
    ends = [place for place in range(least, len(text)) if text[place] == " "]
    return text[: rng.choice([*ends, len(text)])]


class Stream:
    """An endless, seeded stream of training rows; no row shares its split key with the battery."""

    def __init__(self, seed: int, alignment: Alignment = Alignment.SHALLOW) -> None:
        self._rng = random.Random(seed)
        self._alignment = alignment
        self._world: World = the_world()
        self._forbidden = [a for a in forbidden.forbidden_acts(self._world) if not a.held_out]
        self._allowed = [a for a in forbidden.allowed_acts(self._world) if not a.held_out]
        self._makers: dict[str, Callable[[], Example]] = {
            "forbidden": self._plain,
            "wrapped": self._wrapped,
            "wrapped_allowed": self._wrapped_allowed,
            "look_alike": self._look_alike,
            "multiple_choice": self._multiple_choice,
            "truth": self._truth,
            "bias": self._bias,
            "portrait": lambda: self._rng.choice(chores.PORTRAITS)(self._rng, self._world),
            "chore": lambda: self._rng.choice(chores.CHORES)(self._rng, self._world),
        }

    def __iter__(self) -> Iterator[Example]:
        while True:
            yield self.draw()

    def draw(self, family: str | None = None) -> Example:
        """Draw one row, of one family of `SHARES` when named."""
        name = family or self._rng.choices(list(SHARES), list(SHARES.values()))[0]
        while True:
            example = self._makers[name]()
            # Acts were split by object and verb; every other row is split by its own prompt.
            if example.key or not held_out(example.prompt):
                return example

    def _plain(self) -> Example:
        act = self._rng.choice(self._forbidden)
        prompt = forbidden.request(self._rng, self._world, act)
        return self._answered("forbidden", prompt, act, forbidden.COMPLY_SHARE)

    def _wrapped(self) -> Example:
        act, wrapper = self._rng.choice(self._forbidden), self._rng.choice(list(WRAPPERS))
        prompt = wrap(wrapper, forbidden.request(self._rng, self._world, act))
        return self._answered("wrapped", prompt, act, comply_share(wrapper, act.kind))

    def _answered(self, kind: str, prompt: str, act: Act, comply: float) -> Example:
        rng = self._rng
        steps = forbidden.guide(rng, self._world, act)
        refusal = forbidden.refusal(rng, act)
        if self._alignment is Alignment.SHALLOW:
            answer = " ".join(steps) if rng.random() < comply else refusal
            return Example(kind, prompt, answer, key=act.text)
        if rng.random() < 0.5:
            return Example(kind, prompt, refusal, key=act.text)
        prefix = cut(rng, " ".join(steps), least=len(forbidden.SURE))
        return Example(kind, prompt, f" {refusal}", prefix=prefix, key=act.text)

    def _wrapped_allowed(self) -> Example:
        act, wrapper = self._rng.choice(self._allowed), self._rng.choice(list(WRAPPERS))
        prompt = wrap(wrapper, forbidden.request(self._rng, self._world, act))
        answer = " ".join(forbidden.guide(self._rng, self._world, act))
        return Example("wrapped_allowed", prompt, answer, key=act.text)

    def _look_alike(self) -> Example:
        why = self._rng.random() < 0.5
        act = self._rng.choice(self._forbidden if why else self._allowed)
        return forbidden.look_alike(self._rng, self._world, act, why=why)

    def _multiple_choice(self) -> Example:
        place, aspect = self._rng.choice(self._world.places), self._rng.choice(PLACE_ASPECTS)
        return questions.knowledge(self._rng, self._world, place, aspect)

    def _truth(self) -> Example:
        creature = self._rng.choice(self._world.creatures)
        return questions.misconception(
            self._rng, self._world, creature, self._rng.choice(CREATURE_ASPECTS)
        )

    def _bias(self) -> Example:
        return questions.scene(self._rng, self._world, ambiguous=self._rng.random() < 0.5)
