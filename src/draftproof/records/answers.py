"""What is asked and what is answered."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from json.encoder import encode_basestring

from draftproof.records.figures import impossible_counters
from draftproof.records.words import Channel, Construct


def digest(value: object) -> str:
    """Return the SHA-256 hex digest of a value's canonical JSON."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; role is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One question of a battery."""

    id: str
    task: str
    messages: tuple[Message, ...]
    scorer: str | None = None
    """Name of the scorer; None leaves the answer unscored unless it carries its own label."""
    expect: str | None = None
    """The label that counts as good, for scorers whose good label depends on the prompt."""
    choices: tuple[str, ...] = ()
    reference: str | None = None
    """Letter of the right choice."""
    prefill: str = ""
    """Beginning of the answer that is put into the assistant's mouth."""
    cluster: str | None = None
    """Prompts that share a cluster are variants of one behaviour."""
    tags: tuple[str, ...] = ()

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that decides what is asked and how it is scored.

        Of the canonical JSON (see `digest`) of an object with the fields choices, expect,
        messages (as role and content), prefill, reference and scorer. It is written out here, as
        a battery may have millions of prompts.
        """
        messages = ",".join(
            f"[{encode_basestring(m.role)},{encode_basestring(m.content)}]" for m in self.messages
        )
        text = (
            f'{{"choices":[{",".join(map(encode_basestring, self.choices))}],'
            f'"expect":{_json(self.expect)},"messages":[{messages}],'
            f'"prefill":{encode_basestring(self.prefill)},'
            f'"reference":{_json(self.reference)},"scorer":{_json(self.scorer)}}}'
        )
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _json(text: str | None) -> str:
    return "null" if text is None else encode_basestring(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """Counters of the speculative loop while it produced one answer."""

    rounds: int
    """Forward passes of the target that verified a proposal."""
    drafted: int
    accepted: int
    histogram: tuple[int, ...] = ()
    """Entry k counts the rounds that accepted exactly k drafted tokens."""
    drafted_at_least: bool = False
    """Whether the stack counts only what it accepts, so that more may have been drafted."""

    @property
    def impossible(self) -> str | None:
        """Which of the figures cannot be, in words; None where all can."""
        return impossible_counters(self.rounds, self.drafted, self.accepted, self.histogram)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One call of a tool, as the model wrote it.

    Attributes:
        name: Of the function.
        arguments: The argument string to the letter; it need not be JSON.
    """

    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One arm's answer to one prompt: everything that its stack generated, in channels."""

    arm: str
    id: str
    text: str
    """The content; empty where the answer is a tool call or reasoning alone."""
    finish_reason: str = "unknown"
    """``stop``, ``length``, ``tool_calls``, ``content_filter``, ``error`` or ``unknown``."""
    token_ids: tuple[int, ...] | None = None
    reasoning: str | None = None
    """What a stack returns apart from the content (``reasoning_content``); a ``<think>`` block
    inside the content stays content."""
    tool_calls: tuple[ToolCall, ...] | None = None
    """In the order in which they were generated."""
    refusal: str | None = None
    """A refusal that the stack returns in a field of its own."""
    channels: tuple[Channel, ...] | None = None
    """The channels that the source of this answer can show, whether or not they hold something
    here; None for an answer that was recorded before channels were (see `visible_channels`)."""
    answered_at: str | None = None
    """UTC time at which the answer was complete, ISO 8601 with seconds."""
    provenance: str | None = None
    """One letter a token: d drafted and accepted, c corrected, b bonus, p plain."""
    modes: str | None = None
    """One digit a token, for a rule with modes: 1 intersection, 2 union."""
    matches: str | None = None
    """One digit a token, for a rule with modes: 1 where it counts as the draft's own choice."""
    prompt_hash: str | None = None
    """Digest of the rendered prompt (token ids where there are any, else its bytes)."""
    speculation: Speculation | None = None
    seconds: float | None = None
    label: str | None = None
    """A label that was recorded with the answer."""
    task: str | None = None
    error: str | None = None

    @property
    def visible_channels(self) -> frozenset[Channel]:
        """The channels of which this answer says what they hold, were it nothing."""
        seen = {Channel.TEXT} if self.channels is None else set(self.channels)
        if self.token_ids is not None:
            seen.add(Channel.TOKENS)
        else:
            seen.discard(Channel.TOKENS)
        if self.finish_reason in {"unknown", "error"}:
            seen.discard(Channel.FINISH_REASON)
        elif self.channels is None:
            seen.add(Channel.FINISH_REASON)
        return frozenset(seen)

    @property
    def is_empty(self) -> bool:
        """Whether no channel holds anything that was generated."""
        return not (self.text.strip() or self.reasoning or self.tool_calls or self.refusal)

    @property
    def spoken(self) -> str:
        """What the answer says to whoever asked: its text, and a refusal in a field of its own.

        Scorers read this; reasoning is not said to anybody, and a tool call says nothing.
        """
        return "\n".join(part for part in (self.text, self.refusal) if part)

    def in_channel(self, channel: Channel) -> object:
        """Return what a channel holds, in a form that equal answers have in common."""
        match channel:
            case Channel.TOKENS:
                return self.token_ids
            case Channel.TEXT:
                return self.text
            case Channel.REASONING:
                return self.reasoning or ""
            case Channel.TOOL_CALLS:
                return tuple((call.name, call.arguments) for call in self.tool_calls or ())
            case Channel.REFUSAL:
                return self.refusal or ""
            case Channel.FINISH_REASON:
                return self.finish_reason

    def shown(self, channel: Channel) -> str:
        """Return what a channel holds as people read it, a line a tool call; empty for nothing."""
        match channel:
            case Channel.TOKENS:
                return " ".join(map(str, self.token_ids or ()))
            case Channel.TOOL_CALLS:
                return "\n".join(f"{c.name}({c.arguments})" for c in self.tool_calls or ())
            case _:
                return str(self.in_channel(channel))


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a scorer says about one answer.

    ``good`` is None where the answer could not be scored; ``value`` then names the state
    (``unparsed``, ``empty``, ``error``), which is never turned into a number.
    """

    id: str
    construct: Construct
    value: str
    good: bool | None
    scorer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One prompt answered by two arms."""

    prompt: Prompt
    baseline: Completion
    candidate: Completion
    baseline_label: Label | None = None
    candidate_label: Label | None = None

    @property
    def compared_channels(self) -> frozenset[Channel]:
        """The channels that both answers show."""
        return self.baseline.visible_channels & self.candidate.visible_channels

    @property
    def different_channels(self) -> tuple[Channel, ...]:
        """The compared channels in which the answers differ, in the order of generation."""
        before, after, compared = self.baseline, self.candidate, self.compared_channels
        return tuple(
            channel
            for channel in Channel
            if channel in compared and before.in_channel(channel) != after.in_channel(channel)
        )

    @property
    def identical(self) -> bool:
        """Whether the two answers are the same in every channel that both show."""
        return not self.different_channels

    @property
    def flip(self) -> str | None:
        """``loss`` (good to bad), ``gain`` (bad to good) or None."""
        if self.baseline_label is None or self.candidate_label is None:
            return None
        before, after = self.baseline_label.good, self.candidate_label.good
        if before is None or after is None or before == after:
            return None
        return "loss" if before else "gain"
