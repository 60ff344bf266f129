"""Acceptance rules: pure functions from rows and uniforms to what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from draftproof.decoding.drafters.drafter import option_said
from draftproof.decoding.rules.block import Block
from draftproof.decoding.rules.ensemble import Ensemble
from draftproof.decoding.rules.entropy_aware import EntropyAware
from draftproof.decoding.rules.exact import Exact
from draftproof.decoding.rules.fly import Fly
from draftproof.decoding.rules.relaxed import Relaxed
from draftproof.decoding.rules.rule import Rule, TreeRule, TreeVerification, Verification
from draftproof.decoding.rules.safe_decoding import SafeDecoding
from draftproof.decoding.rules.safety_aware import SafetyAware
from draftproof.decoding.rules.synthetic import Synthetic
from draftproof.decoding.rules.threshold import Threshold
from draftproof.decoding.rules.typical import Typical

_ALL: tuple[type[Any], ...] = (
    Block, Ensemble, EntropyAware, Exact, Fly, Relaxed, SafeDecoding, SafetyAware, Synthetic,
    Threshold, Typical,
)  # fmt: skip
RULES: dict[str, type[Any]] = {rule.name: rule for rule in _ALL}


def make_rule(name: str, options: Mapping[str, Any] | None = None) -> Rule:
    """Return the rule called `name` with its parameters.

    Raises:
        ValueError: No such rule, or an option that it does not take.
    """
    if name not in RULES:
        raise ValueError(f"no rule is called {name!r}; there are {', '.join(sorted(RULES))}")
    kind = RULES[name]
    make = getattr(kind, "from_options", None)
    try:
        rule: Rule = make(options or {}) if make else kind(**dict(options or {}))
    except TypeError as error:
        raise ValueError(f"rule {name!r}: {option_said(error)}") from None
    return rule


__all__ = [
    "RULES",
    "Block",
    "Ensemble",
    "EntropyAware",
    "Exact",
    "Fly",
    "Relaxed",
    "Rule",
    "SafeDecoding",
    "SafetyAware",
    "Synthetic",
    "Threshold",
    "TreeRule",
    "TreeVerification",
    "Typical",
    "Verification",
    "make_rule",
]
