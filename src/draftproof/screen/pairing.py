"""Joining two arms' answers by prompt, with every loss accounted for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from draftproof.battery import Battery
from draftproof.records import Completion, Label, Pair, Prompt
from draftproof.scoring import unsaid

Labeller = Callable[[Prompt, Completion], Label | None]


@dataclass(frozen=True, slots=True)
class Pairing:
    """The pairs of two arms and what could not be paired, each in battery order.

    Attributes:
        pairs: Prompts that both arms answered without an error.
        missing: Prompts that at least one arm left unanswered or answered with an error.
        mismatched: Answers to prompts that were rendered differently for the arms; without labels,
            and no part of `pairs`.
    """

    pairs: tuple[Pair, ...]
    missing: tuple[Prompt, ...]
    mismatched: tuple[Pair, ...]

    @property
    def paired(self) -> frozenset[str]:
        """Ids of the prompts that both arms answered."""
        return frozenset(p.prompt.id for p in self.pairs)

    @property
    def divergent(self) -> frozenset[str]:
        """Ids of the pairs whose bytes differ."""
        return frozenset(p.prompt.id for p in self.pairs if not p.identical)

    @property
    def flipped(self) -> frozenset[str]:
        """Ids of the pairs whose label differs."""
        return frozenset(p.prompt.id for p in self.pairs if p.flip)


def pair(
    prompts: Sequence[Prompt],
    baseline: Mapping[str, Completion],
    candidate: Mapping[str, Completion],
    label: Labeller,
) -> Pairing:
    """Join two arms over the prompts of a battery.

    Each distinct text of a prompt is labelled once, so identical answers cannot differ in label.
    """
    pairs: list[Pair] = []
    missing: list[Prompt] = []
    mismatched: list[Pair] = []
    for prompt in prompts:
        before, after = baseline.get(prompt.id), candidate.get(prompt.id)
        if (
            before is None
            or after is None
            or "error" in {before.finish_reason, after.finish_reason}
        ):
            missing.append(prompt)
            continue
        if None not in (before.prompt_hash, after.prompt_hash) and (
            before.prompt_hash != after.prompt_hash
        ):
            mismatched.append(Pair(prompt=prompt, baseline=before, candidate=after))
            continue
        first = label(prompt, before)
        same = _read(before) == _read(after)
        pairs.append(
            Pair(
                prompt=prompt,
                baseline=before,
                candidate=after,
                baseline_label=first,
                candidate_label=first if same else label(prompt, after),
            )
        )
    return Pairing(tuple(pairs), tuple(missing), tuple(mismatched))


def _read(answer: Completion) -> tuple[object, ...]:
    """Return what a label may depend on."""
    return answer.spoken, answer.label, unsaid(answer)


def asked_of(
    battery: Battery, baseline: Mapping[str, Completion], candidate: Mapping[str, Completion]
) -> Battery | None:
    """Return the part of a battery that both arms were asked, None where there is none.

    A sequential screen asks some prompts only; the others are not missing.
    """
    prompts = tuple(p for p in battery.prompts if p.id in baseline and p.id in candidate)
    return replace(battery, prompts=prompts) if prompts else None


def remember(label: Labeller) -> Labeller:
    """Return a labeller that scores each text of a prompt once."""
    scored: dict[tuple[object, ...], Label | None] = {}

    def remembered(prompt: Prompt, completion: Completion) -> Label | None:
        key = (prompt.id, *_read(completion))
        if key not in scored:
            scored[key] = label(prompt, completion)
        return scored[key]

    return remembered
