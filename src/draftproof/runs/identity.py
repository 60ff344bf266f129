"""Is it still the same who answers? What identifies an arm, then and now, compared in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

from draftproof.records import DraftproofError
from draftproof.runs.manifest import ArmRecord
from draftproof.stacks.canaries import Round

_NOT_IDENTITY = frozenset({
    "attempts", "url", "command", "threads", "name", "concurrency", "stream", "api", "promise",
})  # fmt: skip
"""Of a fingerprint: how the arm was asked, which the plan says, and what may differ."""
_NAMES = {"weights_sha256": "weights", "chat_template_sha256": "chat template"}
_CHANCE = 0.001
"""Of taking a stack that answers by chance now and then for another one."""
_MOST_NAMES = 4
"""Configurations beyond which a server names every response anew."""


@dataclass(frozen=True, slots=True)
class Known:
    """What identified an arm when its answers were given.

    Attributes:
        fingerprint: As the manifest holds it; empty where it was not recorded.
        canaries: What was said to the canaries at the arm's beginning, in each round of asking.
        last: What was said to them at its end, None where that was not asked.
        noise: Share of answers that differ between equal arms of the run, None without such.
    """

    fingerprint: Mapping[str, object]
    canaries: tuple[Round, ...] = ()
    last: Round | None = None
    noise: float | None = None

    @staticmethod
    def of(record: ArmRecord, noise: float | None) -> Known:
        """Take it from an arm's record in the manifest."""
        return Known(record.fingerprint or {}, record.canaries, record.last_canaries, noise)

    def change_meanwhile(self) -> list[str]:
        """Return what changed between the arm's beginning and its end, in words."""
        change = canary_change(self.canaries, self.last, self.noise)
        return [] if change is None else [f"{change}, between its beginning and its end"]

    def changes(self, fingerprint: Mapping[str, object], said: Round | None) -> list[str]:
        """Return what is another now, in words; what one of the two does not know is left out.

        Args:
            fingerprint: Who would answer now.
            said: What it said to the canaries, None where they were not asked or not answered.
        """
        found = _differences("", self.fingerprint, fingerprint)
        canaries = canary_change(self.canaries, said, self.noise)
        return found if canaries is None else [*found, canaries]


class ArmChangedError(DraftproofError):
    """Names what changed, and the two options that go on.

    Args:
        where: The run.
        changes: What changed of each arm.

    Attributes:
        what: The changes alone, in words.
    """

    def __init__(self, where: object, changes: Mapping[str, Sequence[str]]) -> None:
        self.what = "; ".join(f"arm {arm!r}: {', '.join(what)}" for arm, what in changes.items())
        super().__init__(
            f"{where}: an arm has changed since it answered. {self.what}. Give --fresh to ask "
            "everything of the changed arms again, or --accept-change to keep the answers that "
            "there are; the verdict then says that the arms changed"
        )


def canary_change(before: Sequence[Round], now: Round | None, noise: float | None) -> str | None:
    """Return in words that more canaries are answered otherwise than chance allows, else None.

    Args:
        before: Rounds of asking one after the other; where they differ, the stack is not
            repeatable.
        now: The round to compare.
        noise: Share of answers that differ between equal arms.
    """
    if not before or now is None:
        return None
    asked = [name for name in before[0] if name in now]
    unsteady = sum(1 for name in asked if len({r.get(name) for r in before}) > 1)
    rate = max(unsteady / len(asked) if asked else 0.0, noise or 0.0)
    other = [name for name in asked if all(r.get(name) != now[name] for r in before)]
    if len(other) <= _allowed(len(asked), rate):
        return None
    first = other[0]
    return (
        f"{len(other)} of {len(asked)} canary prompts have other answers than before "
        f"({first}: {before[0][first][:60]!r}, now {now[first][:60]!r})"
    )


def _allowed(n: int, rate: float) -> int:
    """Return how many of n may differ where each does so by chance at `rate`: a binomial quantile.

    >>> [_allowed(8, rate) for rate in (0, 1 / 60, 0.5, 1)]
    [0, 2, 8, 8]
    """
    left = 1.0
    for k in range(n + 1):
        left -= comb(n, k) * rate**k * (1 - rate) ** (n - k)
        if left <= _CHANCE:
            return k
    return n


def _differences(place: str, before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    found = []
    for name, value in now.items():
        old = before.get(name)
        label = f"{place} {_NAMES.get(name, name)}".strip()
        if name in _NOT_IDENTITY or old is None or value is None:
            continue
        if name == "system_fingerprints":
            found += _other_configuration(old, value)
        elif isinstance(old, Mapping) and isinstance(value, Mapping):
            found += (_files if name == "files" else _differences)(label, old, value)
        elif _plain(old) != _plain(value):
            found.append(f"{label} (was {_short(old)}, is {_short(value)})")
    return found


def _files(label: str, before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    # of a model that is not there any more, or was never looked at, nothing is known
    if not before or not now:
        return []
    names = sorted(before.keys() | now.keys())
    return [f"{label.removesuffix('files')}{n}" for n in names if before.get(n) != now.get(n)]


def _other_configuration(before: object, now: object) -> list[str]:
    old, new = set(_plain(before)), set(_plain(now))
    if not old or not new or old & new or len(old) > _MOST_NAMES:
        return []
    return [f"system fingerprint (was {_short(min(old))}, is {_short(min(new))})"]


def _plain(value: object) -> list[str]:
    return sorted(map(str, value)) if isinstance(value, list | tuple) else [str(value)]


def _short(value: object) -> str:
    text = ", ".join(_plain(value))
    return f"{text[:12]}…" if len(text) == 64 and " " not in text else f"{text:.80}"
