"""The words that everybody uses: states, roles, constructs and causes."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class DraftproofError(Exception):
    """A failure whose message tells the user what to mend; commands print it and exit with 2."""


class UnservedError(DraftproofError):
    """A model that the local decoder cannot run though its library can."""


class State(StrEnum):
    """The four states of a verdict."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


class Role(StrEnum):
    """What an arm is for."""

    BASELINE = "baseline"
    NOISE = "noise"
    CANDIDATE = "candidate"
    CONTROL = "control"
    VARIANT = "variant"
    """A candidate with one thing changed that must not change what it says."""
    SHAPE = "shape"
    """Plain decoding in the shape in which a candidate computes: its noise without its draft."""


class Channel(StrEnum):
    """What a completion is made of, in the order in which a stack generates it."""

    REASONING = "reasoning"
    TEXT = "text"
    REFUSAL = "refusal"
    TOOL_CALLS = "tool_calls"
    FINISH_REASON = "finish_reason"
    TOKENS = "tokens"
    """The token ids behind the other channels; two ids may decode to one text."""

    @property
    def words(self) -> str:
        """The channel in a sentence."""
        return "token ids" if self is Channel.TOKENS else self.value.replace("_", " ")


def channel_words(channels: Iterable[Channel]) -> str:
    """Return channels as a phrase.

    >>> channel_words([Channel.TEXT, Channel.TOOL_CALLS, Channel.TOKENS])
    'text, tool calls and token ids'
    """
    *first, last = [c.words for c in channels] or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last


CHAT_CHANNELS = (
    Channel.REASONING,
    Channel.TEXT,
    Channel.REFUSAL,
    Channel.TOOL_CALLS,
    Channel.FINISH_REASON,
)
"""What a chat reply shows, were it nothing."""
TEXT_CHANNELS = (Channel.TEXT, Channel.FINISH_REASON)
"""What a stack shows that returns all it generated as one text, were it nothing."""


class Construct(StrEnum):
    """What a scorer measures; labels of different constructs are never compared."""

    REFUSAL = "refusal"
    HARM = "harm"
    ACCURACY = "accuracy"
    BIAS = "bias"
    TRUTH = "truth"
    LABEL = "label"
    """A label that came with recorded answers; the recorder knows what it means."""


class Cause(StrEnum):
    """Why two answers to one prompt differ."""

    TIE = "tie"
    """The target itself cannot tell the two tokens apart within the noise of its arithmetic."""
    LEAK = "leak"
    """The draft's choice was kept against the target's."""
    FAULT = "fault"
    """A token that neither the target nor the draft would choose."""
    TRUNCATION = "truncation"
    """One answer is the beginning of the other: a length or stop limit cut it."""
    TEMPLATE = "template"
    """The two arms were not asked the same prompt."""
    SPELLING = "spelling"
    """The arguments of a tool call are the same JSON values, written in another way."""
    TOKENISATION = "tokenisation"
    """The texts do not say which tokens were drawn where they part."""
    UNEXPLAINED = "unexplained"
    """No model was at hand to re-score the answers with."""
