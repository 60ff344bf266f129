"""A request under way, and what its asker is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from draftproof.decoding import Answer, Request
from draftproof.decoding.growing_text import Shown
from draftproof.decoding.options import Options
from draftproof.records import Speculation


@dataclass(frozen=True, slots=True)
class Piece:
    """What became certain since the piece before.

    Attributes:
        text: New text.
        token_ids: New tokens.
        provenance: A letter for each of them.
        modes: A digit for each of them, for a rule with modes.
        logprobs: Of each of them, if asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    provenance: str
    modes: str = ""
    logprobs: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of an answer; `piece` is what was not sent yet.

    Attributes:
        piece: The rest.
        reason: ``stop`` or ``length``.
        tokens: Tokens that were generated.
        speculation: Counters, None without a draft.
        error: What went wrong; the rest then means nothing.
    """

    piece: Piece
    reason: str
    tokens: int
    speculation: Speculation | None
    error: str | None = None


Event = Piece | Finished


@dataclass(slots=True, kw_only=True)
class Job:
    """One admitted request.

    Attributes:
        request: What the decoder is asked.
        options: How the answer is drawn.
        live: Whether to tell of pieces, and not of the end alone.
        tell: Called from the worker with each event; the last one is `Finished`.
        dropped: Set when nobody waits for the answer any more.
    """

    request: Request
    options: Options
    live: bool
    tell: Callable[[Event], None]
    dropped: threading.Event = field(default_factory=threading.Event)


def piece_of(answer: Answer, shown: Shown) -> Piece:
    """Return the part of an answer that can be shown now."""
    new = slice(shown.first, shown.last)
    return Piece(
        shown.text,
        tuple(answer.tokens[new]),
        "".join(answer.provenance[new]),
        "".join(map(str, answer.modes[new])),
        tuple(answer.logprobs[new]),
    )
