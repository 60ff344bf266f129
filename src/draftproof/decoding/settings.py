"""How requests are decoded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from draftproof.decoding.drafters.drafter import Drafter
from draftproof.decoding.requests import Request
from draftproof.decoding.rules.exact import Exact
from draftproof.decoding.rules.rule import Rule
from draftproof.decoding.sampling import require_temperature

Exactness = Literal["fast", "same_shape", "recheck"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `draftproof.decoding.decode` is told besides the target and the requests.

    Attributes:
        eos: Token ids that end an answer.
        drafter: Proposes tokens; None decodes plainly, one token a round.
        rule: Decides what is kept of a proposal; the exact rule by default. A rule that changes
            the target distribution by design needs a drafter.
        temperature: 0 is greedy.
        batch: Rows decoded together. The matrix products have this many rows however many are
            busy. Attention reads as far as the longest row has come; what a shorter row does not
            have is masked, which on a CPU leaves the row's bits alone.
        capacity: Tokens a row can hold; None is what the longest request may need.
        width: Columns of a target forward that decodes plainly or in ``same_shape``, at least
            γ + 1, which is what None means.
        exactness: ``fast`` verifies as many columns as are proposed. ``same_shape`` computes
            every forward `width` columns wide: plain and speculative decoding of the same width
            and batch then do the same arithmetic, and greedy answers are equal bit for bit.
            ``recheck`` decides every token whose two best logits lie closer than `noise_bound`
            again in a forward of one column, the shape of plain decoding.
        noise_bound: For ``recheck``, nats; see `draftproof.decoding.noise_bound`.
        logprobs: Record the log-probability of every token.
    """

    eos: Collection[int]
    drafter: Drafter | None = None
    rule: Rule = Exact()  # noqa: RUF009 - frozen, without state
    temperature: float = 0.0
    batch: int = 1
    capacity: int | None = None
    width: int | None = None
    exactness: Exactness = "fast"
    noise_bound: float = 0.0
    logprobs: bool = False

    @property
    def gamma(self) -> int:
        """Most tokens proposed a row and round; 0 without a drafter."""
        return self.drafter.gamma if self.drafter else 0

    def resolved(self, requests: Sequence[Request]) -> tuple[Settings, int, int]:
        """Return the settings checked against the requests, and their capacity and width.

        Raises:
            ValueError: Batch, width or capacity too small, or settings that contradict each other.
        """
        if self.exactness == "same_shape" and self.drafter is None and self.width is None:
            raise ValueError("same_shape without a drafter needs the width of verification")
        width = self.gamma + 1 if self.width is None else self.width
        needed = max(r.longest_prompt + r.max_new_tokens for r in requests) + width
        capacity = needed if self.capacity is None else self.capacity
        if self.batch < 1 or width < self.gamma + 1 or capacity < needed:
            raise ValueError(
                f"batch {self.batch} must be at least 1, width {width} at least "
                f"{self.gamma + 1}, capacity {capacity} at least {needed}"
            )
        require_temperature(self.temperature)
        if self.rule.facts.changes_target and self.drafter is None:
            raise ValueError(
                f"the rule {self.rule.name!r} mixes the draft's distribution into the target's, "
                "but there is no drafter"
            )
        if self.exactness == "recheck" and (self.temperature > 0 or self.rule.name != "exact"):
            raise ValueError("recheck is for the exact rule at temperature 0")
        plain = self.drafter is None and self.exactness != "same_shape"
        settings = replace(self, exactness="fast") if plain else self
        return settings, capacity, width
