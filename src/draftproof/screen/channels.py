"""Which channels a verdict speaks of, and which it may not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from draftproof.records import Channel, channel_words
from draftproof.screen.arms import Arm
from draftproof.screen.counts.channel_tally import APART, ChannelTally
from draftproof.screen.evidence import ArmEvidence

_THINKS = re.compile(r"--(?:enable-)?reasoning(?:-parser|-format|-budget)?\b")
_CALLS = re.compile(r"--(?:tool-call-parser|enable-auto-tool-choice|tool-parser)\b")
_FIELDS = {
    Channel.REASONING: frozenset(
        {"reasoning", "reasoning_effort", "thinking", "include_reasoning"}
    ),
    Channel.TOOL_CALLS: frozenset({"tools", "functions", "tool_choice"}),
}
"""Fields of a request that ask a server for a channel."""


@dataclass(frozen=True, slots=True)
class ComparedChannels:
    """What was compared of the answers of two arms.

    Attributes:
        compared: Channels that both answers of every pair show, in the order of generation.
        gaps: Why each of the others was not compared, or not in every pair.
        withheld: Why identity in what was compared is not identity of the answers; None where
            nothing is known to be missing.
    """

    compared: tuple[Channel, ...]
    gaps: dict[Channel, str]
    withheld: str | None

    @property
    def phrase(self) -> str:
        """In what the answers were compared, in words."""
        return channel_words(self.compared)


def compared_channels(evidence: ArmEvidence) -> ComparedChannels:
    """Return which channels of two arms were compared.

    A channel that one arm lacks says nothing about the other's: absent is not empty.
    """
    tally, pairs = evidence.tally.channels, evidence.tally.pairs
    arms = (evidence.against, evidence.arm)
    compared = tuple(c for c in Channel if pairs and tally.compared[c] == pairs)
    gaps = {c: _gap(tally, pairs, arms, c) for c in Channel if c not in compared}
    missing = [
        f"{evidence.arm.name!r} {does} and its {c.words} was not compared ({gaps[c]})"
        for c, does in APART.items()
        if c in gaps and (tally.used[c] or any(_declared(arm, c) for arm in arms))
    ]
    return ComparedChannels(compared, gaps, "; ".join(missing) or None)


def _gap(tally: ChannelTally, pairs: int, arms: tuple[Arm, Arm], channel: Channel) -> str:
    if not pairs:
        return "there is no pair of answers"
    if tally.compared[channel]:
        return f"in both arms in {tally.compared[channel]:,} of {pairs:,} pairs only"
    lacking = [arm.name for arm, shown in zip(arms, tally.shown, strict=True) if not shown[channel]]
    if len(lacking) == 1:
        return f"absent in {lacking[0]!r}"
    return "absent in both arms" if lacking else "in both arms of no pair"


def _declared(arm: Arm, channel: Channel) -> bool:
    """Whether the arm's plan says that its server puts something into a channel."""
    body = arm.declared.get("extra_body")
    asked = isinstance(body, dict) and any(body.get(field) for field in _FIELDS[channel])
    option = _THINKS if channel is Channel.REASONING else _CALLS
    return asked or bool(option.search(str(arm.declared.get("serve") or "")))
