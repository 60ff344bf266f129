"""The answers of one arm, added up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from draftproof.records import Completion


@dataclass(slots=True)
class ArmTally:
    """One arm's answers, added up.

    `counted` is how many answers carry speculation counters, which the three after it add up;
    `empty` is how many hold nothing in any channel though they are no errors.
    """

    answers: int = 0
    errors: int = 0
    truncated: int = 0
    tokens: int = 0
    counted: int = 0
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    drafted_at_least: bool = False
    """Whether some answers count only the drafted tokens that were accepted."""
    empty: int = 0
    impossible: tuple[str, ...] = ()
    """Counters that cannot be: of every piece that has such the answer with the first id."""

    @property
    def given(self) -> int:
        """Answers that are no errors."""
        return self.answers - self.errors


def tally_arm(answers: Iterable[Completion]) -> ArmTally:
    """Add up the answers of one arm."""
    arm = ArmTally()
    for answer in answers:
        arm.answers += 1
        arm.errors += answer.finish_reason == "error"
        arm.truncated += answer.finish_reason == "length"
        arm.tokens += len(answer.token_ids or ())
        arm.empty += answer.finish_reason != "error" and answer.is_empty
        if answer.speculation is not None:
            arm.counted += 1
            if figure := answer.speculation.impossible:
                named = f"answer {answer.id!r}: {figure}"
                arm.impossible = (min((*arm.impossible, named)),)
            arm.rounds += answer.speculation.rounds
            arm.drafted += answer.speculation.drafted
            arm.accepted += answer.speculation.accepted
            arm.drafted_at_least |= answer.speculation.drafted_at_least
    return arm
