"""What a server counted for an arm so far, kept while the arm answers.

A run that is killed says nothing any more: without this the totals of its part would be lost, and
an arm whose answers carry no counters could not be proven after it was resumed.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from draftproof.records import Counters


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
            if any(type(n) is not int or n < 0 for n in counts):
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
