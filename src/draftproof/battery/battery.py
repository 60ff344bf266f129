"""A battery: prompts in named tasks, with a digest that notices any change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from draftproof.records import DraftproofError, Prompt, digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """Prompts to ask, in order.

    Args:
        name: What to call it.
        prompts: At least one; ids are unique.
        source: Where it was read from, for messages and the manifest.
        version: The battery's own version.
        licence: Licence of the prompts.
        ungated: Tasks that are measured and reported but do not decide.
        withheld: Prompts that its source holds and that are never asked, only counted.
        skipped: Rows that were broken and that the user chose to skip.
    """

    name: str
    prompts: tuple[Prompt, ...]
    source: str
    version: str = "1"
    licence: str = "unknown"
    ungated: frozenset[str] = field(default_factory=frozenset)
    withheld: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        if not self.prompts:
            raise DraftproofError(f"{self.source}: the battery holds no prompts")
        twice = [id_ for id_, n in Counter(p.id for p in self.prompts).items() if n > 1]
        if twice:
            raise DraftproofError(
                f"{self.source}: {len(twice)} ids occur more than once, the first is "
                f"{twice[0]!r}; answers are joined by id, so every id must be unique"
            )

    @property
    def digest(self) -> str:
        """SHA-256 over every prompt's id, task and content."""
        return digest([[p.id, p.task, p.content_hash] for p in self.prompts])

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names in order of first appearance."""
        return tuple(dict.fromkeys(p.task for p in self.prompts))

    def half(self, name: str) -> Battery:
        """Return the prompts tagged `name` (``quick``), or the whole battery for ``full``."""
        if name == "full":
            return self
        kept = tuple(p for p in self.prompts if name in p.tags)
        if not kept:
            raise DraftproofError(f"{self.source}: no prompt carries the tag {name!r}")
        return replace(self, prompts=kept, name=f"{self.name} ({name})")

    def limit(self, per_task: int) -> Battery:
        """Return the first `per_task` prompts of every task."""
        counts: Counter[str] = Counter()
        kept = []
        for prompt in self.prompts:
            counts[prompt.task] += 1
            if counts[prompt.task] <= per_task:
                kept.append(prompt)
        return replace(self, prompts=tuple(kept))


def merge(batteries: Sequence[Battery]) -> Battery:
    """Return one battery that holds the prompts of all, in order.

    Raises:
        DraftproofError: Two of them share an id.
    """
    if len(batteries) == 1:
        return batteries[0]
    return Battery(
        name=" + ".join(b.name for b in batteries),
        prompts=tuple(p for b in batteries for p in b.prompts),
        source=", ".join(b.source for b in batteries),
        licence=", ".join(dict.fromkeys(b.licence for b in batteries)),
        ungated=frozenset().union(*(b.ungated for b in batteries)),
        withheld=sum(b.withheld for b in batteries),
        skipped=sum(b.skipped for b in batteries),
    )
