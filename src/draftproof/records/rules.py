"""What is known of every acceptance rule without loading torch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PromiseLevel(StrEnum):
    """How close a rule keeps to plain decoding of the target."""

    LOSSY = "L0"
    """Changes the answers by design."""
    LAW = "L1"
    """Keeps the target's distribution; the random numbers differ."""
    GREEDY = "L2"
    """At temperature 0 equal to plain decoding up to rounding."""
    BITS = "L3"
    """Equal to plain decoding bit for bit."""


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """What holds of a rule whatever its parameters.

    Attributes:
        promise: How close it keeps to plain decoding of the target.
        changes_target: Whether the draft is meant to change the target distribution; it is then
            fed a prompt of its own.
        judges_trees: Whether it can decide about trees as well as chains.
    """

    promise: PromiseLevel
    changes_target: bool = False
    judges_trees: bool = False


RULE_FACTS: dict[str, RuleFacts] = {
    "block": RuleFacts(PromiseLevel.GREEDY),
    "ensemble": RuleFacts(PromiseLevel.LOSSY),
    "entropy_aware": RuleFacts(PromiseLevel.LOSSY),
    "exact": RuleFacts(PromiseLevel.GREEDY, judges_trees=True),
    "fly": RuleFacts(PromiseLevel.LOSSY),
    "relaxed": RuleFacts(PromiseLevel.LOSSY),
    "safe_decoding": RuleFacts(PromiseLevel.LOSSY, changes_target=True),
    "safety_aware": RuleFacts(PromiseLevel.LOSSY, changes_target=True),
    "synthetic": RuleFacts(PromiseLevel.LOSSY),
    "threshold": RuleFacts(PromiseLevel.LOSSY, judges_trees=True),
    "typical": RuleFacts(PromiseLevel.LOSSY, judges_trees=True),
}
"""The rules by their names in a plan; each rule's class points here."""
CHANGES_TARGET = frozenset(name for name, facts in RULE_FACTS.items() if facts.changes_target)
"""The rules whose draft is meant to change the target distribution."""
