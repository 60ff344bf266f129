"""Naming the implementation fault that an arm's divergences look like.

One arm has one implementation, so its divergences are judged together, by a pure function of what
was found about each. Two kinds of evidence speak for a fault. *Reproduction*: our own decoder
with that very fault planted says what the arm said, up to the divergence and beyond. *Signature*:
the divergence itself has the fault's mark, for arms whose models are not at hand. A lenient
acceptance keeps the draft's token wherever it errs; a lost draft skips one token and goes on with
what follows it; a stop across a block is passed over in the middle of what was accepted. Stale
keys and values, a wrong position, a bonus token that is never read and a processor one row off
have no mark of their own: what the target would choose under the mistake has to be computed. A
reused random number needs a temperature above 0: greedy answers are right while sampled tokens do
not follow the target's distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from draftproof.records import Cause, KnownCause, Pair
from draftproof.rescoring.rescorer import Replayer
from draftproof.screen.forensics import Explanation

_LEAST_SHARE = 0.75
"""Share of the divergences that a named fault has to predict."""
_CERTAIN = 0.9
_MANY = 3
_PROBED = 24
"""Divergences that are replayed: an arm has one implementation, a few show its fault."""
_BEYOND = 4
"""Tokens after the divergence that a replay has to reproduce as well."""
_QUARTER = 4
_LEAST_BUDGET = 4096
"""Tokens that replays may decode however few an arm answered."""
_NOWHERE = 2**31
_WRONG = frozenset({Cause.LEAK, Cause.FAULT, Cause.TRUNCATION})
_NO_EVIDENCE = frozenset(
    {Cause.TIE, Cause.TEMPLATE, Cause.SPELLING, Cause.TOKENISATION, Cause.UNEXPLAINED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is known of one divergence.

    Attributes:
        cause: Its class.
        kept: The token that was emitted, None at a passed end.
        rejected: The token that the baseline has there.
        draft_token: What the draft would propose there, None where that is unknown.
        provenance: How the emitted token came about (d, c, b, p), None where that is unknown.
        following: The baseline's token after `rejected`, None at its end.
        reproduced: Faults under which our decoder says the same, up to here and beyond.
        probed: Faults that were tried.
        stop_inside: Whether the candidate goes on after an end that both said.
    """

    cause: Cause
    kept: int | None = None
    rejected: int | None = None
    draft_token: int | None = None
    provenance: str | None = None
    following: int | None = None
    reproduced: frozenset[str] = frozenset()
    probed: frozenset[str] = frozenset()
    stop_inside: bool = False


def _drafted(trace: Trace) -> bool:
    if trace.cause is not Cause.LEAK:
        return False
    return trace.provenance == "d" or (trace.provenance is None and trace.kept == trace.draft_token)


def _skipped(trace: Trace) -> bool:
    follows = trace.following is not None and trace.kept == trace.following
    return follows and trace.provenance in {"c", None}


def _no_mark(trace: Trace) -> bool:
    return False


_FAULTS: dict[str, tuple[str, Callable[[Trace], bool]]] = {
    "stop_across_block": (
        "a stop inside a block of accepted tokens is ignored",
        lambda t: t.stop_inside,
    ),
    "processor_off_by_one": (
        "a logits processor sees the text of another row of the block",
        _no_mark,
    ),
    "missing_draft": ("a correction drops the last accepted token before it", _skipped),
    "missing_bonus": (
        "the bonus token after a fully accepted chain is never read by the target",
        _no_mark,
    ),
    "stale_kv": ("keys and values of rejected tokens are still attended to", _no_mark),
    "wrong_position": ("drafted tokens are verified at a wrong position", _no_mark),
    "lenient_accept": ("drafted tokens are accepted against the target's choice", _drafted),
}
"""Most specific first: the first of equally good explanations is given."""


def name_cause(traces: Sequence[Trace]) -> KnownCause | None:
    """Return the fault that explains an arm's divergences, None where none does.

    Ties are no evidence and are left out. A fault is named if it explains at least three quarters
    of the rest. What was tried and not reproduced is no explanation, whatever its mark, except
    for lenient acceptance, of which there are as many kinds as there are rules. Confidence is
    high if the fault explains nine in ten, of three at least, and more than any other does.
    """
    counted = [t for t in traces if t.cause not in _NO_EVIDENCE]
    if not counted:
        return None
    scores = {name: sum(_explains(name, t) for t in counted) for name in _FAULTS}
    best = max(scores, key=lambda name: scores[name])
    share = scores[best] / len(counted)
    if share < _LEAST_SHARE:
        return None
    others = max(count for name, count in scores.items() if name != best)
    confidence = "medium"
    if len(counted) < _MANY:
        confidence = "low"
    elif share >= _CERTAIN and others < scores[best]:
        confidence = "high"
    return KnownCause(
        name=best,
        text=_FAULTS[best][0],
        explained=scores[best],
        of=len(counted),
        confidence=confidence,
    )


def _explains(name: str, trace: Trace) -> bool:
    if name in trace.reproduced:
        return True
    tried = name in trace.probed and name != "lenient_accept"
    return not tried and _FAULTS[name][1](trace)


