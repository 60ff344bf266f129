"""Arms that a plan asks for in a word: repeats for the noise floor, and variants.

They are written into the plan as if they had been declared, under names of their own, so that
the run directory holds what was really asked; an arm that already has the name is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from draftproof.records.rules import CHANGES_TARGET

Declared = Mapping[str, Any]


class NoiseOptions(BaseModel):
    """Which repeats measure the noise floor."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repeats: int = Field(default=1, ge=0, le=200)
    """Repeats of each arm in the same order."""
    shuffled: bool = True
    """One more repeat in another order, hence beside other batch mates."""
    speculative: bool = True
    """Repeat the candidates as well (on against on), not the baseline alone."""


def with_repeats(arms: Sequence[Declared], options: NoiseOptions) -> list[Declared]:
    """Return the arms with the repeats that measure the noise floor."""
    out = list(arms)
    for arm in arms:
        role = arm.get("role")
        if role == "baseline" or (role == "candidate" and options.speculative):
            _add(out, _repeats(arm, options))
    return out


def _repeats(arm: Declared, options: NoiseOptions) -> Iterator[Declared]:
    own = {} if arm.get("role") == "baseline" else {"of": arm.get("name")}
    for number in range(1, options.repeats + 1):
        name = f"{arm.get('name')}-again" + (f"-{number}" if number > 1 else "")
        yield {**arm, "role": "noise", "name": name, **own}
    if options.shuffled:
        name = f"{arm.get('name')}-shuffled"
        yield {**arm, "role": "noise", "name": name, "order": "shuffled", **own}


def with_variants(arms: Sequence[Declared]) -> list[Declared]:
    """Return the arms with variants of every local candidate that drafts with a model.

    Another γ for every rule; another seed at temperature 0; for the exact rules another draft,
    the target itself, which proposes what no draft would; and for a rule that changes the target
    distribution by its draft the same rule decoded token by token, γ = 0.

    Raises:
        ValueError: There is no such candidate.
    """
    out = list(arms)
    for arm in arms:
        local = arm.get("engine", "local") == "local"
        if arm.get("role") == "candidate" and local and arm.get("draft"):
            _add(out, _variants(arm))
    if len(out) == len(arms) and not any(a.get("role") == "variant" for a in arms):
        raise ValueError("metamorphic: no candidate decodes locally with a draft, nothing to vary")
    return out


def _variants(arm: Declared) -> Iterator[Declared]:
    gamma = arm.get("gamma", 4)
    changes: dict[str, Declared] = {}
    if isinstance(gamma, int):
        changes["gamma"] = {"gamma": gamma // 2 if gamma > 1 else 2}
    if isinstance(arm.get("seed", 0), int):
        changes["seed"] = {"seed": arm.get("seed", 0) + 1}
    if arm.get("rule", "exact") in {"exact", "block"}:
        changes["draft"] = {"draft": arm.get("target")}
    if arm.get("rule") in CHANGES_TARGET:
        changes["autoregressive"] = {"gamma": 0}
    for what, change in changes.items():
        own = {"role": "variant", "of": arm.get("name"), "name": f"{arm.get('name')}-{what}"}
        yield {**arm, **own, **change}


def _add(arms: list[Declared], more: Iterator[Declared]) -> None:
    names = {a.get("name") for a in arms}
    arms.extend(a for a in more if a["name"] not in names)
