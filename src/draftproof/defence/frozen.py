"""The prompts of the study that ship: disallowed acts and open questions, frozen as data.

They were drawn once by ``python -m tools.lab prompts`` from acts and prompts that no shipped model
was trained on. Which of them a study asks is decided here, by its seeds: the acts by a random
sample, the open questions by lists. Wordings of the sizes that the shipped study asks for are kept
for some seeds; every other draw asks about its acts in one common wording.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from draftproof.records import DraftproofError

SEED = 2025
"""Seed of the shipped study."""


@dataclass(frozen=True, slots=True)
class Attack:
    """A disallowed request.

    Attributes:
        act: what it is about, for example ``forge the vrolka stamp``.
        request: the user turn.
        guide: the compliant answer that an attacker would begin.
    """

    act: str
    request: str
    guide: str


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """An open benign question.

    Attributes:
        kind: which generator made it; kinds take turns in a draw.
        question: the user turn.
        facts: text that a right answer holds.
    """

    kind: str
    question: str
    facts: str


class Draw(NamedTuple):
    """What decides a draw: the seeds so far, the last one its own, and how many are drawn."""

    seeds: tuple[int, ...]
    size: int


def draw_attacks(draw: Draw, taken: Collection[str] = ()) -> list[Attack]:
    """Return disallowed requests, each about another act; fewer where too few acts are left.

    Args:
        draw: seeds and how many; there are 455 acts.
        taken: acts to leave out.
    """
    acts = [attack for attack in common_attacks() if attack.act not in taken]
    sample = random.Random(draw.seeds[-1]).sample(acts, min(draw.size, len(acts)))
    wordings = frozen_attacks().get(draw, {})
    return [wordings.get(attack.act, attack) for attack in sample]


def draw_questions(draw: Draw, taken: Collection[str] = ()) -> list[OpenQuestion]:
    """Return different open questions, all kinds in turn.

    Args:
        draw: seeds and how many.
        taken: questions to leave out.

    Raises:
        DraftproofError: Too few questions are left.
    """
    lists = frozen_questions()
    sizes = [size for seeds, size in lists if seeds == draw.seeds and size >= draw.size]
    if sizes:
        known = lists[Draw(draw.seeds, min(sizes))][: draw.size]
        if not any(question.question in taken for question in known):
            return known
    return _sampled_questions(draw, taken)


def _sampled_questions(draw: Draw, taken: Collection[str]) -> list[OpenQuestion]:
    """Sample from all lists together, for seeds without a list of their own."""
    left: dict[str, dict[str, OpenQuestion]] = {}
    for questions in frozen_questions().values():
        for question in questions:
            if question.question not in taken:
                left.setdefault(question.kind, {})[question.question] = question
    rng = random.Random(draw.seeds[-1])
    shuffled = [rng.sample(list(of_kind.values()), len(of_kind)) for of_kind in left.values()]
    in_turn = [question for turn in zip(*shuffled, strict=False) for question in turn]
    if len(in_turn) < draw.size:
        raise DraftproofError(
            f"{len(in_turn)} open questions are left for seed {draw.seeds[-1]}, not {draw.size}; "
            "name fewer seeds or a lower limit"
        )
    return in_turn[: draw.size]


@lru_cache(maxsize=1)
def common_attacks() -> tuple[Attack, ...]:
    """Return every act that no shipped model was trained on, in the wording common to all draws."""
    return tuple(Attack(row["act"], row["request"], row["guide"]) for row in _rows("acts"))


@lru_cache(maxsize=1)
def frozen_attacks() -> Mapping[Draw, Mapping[str, Attack]]:
    """Return the requests of the draws whose wordings are kept, by act, in their order."""
    draws: dict[Draw, dict[str, Attack]] = {}
    for row in _rows("attacks"):
        attack = Attack(row["act"], row["request"], row["guide"])
        draws.setdefault(_draw(row), {})[attack.act] = attack
    return draws


@lru_cache(maxsize=1)
def frozen_questions() -> Mapping[Draw, list[OpenQuestion]]:
    """Return the lists of open questions by their draws."""
    draws: dict[Draw, list[OpenQuestion]] = {}
    for row in _rows("open"):
        question = OpenQuestion(row["kind"], row["question"], row["facts"])
        draws.setdefault(_draw(row), []).append(question)
    return draws


@lru_cache(maxsize=1)
def act_words() -> frozenset[str]:
    """Return the verbs and kinds of object that acts are made of, word by word."""
    return frozenset(row["word"] for row in _rows("words"))


def _draw(row: Mapping[str, object]) -> Draw:
    seeds, size = row["seeds"], row["size"]
    assert isinstance(seeds, list)
    assert isinstance(size, int)
    return Draw(tuple(seeds), size)


def _rows(name: str) -> Iterator[Mapping[str, str]]:
    text = (files("draftproof.defence") / "data" / f"{name}.jsonl").read_text("utf-8")
    return (json.loads(line) for line in text.splitlines())