def name_law_break(*, greedy_clean: bool, law_p: float, alpha: float) -> KnownCause | None:
    """Return the fault behind a wrong distribution at a temperature above 0, None if it is right.

    A random number that is used for acceptance and again for the corrected token leaves greedy
    answers as they are and makes the two draws depend on each other.

    Args:
        greedy_clean: Whether the same arm at temperature 0 shows no leak and no fault.
        law_p: p-value of the exact test of drawn tokens against the target's distribution.
        alpha: Level below which the distribution counts as wrong.
    """
    if law_p > alpha or not greedy_clean:
        return None
    return KnownCause(
        name="reused_coin",
        text=(
            "greedy answers are right but sampled tokens break the target's law: a random number "
            "is used twice"
        ),
        explained=1,
        of=1,
        confidence="medium",
    )


@dataclass(frozen=True, slots=True)
class FaultSearch:
    """Which implementation fault an arm's divergences look like.

    Attributes:
        cause: The fault, None where none is known.
        left_out: Faults that were not tried because it would have cost too much.
    """

    cause: KnownCause | None = None
    left_out: tuple[str, ...] = ()


def find_fault(
    explanations: Sequence[Explanation],
    pairs: Sequence[Pair],
    replayer_of: Callable[[], Replayer | None] = lambda: None,
) -> FaultSearch:
    """Return the implementation fault behind an arm's divergences.

    Nothing is replayed where drafted tokens that were kept against the target explain the
    divergences already. Otherwise faults are tried in order of likelihood: those whose mark fits,
    then as they are listed; the first that explains nine in ten ends the search. All replays
    together decode at most a quarter of the tokens that the arm answered.

    Args:
        explanations: Explained divergences.
        pairs: Complete pairs; divergences of other prompts are left out.
        replayer_of: Makes what answers with a known fault planted; None where the models are not
            at hand.
    """
    by_id = {p.prompt.id: p for p in pairs}
    wrong = [
        e for e in explanations if e.divergence.cause in _WRONG and e.divergence.id in by_id
    ][:_PROBED]  # fmt: skip
    if not wrong:
        return FaultSearch()
    chosen = [by_id[e.divergence.id] for e in wrong]
    traces = [_trace(e, p) for e, p in zip(wrong, chosen, strict=True)]
    leaks = _share("lenient_accept", traces)
    replayer = replayer_of() if leaks < _CERTAIN else None
    if replayer is None:
        return FaultSearch(name_cause(traces))
    budget = max(_LEAST_BUDGET, sum(len(p.candidate.token_ids or ()) for p in pairs) // _QUARTER)
    return _replayed(wrong, chosen, traces, replayer, budget)


def _replayed(
    wrong: Sequence[Explanation],
    pairs: Sequence[Pair],
    traces: Sequence[Trace],
    replayer: Replayer,
    budget: int,
) -> FaultSearch:
    ends = [_end(e, p) for e, p in zip(wrong, pairs, strict=True)]
    # early ones first: a replay costs as many tokens as the latest of them lies behind
    places = sorted((i for i, end in enumerate(ends) if end < _NOWHERE), key=ends.__getitem__)
    while len(places) > _MANY and len(places) * ends[places[-1]] > budget // _QUARTER:
        del places[-1]
    if not places:
        return FaultSearch(name_cause(traces))
    asked, longest = [traces[i] for i in places], ends[places[-1]]
    said = [(pairs[i].candidate.token_ids or ())[: ends[i]] for i in places]
    likely = sorted(
        (fault for fault in _FAULTS if fault in replayer.faults),
        key=lambda fault: -_share(fault, asked),
    )
    for place, fault in enumerate(likely):
        budget -= len(places) * longest
        if budget < 0:
            return FaultSearch(name_cause(asked), tuple(likely[place:]))
        answers = replayer(fault, [pairs[i].prompt for i in places], longest)
        asked = [
            replace(
                trace,
                reproduced=trace.reproduced | ({fault} if answer[: len(ids)] == ids else set()),
                probed=trace.probed | {fault},
            )
            for trace, answer, ids in zip(asked, answers, said, strict=True)
        ]
        if _share(fault, asked) >= _CERTAIN:
            break
    return FaultSearch(name_cause(asked))


def _share(fault: str, traces: Sequence[Trace]) -> float:
    """Return the share of divergences that a fault explains, as far as it was tried."""
    return sum(_explains(fault, trace) for trace in traces) / len(traces)


def _end(explanation: Explanation, pair: Pair) -> int:
    """Return how many tokens a replay must reproduce; `_NOWHERE` where ids are not known."""
    index = explanation.divergence.token_index
    if pair.candidate.token_ids is None or index is None:
        return _NOWHERE
    return index + 1 + _BEYOND


def _trace(explanation: Explanation, pair: Pair) -> Trace:
    place, opinion = explanation.first, explanation.opinion
    before = pair.baseline.token_ids
    following = None
    if place is not None and not place.respelled and before is not None:
        following = next(iter(before[place.index + 1 : place.index + 2]), None)
    return Trace(
        cause=explanation.divergence.cause,
        kept=place.kept if place else None,
        rejected=place.rejected if place else None,
        draft_token=opinion.draft_token if opinion else None,
        provenance=explanation.divergence.provenance,
        following=following,
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
