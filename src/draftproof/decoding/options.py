"""What a caller may ask of an answer, checked before anything is decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Self

from transformers import GenerationConfig

from draftproof.decoding.sampling import require_temperature
from draftproof.records import DraftproofError

_OWN = frozenset({"do_sample", "temperature", "max_new_tokens", "max_length", "stop_strings"})
_KNOWN = frozenset(GenerationConfig().to_dict()) - _OWN


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an answer is drawn, shaped and ended.

    Args:
        max_new_tokens: Most tokens to emit.
        temperature: 0 is greedy.
        seed: Decides what is drawn.
        stop: Strings that end the answer and are not part of its text.
        logprobs: Record the log-probability of every token.
        json_schema: The answer must be JSON of this schema.
        regex: The answer must match this expression wholly.
        presence_penalty: Taken off the logit of each token that the answer holds.
        frequency_penalty: The same for each time that it holds it.
        more: What transformers' `GenerationConfig` calls ``top_p``, ``top_k``, ``min_p``,
            ``repetition_penalty``, ``min_new_tokens``, ``bad_words_ids`` and so on.

    Raises:
        DraftproofError: An option is not known, not served, or has an impossible value.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    stop: str | Sequence[str] = ()
    logprobs: bool = False
    json_schema: Mapping[str, Any] | str | None = None
    regex: str | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise DraftproofError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        try:
            require_temperature(self.temperature)
        except ValueError as error:
            raise DraftproofError(str(error)) from error
        if self.json_schema is not None and self.regex is not None:
            raise DraftproofError("give json_schema or regex, not both")
        unknown = sorted(self.more.keys() - _KNOWN)
        if unknown:
            raise DraftproofError(f"no generation option is called {unknown[0]!r}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return options by name; what is none of ours is one of `GenerationConfig`.

        Raises:
            DraftproofError: See `Options`.
        """
        own = {f.name for f in fields(cls)} - {"more"}
        return cls(
            **{k: v for k, v in given.items() if k in own},
            more={k: v for k, v in given.items() if k not in own},
        )

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @cached_property
    def config(self) -> GenerationConfig:
        """The options in transformers' own form."""
        sampled: dict[str, Any] = {"do_sample": self.temperature > 0}
        if self.temperature > 0:
            sampled["temperature"] = self.temperature
        try:
            return GenerationConfig(
                max_new_tokens=self.max_new_tokens,
                stop_strings=list(self.stops) or None,
                **sampled,
                **self.more,
            )
        except (ValueError, TypeError) as error:
            first = str(error).strip().splitlines()[0]
            raise DraftproofError(f"generation option: {first}") from error

    @property
    def has_grammar(self) -> bool:
        """Whether the answer must follow a grammar."""
        return self.json_schema is not None or self.regex is not None
