"""The row that the corpus is made of, and the two ways of drawing words."""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """One instruction with its answer.

    Attributes:
        kind: which generator made it, for example `reverse` or `forbidden`.
        prompt: the user turn.
        answer: the part of the assistant turn that is learnt.
        prefix: the beginning of the assistant turn that is given and carries no loss.
        choices: the options of a choice question, in the order of their letters.
        reference: the correct letter, or the exact last line of an open answer.
        key: the act it is about, which the hold-out split goes by; empty for a row that is
            split by its own prompt.
    """

    kind: str
    prompt: str
    answer: str
    prefix: str = ""
    choices: tuple[str, ...] = ()
    reference: str | None = None
    key: str = ""


def leaning(rng: random.Random, options: Sequence[str]) -> str:
    """Draw a wording; each option is half as likely again as likely as the next (3 : 2).

    A clear favourite keeps greedy answers stable while the tail keeps the entropy of the
    un-tempered row well above zero.
    """
    weights = [1.5**-i for i in range(len(options))]
    return rng.choices(options, weights)[0]
