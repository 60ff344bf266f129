"""Drafters by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from draftproof.decoding.drafters.draft_model import DraftModel
from draftproof.decoding.drafters.draft_tree import DraftTree
from draftproof.decoding.drafters.drafter import Drafter, option_said
from draftproof.decoding.drafters.eagle import Eagle
from draftproof.decoding.drafters.eagle_dynamic import DynamicEagle
from draftproof.decoding.drafters.eagle_head import EagleHead
from draftproof.decoding.drafters.early_exit import EarlyExit
from draftproof.decoding.drafters.intersection import (
    Intersection,
    shared_tokens,
    text_round_trip,
)
from draftproof.decoding.drafters.lookup import PromptLookup
from draftproof.decoding.drafters.medusa import Medusa
from draftproof.decoding.drafters.medusa_heads import MedusaHeads
from draftproof.decoding.drafters.replay import Recordings, Replay, SyntheticDrafter
from draftproof.decoding.model import CausalModel
from draftproof.decoding.trees.static import chain, static_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What drafters are made of; each takes what it needs.

    Attributes:
        target: The model that judges.
        gamma: Most tokens a round.
        draft: A draft model.
        heads: Trained heads, as `draftproof.decoding.drafters.head_files.load` returns them.
        recordings: Drafts by prompt.
        tokenizers: The target's and the draft's Hugging Face tokenizers.
    """

    target: CausalModel
    gamma: int
    draft: CausalModel | None = None
    heads: MedusaHeads | EagleHead | None = None
    recordings: Recordings | None = None
    tokenizers: tuple[Any, Any] | None = None


def _draft(parts: Parts) -> CausalModel:
    return cast(CausalModel, parts.draft)


def _shape(
    parents: Sequence[int] | None = None,
    tree: str | None = None,
    otherwise: Sequence[int] | None = None,
) -> Sequence[int]:
    """Return the shape that is given as parents or by its published name."""
    if parents is not None and tree is not None:
        raise ValueError("give the tree's parents, or the name of a published tree, not both")
    named = parents if tree is None else static_tree(tree)
    found = otherwise if named is None else named
    if found is None:
        raise ValueError("give the tree's parents, or the name of a published tree as tree=")
    return list(found)


def _intersection(parts: Parts, **options: Any) -> Drafter:
    target, draft = cast(tuple[Any, Any], parts.tokenizers)
    return Intersection(
        _draft(parts),
        parts.gamma,
        shared=shared_tokens(target.get_vocab(), draft.get_vocab()),
        vocabulary=parts.target.vocab_size,
        reencode=text_round_trip(target, draft),
        **options,
    )


def _lookup(parts: Parts, like: str | None = None, **options: Any) -> Drafter:
    if like is None:
        # as the other stacks call them
        names = {"max_ngram": "longest", "min_ngram": "shortest"}
        return PromptLookup(parts.gamma, **{names.get(k, k): v for k, v in options.items()})
    if options:
        raise TypeError(f"like={like} settles {', '.join(options)}; give one or the other")
    return PromptLookup.like(like, parts.gamma)


def _medusa(parts: Parts, parents: Sequence[int] | None = None, tree: str | None = None) -> Drafter:
    if not isinstance(parts.heads, MedusaHeads):
        raise ValueError("these are not Medusa heads")
    most = chain(min(parts.gamma, parts.heads.shape.heads))
    return Medusa(parts.heads, parts.target, _shape(parents, tree, most))


def _eagle_head(parts: Parts, *kinds: str) -> EagleHead:
    if not isinstance(parts.heads, EagleHead) or parts.heads.shape.kind not in kinds:
        raise ValueError(f"these are not heads of kind {' or '.join(kinds)}")
    return parts.heads


def _eagle3(
    parts: Parts,
    parents: Sequence[int] | None = None,
    tree: str | None = None,
    dynamic: bool = True,
    **options: Any,
) -> Drafter:
    head = _eagle_head(parts, "eagle3")
    if parents is None and tree is None and dynamic:
        return DynamicEagle(head, parts.target, parts.gamma, **options)
    return Eagle(head, parts.target, _shape(parents, tree, chain(parts.gamma)), **options)


def _synthetic(parts: Parts, **options: Any) -> Drafter:
    return SyntheticDrafter(
        parts.recordings or {},
        parts.gamma,
        vocabulary=parts.target.vocab_size,
        cost=parts.draft,
        **options,
    )


DRAFTERS: dict[str, tuple[Callable[..., Drafter], tuple[str, ...]]] = {
    "draft_model": (lambda x, **options: DraftModel(_draft(x), x.gamma, **options), ("draft",)),
    "draft_tree": (lambda x, **shape: DraftTree(_draft(x), _shape(**shape)), ("draft",)),
    "eagle": (
        lambda x, **shape: Eagle(
            _eagle_head(x, "eagle"), x.target, _shape(**shape, otherwise=chain(x.gamma))
        ),
        ("heads",),
    ),
    "eagle2": (
        lambda x, **options: DynamicEagle(_eagle_head(x, "eagle"), x.target, x.gamma, **options),
        ("heads",),
    ),
    "eagle3": (_eagle3, ("heads",)),
    "early_exit": (lambda x, **options: EarlyExit(x.target, x.gamma, **options), ()),
    "intersection": (_intersection, ("draft", "tokenizers")),
    "lookup": (_lookup, ()),
    "medusa": (_medusa, ("heads",)),
    "replay": (lambda x: Replay(x.recordings or {}, x.gamma), ("recordings",)),
    "synthetic": (_synthetic, ("recordings",)),
}
"""How each drafter is made, and the parts that it cannot do without."""

_PARTS = {
    "draft": "a draft model",
    "heads": "trained heads; name them with its option heads",
    "recordings": "recorded drafts; name them with its option recordings",
    "tokenizers": "both tokenizers",
}


def make_drafter(name: str, parts: Parts, options: Mapping[str, Any] | None = None) -> Drafter:
    """Return the drafter called `name`.

    Args:
        name: One of `DRAFTERS`.
        parts: What it is made of; what it does not need is left alone.
        options: Its keyword arguments; for a tree `parents`, a list with -1 for the root, or
            `tree`, the name of a published one; for a lookup `like`, a preset; for EAGLE-3
            `dynamic`, False for a chain of gamma tokens.

    Raises:
        ValueError: No such drafter, a part that it needs is missing, or an option that it does
            not take or that is out of range.
        DraftproofError: The parts do not belong together.
    """
    if name not in DRAFTERS:
        raise ValueError(f"no drafter is called {name!r}; there are {', '.join(sorted(DRAFTERS))}")
    make, needs = DRAFTERS[name]
    draft, rows = parts.draft, parts.target.vocab_size
    if draft is not None and name != "intersection" and draft.vocab_size != rows:
        parts = replace(parts, draft=draft.speaking(rows))
    missing = [part for part in needs if getattr(parts, part) is None]
    if missing:
        raise ValueError(f"drafter {name!r} needs {' and '.join(_PARTS[m] for m in missing)}")
    try:
        return make(parts, **dict(options or {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"drafter {name!r}: {option_said(error)}") from None
