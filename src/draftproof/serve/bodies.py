"""Responses in the protocol's own form."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from draftproof.records import Speculation
from draftproof.serve.jobs import Finished, Piece

_LEAST = -9999.0
"""What the protocol writes for a probability of zero, which a rule that is not exact may emit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What all parts of one response share."""

    id: str
    model: str
    chat: bool
    prompt: tuple[int, ...]
    with_tokens: bool
    gamma: int
    with_logprobs: bool = False
    token_text: Callable[[int], str] = str
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, tokens: Piece, end: Finished) -> Body:
        """Return a response that is not streamed; `tokens` is all of the answer."""
        choice: Body = {"index": 0, "finish_reason": end.reason}
        choice |= {"message": {"role": "assistant", "content": text}} if self.chat else {}
        choice |= {} if self.chat else {"text": text}
        return {
            **self._head("chat.completion" if self.chat else "text_completion"),
            "choices": [choice | self._tokens(tokens)],
            "usage": self.usage(end),
            **({"prompt_token_ids": list(self.prompt)} if self.with_tokens else {}),
            **self._metrics(end.speculation),
        }

    def first(self) -> Body:
        """Return the chunk that says whose turn it is."""
        return self._chunk({"delta": {"role": "assistant", "content": ""}}, None)

    def piece(self, piece: Piece, reason: str | None = None) -> Body:
        """Return a chunk of the answer."""
        part = {"delta": {"content": piece.text}} if self.chat else {"text": piece.text}
        return self._chunk(part | self._tokens(piece), reason)

    def last(self, end: Finished) -> Body:
        """Return the chunk that ends the answer, with its counters."""
        return self.piece(end.piece, end.reason) | self._metrics(end.speculation)

    def closing(self, end: Finished) -> Body:
        """Return the chunk with the usage, which has no choices."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return {**self._head(kind), "choices": [], "usage": self.usage(end)}

    def usage(self, end: Finished) -> Body:
        """Return the token counts."""
        used: Body = {
            "prompt_tokens": len(self.prompt),
            "completion_tokens": end.tokens,
            "total_tokens": len(self.prompt) + end.tokens,
        }
        if end.speculation is not None:
            used["completion_tokens_details"] = {
                "accepted_prediction_tokens": end.speculation.accepted,
                "rejected_prediction_tokens": end.speculation.drafted - end.speculation.accepted,
            }
        return used

    def _head(self, kind: str) -> Body:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _chunk(self, part: Mapping[str, object], reason: str | None) -> Body:
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        choice = {"index": 0, "finish_reason": reason, "logprobs": None, **part}
        return {**self._head(kind), "choices": [choice]}

    def _tokens(self, piece: Piece) -> Body:
        part: Body = {"logprobs": self._logprobs(piece) if self.with_logprobs else None}
        if self.with_tokens:
            part |= {"token_ids": list(piece.token_ids), "provenance": piece.provenance}
            part |= {"modes": piece.modes} if piece.modes else {}
        return part

    def _logprobs(self, piece: Piece) -> Body:
        """Return the tokens' log-probabilities in the form of the chat or the text protocol."""
        texts = [self.token_text(token) for token in piece.token_ids]
        values = [max(value, _LEAST) for value in piece.logprobs]
        if not self.chat:
            return {"tokens": texts, "token_logprobs": values, "top_logprobs": None}
        content = [
            {
                "token": text,
                "logprob": value,
                "bytes": None if "\ufffd" in text else list(text.encode()),
                "top_logprobs": [],
            }
            for text, value in zip(texts, values, strict=True)
        ]
        return {"content": content, "refusal": None}

    def _metrics(self, seen: Speculation | None) -> Body:
        """Return the counters under the names that vLLM gives them."""
        if seen is None:
            return {}
        return {
            "metrics": {
                "speculative_decoding": {
                    "num_spec_steps": seen.rounds,
                    "num_draft_tokens": seen.drafted,
                    "num_accepted_draft_tokens": seen.accepted,
                    "num_spec_tokens": self.gamma,
                    "acceptance_histogram": {str(k): n for k, n in enumerate(seen.histogram) if n},
                    "mean_acceptance_length": 1 + seen.accepted / max(seen.rounds, 1),
                    "draft_acceptance_rate": seen.accepted / max(seen.drafted, 1),
                }
            }
        }


Body = dict[str, Any]
"""A JSON object in the protocol's form."""


def event(document: Mapping[str, object]) -> str:
    """Return one server-sent event."""
    return f"data: {json.dumps(document, ensure_ascii=True)}\n\n"
