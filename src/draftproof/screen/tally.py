"""The pairs of two arms, counted: all that a decision needs to know of them.

Pairs held in memory are counted here one by one, those of large files in columns (`counting`).
Two tallies of different prompts add up to one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from draftproof.records import Channel, Completion, Label, Pair, Prompt
from draftproof.screen.counts.arm_tally import ArmTally, tally_arm
from draftproof.screen.counts.channel_tally import ChannelTally, tally_channels
from draftproof.screen.counts.task_tally import TaskTally
from draftproof.screen.counts.units import (
    GAIN,
    LOSS,
    NO_PAIR,
    SAME,
    UNREAD,
    Signs,
)
from draftproof.screen.pairing import Pairing


@dataclass(slots=True)
class Tally:
    """What is known of the pairs of two arms.

    Attributes:
        arms: Both arms.
        tasks: By name.
        missing: Prompts that one of the arms left unanswered.
        mismatched: Prompts that reached the arms in different form.
        first_mismatched: Place and id of the first of them.
        tokens: Candidate tokens of complete pairs.
        texts: Digests of the prompt and of what the baseline said, ``[answers, 2]``, of answers
            that are no errors.
        channels: What the pairs show, and where they part.
    """

    arms: tuple[ArmTally, ArmTally] = field(default_factory=lambda: (ArmTally(), ArmTally()))
    tasks: dict[str, TaskTally] = field(default_factory=dict)
    missing: int = 0
    mismatched: int = 0
    first_mismatched: tuple[int, str] | None = None
    tokens: int = 0
    texts: list[NDArray[np.int64]] = field(default_factory=list)
    channels: ChannelTally = field(default_factory=ChannelTally)

    @property
    def variety(self) -> float:
        """How many different answers the baseline's are worth: n times 1 - sum p^2.

        p is the share of each distinct text in the whole arm, so that n answers of one text are
        worth 0 and n distinct ones n - 1.
        """
        if not self.texts:
            return 0.0
        prompts, said = np.concatenate(self.texts).T
        # a prompt that was asked under two ids was still asked once
        with np.errstate(over="ignore"):
            _, once = np.unique(prompts * _ODD + said, return_index=True)
        shares = np.unique_counts(said[once]).counts
        n = int(shares.sum())
        return n - float(np.sum(shares.astype(np.float64) ** 2)) / n if n else 0.0

    @property
    def pairs(self) -> int:
        """Prompts that both arms answered."""
        return sum(task.pairs for task in self.tasks.values())

    @property
    def identical(self) -> int:
        """Pairs that are the same in every channel that was compared."""
        return sum(task.identical for task in self.tasks.values())

    def in_order(self) -> dict[str, TaskTally]:
        """Return the tasks in the order of the battery."""
        return dict(sorted(self.tasks.items(), key=lambda item: item[1].place))

    def independent(self, ungated: Collection[str] = ()) -> list[int]:
        """Return how many independent prompts each deciding task has."""
        return [task.independent for name, task in self.tasks.items() if name not in ungated]

    def add(self, other: Tally) -> None:
        """Add the tally of other prompts."""
        for mine, theirs in zip(self.arms, other.arms, strict=True):
            _add(mine, theirs)
        for name, task in other.tasks.items():
            mine_task = self.tasks.setdefault(name, TaskTally(task.place))
            if task.label is not None and (mine_task.label is None or task.place < mine_task.place):
                mine_task.label = task.label
            mine_task.place = min(mine_task.place, task.place)
            _add(mine_task, task, but=("place", "label"))
        firsts = [f for f in (self.first_mismatched, other.first_mismatched) if f]
        self.first_mismatched = min(firsts, default=None)
        self.missing += other.missing
        self.mismatched += other.mismatched
        self.tokens += other.tokens
        self.texts.extend(other.texts)
        self.channels = self.channels + other.channels


_Counts = TypeVar("_Counts", ArmTally, TaskTally)


def _add(mine: _Counts, theirs: _Counts, but: Collection[str] = ()) -> None:
    for entry in fields(mine):
        if entry.name not in but:
            setattr(mine, entry.name, getattr(mine, entry.name) + getattr(theirs, entry.name))


def tally_pairs(
    prompts: Iterable[Prompt],
    joined: Pairing,
    baseline: Iterable[Completion] = (),
    candidate: Iterable[Completion] = (),
    *,
    sampled: bool = False,
) -> Tally:
    """Count pairs that are held in memory.

    Args:
        prompts: The prompts in battery order.
        joined: Their pairs.
        baseline: All answers of the arm that is compared with.
        candidate: All answers of the judged arm.
        sampled: Prompts are asked several times on purpose, at a temperature above 0; else ids
            whose prompt is the same are one unit.
    """
    before = list(baseline)
    tally = Tally(
        arms=(tally_arm(before), tally_arm(candidate)),
        texts=[_texts(prompts, before)],
        missing=len(joined.missing),
        mismatched=len(joined.mismatched),
        tokens=sum(len(p.candidate.token_ids or ()) for p in joined.pairs),
        channels=tally_channels(joined.pairs),
    )
    pairs = {p.prompt.id: p for p in joined.pairs}
    first = joined.mismatched[0].prompt.id if joined.mismatched else None
    numbers: dict[str, dict[object, int]] = {}
    signs: dict[str, list[tuple[int, int, int]]] = {}
    for place, prompt in enumerate(prompts):
        if prompt.id == first:
            tally.first_mismatched = (place, prompt.id)
        task = tally.tasks.setdefault(prompt.task, TaskTally(place))
        task.prompts += 1
        units = numbers.setdefault(prompt.task, {})
        found = pairs.get(prompt.id)
        sides = () if found is None else (found.baseline, found.candidate)
        asked = prompt.id if sampled else _asked(prompt, *sides)
        unit = units.setdefault(asked, len(units))
        cluster = units.setdefault(
            f"cluster {prompt.cluster}" if prompt.cluster else asked, len(units)
        )
        signs.setdefault(prompt.task, []).append((unit, cluster, _count(task, found)))
    for name, pairs_of in signs.items():
        columns = np.array(pairs_of)
        tally.tasks[name].signs.append(
            Signs(
                columns[:, 0].astype(np.uint64),
                columns[:, 1].astype(np.uint64),
                columns[:, 2].astype(np.int8),
            )
        )
    return tally


_ODD = np.int64(0x1E3779B97F4A7C15)
"""Multiplier that keeps two digests apart in their sum."""
_SAID = (Channel.REASONING, Channel.TEXT, Channel.REFUSAL, Channel.TOOL_CALLS)
_OUTCOMES: Mapping[tuple[bool, bool], str] = {
    (True, True): "both", (True, False): "loss", (False, True): "gain", (False, False): "neither",
}  # fmt: skip


def _count(task: TaskTally, pair: Pair | None) -> int:
    """Count a prompt's pair and return its sign."""
    if pair is None:
        task.missing += 1
        return NO_PAIR
    task.pairs += 1
    task.identical += pair.identical
    task.label = task.label or pair.baseline_label
    before = pair.baseline_label.good if pair.baseline_label else None
    after = pair.candidate_label.good if pair.candidate_label else None
    if before is not None:
        task.baseline_scored += 1
        task.baseline_good += before
    task.both_unread += _unread(pair.baseline_label, pair.baseline) and _unread(
        pair.candidate_label, pair.candidate
    )
    if before is None or after is None:
        if not pair.identical:
            return UNREAD
        task.same_unread += 1
        sign = SAME
    else:
        outcome = _OUTCOMES[before, after]
        setattr(task, outcome, getattr(task, outcome) + 1)
        sign = int(before) - int(after)
    task.in_clusters += pair.prompt.cluster is not None
    return sign


def _unread(label: Label | None, answer: Completion) -> bool:
    """Whether a scorer had a text before it and could not read it.

    A tool call or a refusal in a field of its own is no text that it failed at.
    """
    return label is not None and label.good is None and (answer.is_empty or bool(answer.spoken))


def _texts(prompts: Iterable[Prompt], answers: Iterable[Completion]) -> NDArray[np.int64]:
    """Return digests of the prompt and of what each answer says; errors say nothing."""
    by_id = {p.id: p for p in prompts}
    digests = [
        (hash(_asked(by_id.get(a.id), a)), hash(tuple(a.in_channel(c) for c in _SAID)))
        for a in answers
        if a.finish_reason != "error"
    ]
    return np.array(digests, dtype=np.int64).reshape(-1, 2)


def _asked(prompt: Prompt | None, *answers: Completion) -> object:
    """Return what two ids of one prompt have in common."""
    hashed = next((a.prompt_hash for a in answers if a.prompt_hash), None)
    if hashed or prompt is None:
        return hashed or answers[0].id
    return (prompt.messages, prompt.prefill) if prompt.messages else prompt.id


__all__ = ["GAIN", "LOSS", "NO_PAIR", "SAME", "UNREAD", "Tally", "TaskTally", "tally_pairs"]
