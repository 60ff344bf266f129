"""What identifies an arm, and what its stack counted as proof that it speculated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from draftproof.records.figures import impossible_counters
from draftproof.records.words import DraftproofError


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals of the speculative loop.

    Attributes:
        rounds: Forward passes of the target that verified a proposal; None where the stack
            counts none.
        drafted: Tokens that were drafted.
        accepted: Those that were accepted.
    """

    rounds: int | None
    drafted: int
    accepted: int

    @property
    def impossible(self) -> str | None:
        """Which of the figures cannot be, in words; None where all can."""
        return impossible_counters(self.rounds, self.drafted, self.accepted)

    def __add__(self, other: Counters) -> Counters:
        return Counters(
            _sum(self.rounds, other.rounds),
            self.drafted + other.drafted,
            self.accepted + other.accepted,
        )

    def __sub__(self, other: Counters) -> Counters:
        return Counters(
            None if self.rounds is None or other.rounds is None else self.rounds - other.rounds,
            self.drafted - other.drafted,
            self.accepted - other.accepted,
        )


class ProofState(StrEnum):
    """What may be said of a stack's counters."""

    COUNTED = "counted"
    ABSENT = "absent"
    """The stack has no such counters."""
    UNPROVEN = "unproven"
    """The stack has counters that cannot be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Activation of speculation, by the counters of the stack that answered.

    Attributes:
        state: Whether something was counted.
        source: Where the counters were read.
        counters: The totals; always there in state ``counted``.
        answers: Answers that carried the counters, None where they are the stack's totals.
        tokens: Tokens of all answers, None where the stack does not count them.
        problem: Why the counters cannot be believed, or could not be read at one time.

    Raises:
        ValueError: State ``counted`` without counters.
    """

    state: ProofState
    source: str
    counters: Counters | None = None
    answers: int | None = None
    tokens: int | None = None
    problem: str | None = None

    def __post_init__(self) -> None:
        if self.state is ProofState.COUNTED and self.counters is None:
            raise ValueError("a proof that was counted needs its counters")

    @staticmethod
    def of_parts(before: Proof | None, now: Proof | None) -> Proof | None:
        """Return the proof of a resumed arm: of an earlier part and of this one.

        Counters that cannot be believed in any part are not believed at all. None where no part
        has a proof of its own, because every answer carries its counters.
        """
        if before is None or now is None:
            return before or now
        for part in (before, now):
            if part.state is ProofState.UNPROVEN:
                return Proof(
                    state=ProofState.UNPROVEN,
                    source=now.source,
                    counters=now.counters,
                    answers=now.answers,
                    tokens=now.tokens,
                    problem=part.problem,
                )
        if before.state is not ProofState.COUNTED or now.state is not ProofState.COUNTED:
            return before if before.state is ProofState.COUNTED else now
        assert before.counters is not None
        assert now.counters is not None
        return Proof(
            state=ProofState.COUNTED,
            source=now.source,
            counters=before.counters + now.counters,
            answers=_sum(before.answers, now.answers),
            tokens=_sum(before.tokens, now.tokens),
            problem=now.problem,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the proof as a manifest holds it; what is not known has no key."""
        document: dict[str, Any] = {
            "source": self.source,
            "state": self.state.value,
            "problem": self.problem,
        }
        if self.counters is not None:
            document |= asdict(self.counters)
        known = {"answers": self.answers, "tokens": self.tokens}
        return document | {name: count for name, count in known.items() if count is not None}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Proof:
        """Read a proof from a manifest.

        Raises:
            DraftproofError: A field is missing or of another kind.
        """
        try:
            state, problem = ProofState(document["state"]), document.get("problem")
            names = ("rounds", "drafted", "accepted")
            counters = None
            if state is ProofState.COUNTED or all(name in document for name in names):
                counters = Counters(
                    _optional_count(document["rounds"]),
                    *(_count(document[name]) for name in names[1:]),
                )
            return Proof(
                state=state,
                source=str(document["source"]),
                counters=counters,
                answers=_optional_count(document.get("answers")),
                tokens=_optional_count(document.get("tokens")),
                problem=None if problem is None else str(problem),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise DraftproofError(
                f"manifest: counters of an arm cannot be read ({type(error).__name__}: {error})"
            ) from error


def _sum(before: int | None, now: int | None) -> int | None:
    """Return the sum of two counts, None where one of them is not known."""
    return None if before is None or now is None else before + now


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is no count")
    return value


def _optional_count(value: object) -> int | None:
    return None if value is None else _count(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFingerprint:
    """What identifies a model; None stands for what its stack does not say.

    Attributes:
        name: Directory, hub name or ``lab:NAME``, as the plan has it.
        weights_sha256: Digest over the digests of its weight files.
        files: SHA-256 of every file beside the weights that decides what the model says.
        revision: Commit of the hub.
        architecture: Class of the model.
        parameters: Their number.
        dtype: Of the weights in memory.
        device: Where they lie.
        attention: Implementation of the attention.
        vocabulary: Tokens of its tokenizer.
        chat_template_sha256: Digest of its chat template.
        eos: Token ids that end an answer.
        details: What only one stack knows, by the name that it has in a manifest.
    """

    name: str
    weights_sha256: str | None = None
    files: Mapping[str, str] | None = None
    revision: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    dtype: str | None = None
    device: str | None = None
    attention: str | None = None
    vocabulary: int | None = None
    chat_template_sha256: str | None = None
    eos: tuple[int, ...] | None = None
    details: Mapping[str, str | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fingerprint as a manifest holds it."""
        document: dict[str, Any] = asdict(self)
        del document["details"]
        document["eos"] = None if self.eos is None else list(self.eos)
        return {**document, **self.details}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFingerprint:
    """What identifies a server that answered over HTTP, and how it was asked.

    Attributes:
        stack: Its kind, None where it was never asked.
        version: Its version, None where it does not say.
        models: The models that it lists.
        url: Its address, None where draftproof started it.
        command: The command that it was started with, None where somebody else did.
        api: ``chat`` or ``completions``.
        stream: Whether answers were streamed.
        concurrency: Requests in flight.
        attempts: Requests that were sent, retries included.
        system_fingerprints: What its answers call its configuration, where they do.
        files: Digests of the models that its command names by their paths.
    """

    stack: str | None
    version: str | None
    models: tuple[str, ...]
    url: str | None
    command: str | None
    api: str
    stream: bool
    concurrency: int
    attempts: int
    system_fingerprints: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Who answered: what identifies one arm.

    Attributes:
        engine: Name of the stack.
        promise: How close the arm keeps to plain decoding (L0 to L3), None where nothing is
            drafted or nothing is known.
        target: The model that answered; None over HTTP.
        draft: The draft model or the trained heads; None without one.
        server: Who answered over HTTP; None for a stack inside this process.
        versions: Version of each library that decides the arithmetic, None where it is not known.
        dtype: Of the whole engine, for a stack that says it of no single model.
        device: Likewise.
        details: What only one stack has, by the name that it has in a manifest; plain JSON.
    """

    engine: str
    promise: str | None = None
    target: ModelFingerprint | None = None
    draft: ModelFingerprint | None = None
    server: ServerFingerprint | None = None
    versions: Mapping[str, str | None] = field(default_factory=dict)
    dtype: str | None = None
    device: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fingerprint as a manifest holds it: flat, but for the models."""
        document: dict[str, Any] = {"engine": self.engine, "promise": self.promise}
        if self.server is not None:
            server = asdict(self.server)
            lists = {name: list(server[name]) for name in ("models", "system_fingerprints")}
            document |= server | lists
        else:
            document["target"] = self.target.to_json() if self.target else None
            document["draft"] = self.draft.to_json() if self.draft else None
        whole = {"dtype": self.dtype, "device": self.device}
        document |= {name: value for name, value in whole.items() if value is not None}
        return {**document, **self.details, **self.versions}
