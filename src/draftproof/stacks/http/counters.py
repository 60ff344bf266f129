"""A server's totals while an arm answers."""

from __future__ import annotations

from dataclasses import asdict

from draftproof.records import Counters, Proof, ProofState, Speculation
from draftproof.stacks.http.telemetry import (
    UnknownCountersError,
    iteration_counters,
    prometheus_counters,
)


class CounterWatch:
    """Follows a server's totals through an arm and notices when they go backwards."""

    def __init__(self) -> None:
        self._first: Counters | None = None
        self._last: Counters | None = None
        self.readings = 0
        self.problem: str | None = None

    def read(self, page: str | None) -> None:
        """Take a reading; None means that the server has no metrics page.

        A page of totals is compared with the one before; a page of iterations, each of which is
        listed only once, is added to it.
        """
        if page is None:
            if self.readings:
                self.problem = self.problem or "the metrics page stopped answering"
            return
        try:
            listed = page.lstrip().startswith("[")
            totals = self._added(page) if listed else prometheus_counters(page)
        except UnknownCountersError as error:
            self.problem = self.problem or str(error)
            return
        self.readings += 1
        if totals is None:
            if self._last is not None and not listed:
                self.problem = self.problem or "the counters disappeared"
            return
        before = self._last or Counters(0, 0, 0)
        for name, gain in asdict(totals - before).items():
            if gain is not None and gain < 0:
                old, new = getattr(before, name), getattr(totals, name)
                self.problem = self.problem or (
                    f"the server's count of {name} went backwards, from {old:,} to {new:,}: "
                    "it was restarted, or several servers answer at one address"
                )
        if self._first is None:
            # counters that appear later started from zero
            self._first = totals if self.readings == 1 else Counters(0, 0, 0)
        self._last = totals

    def _added(self, page: str) -> Counters | None:
        counters = iteration_counters(page)
        if counters is None:
            return None
        if self.readings == 0:
            # left over from requests before this arm
            return Counters(0, 0, 0)
        return (self._last or Counters(0, 0, 0)) + counters

    @property
    def gained(self) -> Counters | None:
        """What was counted since the first reading; None where nothing can be said."""
        if self.problem or self._first is None or self._last is None or self.readings < 2:
            return None
        return self._last - self._first


class ServerCounters:
    """What a server counted over all parts of an arm, and what its answers carried."""

    def __init__(self) -> None:
        self.watch = CounterWatch()
        self._earlier = Counters(0, 0, 0)
        self._earlier_problem: str | None = None
        self._counted = Counters(0, 0, 0)
        self._counted_answers = 0

    def begin_part(self) -> None:
        """Take what was counted until now for an earlier server's: another counts from here."""
        self._earlier += self.watch.gained or Counters(0, 0, 0)
        self._earlier_problem = self._earlier_problem or self.watch.problem
        self.watch = CounterWatch()

    def count(self, speculation: Speculation | None) -> None:
        """Add what one answer carries."""
        if speculation is not None:
            self._counted_answers += 1
            self._counted += Counters(speculation.rounds, speculation.drafted, speculation.accepted)

    def proof(self, unknown: str | None) -> Proof:
        """Return what the answers say, else the gain of the server's totals.

        Unproven are counters that cannot be believed, absent those that the server does not have.

        Args:
            unknown: Why the counters of answers could not be read, None where they could.
        """
        problem = unknown or self.watch.problem or self._earlier_problem
        if self._counted_answers and not unknown:
            return Proof(
                state=ProofState.COUNTED,
                source="responses",
                counters=self._counted,
                answers=self._counted_answers,
                problem=problem,
            )
        if problem:
            return Proof(state=ProofState.UNPROVEN, source="none", problem=problem)
        gained = self.watch.gained
        if gained is None:
            return Proof(state=ProofState.ABSENT, source="none")
        return Proof(state=ProofState.COUNTED, source="prometheus", counters=self._earlier + gained)
