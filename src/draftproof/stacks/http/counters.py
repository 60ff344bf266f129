"""A server's totals while an arm answers: followed, and stored in case the run is killed.

Without what is stored, the totals of a part that was killed would be lost, and an arm whose
answers carry no counters could not be proven after it was resumed.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from draftproof.records import Counters
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
                self.problem = self.problem or "the metrics page went away"
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
                self.problem = self.problem or "the counters went away"
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


class CounterStore:
    """Counts of the parts of an arm that ended without saying what they counted.

    Args:
        file: Where the counts are kept; None keeps none.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.earlier = Counters(0, 0, 0)
        self.problem: str | None = None
        self._read()

    def _read(self) -> None:
        if self._file is None or not self._file.is_file():
            return
        try:
            document = json.loads(self._file.read_text("utf-8"))
            counts = [document[name] for name in Counters.__slots__]
            known = counts[1:] if counts[0] is None else counts
            if any(type(n) is not int or n < 0 for n in known):
                raise ValueError("no counts")
            self.problem = document.get("problem")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.problem = f"{self._file}: what an earlier part counted cannot be read"
            return
        self.earlier = Counters(*counts)

    def keep(self, gained: Counters | None, problem: str | None) -> None:
        """Write down what was counted up to now, this part and those before it."""
        if self._file is None or (gained is None and problem is None):
            return
        total = self.earlier if gained is None else self.earlier + gained
        record = {**asdict(total), "problem": problem or self.problem}
        new = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(record), "utf-8")
            os.replace(new, self._file)
        except OSError as error:
            self.problem = f"{self._file}: cannot be written: {error.strerror or error}"

    def begin_part(self, gained: Counters | None, problem: str | None) -> None:
        """Take what was counted until now for an earlier part: another server counts from here."""
        self.earlier = self.earlier if gained is None else self.earlier + gained
        self.problem = self.problem or problem

    def clear(self) -> None:
        """Delete the file, once the counts have been recorded elsewhere."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)
