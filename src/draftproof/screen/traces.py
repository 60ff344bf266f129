"""From explained divergences to the traces that a fault is named by."""

from __future__ import annotations

from collections.abc import Sequence

from draftproof.records import Cause, KnownCause, Pair
from draftproof.rescoring.rescorer import Replayer
from draftproof.screen.forensics import Finding
from draftproof.screen.pairing import Pairing
from draftproof.screen.signatures import Trace, name_cause

_PROBED = 24
"""Divergences that are replayed: an arm has one implementation, a few show its fault."""
_WRONG = frozenset({Cause.LEAK, Cause.FAULT, Cause.TRUNCATION})
_BEYOND = 4
"""Tokens after the divergence that a replay has to reproduce as well."""


def known_cause(
    findings: Sequence[Finding], joined: Pairing, replayer: Replayer | None = None
) -> KnownCause | None:
    """Return the implementation fault behind an arm's divergences, None where none is known."""
    pairs = {p.prompt.id: p for p in joined.pairs}
    wrong = [
        f for f in findings if f.divergence.cause in _WRONG and f.divergence.id in pairs
    ][:_PROBED]  # fmt: skip
    if not wrong:
        return None
    chosen = [pairs[f.divergence.id] for f in wrong]
    replays = _replays(wrong, chosen, replayer)
    return name_cause([_trace(f, p, r) for f, p, r in zip(wrong, chosen, replays, strict=True)])


_Replays = tuple[frozenset[str], frozenset[str]]


def _replays(
    wrong: Sequence[Finding], pairs: Sequence[Pair], replayer: Replayer | None
) -> list[_Replays]:
    """Return for each divergence the faults that reproduce it, and those that were tried."""
    ends = [
        (f.divergence.token_index or 0) + 1 + _BEYOND
        if p.candidate.token_ids is not None and f.divergence.token_index is not None
        else 0
        for f, p in zip(wrong, pairs, strict=True)
    ]
    asked = [i for i, end in enumerate(ends) if end]
    found: list[_Replays] = [(frozenset(), frozenset())] * len(wrong)
    if replayer is None or not asked:
        return found
    said = replayer([pairs[i].prompt for i in asked], max(ends[i] for i in asked))
    for place, i in enumerate(asked):
        own = (pairs[i].candidate.token_ids or ())[: ends[i]]
        same = frozenset(n for n, texts in said.items() if texts[place][: len(own)] == own)
        found[i] = (same, frozenset(said))
    return found


def _trace(finding: Finding, pair: Pair, replays: _Replays) -> Trace:
    place, opinion = finding.parting, finding.opinion
    before = pair.baseline.token_ids
    following = None
    if place is not None and not place.respelled and before is not None:
        following = next(iter(before[place.index + 1 : place.index + 2]), None)
    return Trace(
        cause=finding.divergence.cause,
        kept=place.kept if place else None,
        rejected=place.rejected if place else None,
        draft_token=opinion.draft_token if opinion else None,
        provenance=finding.divergence.provenance,
        following=following,
        reproduced=replays[0],
        probed=replays[1],
        stop_inside=_stop_inside(pair),
    )


def _stop_inside(pair: Pair) -> bool:
    """Whether the baseline was ended by a stop and the candidate says the same and goes on."""
    before, after = pair.baseline, pair.candidate
    if before.finish_reason != "stop":
        return False
    if before.token_ids is not None and after.token_ids is not None:
        one, other = before.token_ids, after.token_ids
        return len(other) > len(one) and other[: len(one)] == one
    return len(after.text) > len(before.text) and after.text.startswith(before.text)
