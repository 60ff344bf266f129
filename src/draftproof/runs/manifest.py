"""The manifest of a run of a plan: what was asked of whom, and what each arm did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from draftproof.records import DraftproofError, Proof
from draftproof.stacks.canaries import Round


@dataclass(frozen=True, slots=True)
class ArmChange:
    """A change of an arm that was accepted.

    Attributes:
        seen: UTC time at which it was seen.
        what: What changed, in words.
    """

    seen: str
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRecord:
    """What an arm did in the parts of a run that have ended or were taken up.

    Attributes:
        seconds: Wall time; parts that were answered side by side add up.
        generated: Answers.
        fingerprint: Who answered, as `Fingerprint.to_json` returns it; None where version 0.1.0
            was killed before it said so.
        counters: What the stack counted; None where every answer has its counters.
        begun: UTC time of the first part's beginning.
        ended: UTC time of the last part's end.
        parts: Names of the parts that are in here.
        canaries: What was said to the canaries at the beginning, in each round of asking.
        last_canaries: What was said to them at the end.
        changes: What changed and was accepted.
    """

    seconds: float = 0.0
    generated: int = 0
    fingerprint: Mapping[str, object] | None = None
    counters: Proof | None = None
    begun: str | None = None
    ended: str | None = None
    parts: tuple[str, ...] = ()
    canaries: tuple[Round, ...] = ()
    last_canaries: Round | None = None
    changes: tuple[ArmChange, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Return the record as the manifest holds it."""
        counters = None if self.counters is None else self.counters.to_json()
        fields = {name: getattr(self, name) for name in self.__slots__}
        changes = [asdict(change) for change in self.changes]
        return {**fields, "counters": counters, "changes": changes}

    @staticmethod
    def from_json(arm: str, document: object) -> ArmRecord:
        """Read a record, however old.

        Raises:
            DraftproofError: A field is of another kind.
        """
        try:
            fields = dict(_FIELDS.validate_python(document))
            counters = _FIELDS.validate_python(fields.pop("counters", None) or {})
            known = {name: fields[name] for name in ArmRecord.__slots__ if name in fields}
            record = {**known, "counters": Proof.from_json(counters) if counters else None}
            return _RECORD.validate_python(record)
        except ValidationError as error:
            raise DraftproofError(
                f"manifest: the record of arm {arm!r} cannot be read: {error.errors()[0]['msg']}"
            ) from error


_FIELDS = TypeAdapter(dict[str, object])
_RECORD = TypeAdapter(ArmRecord)


class Manifest:
    """A manifest that is added to.

    Args:
        document: As it is on disk.

    Raises:
        DraftproofError: An arm's record cannot be read.
    """

    def __init__(self, document: Mapping[str, object]) -> None:
        self._document = document
        held = document.get("arms")
        records = held if isinstance(held, Mapping) else {}
        self.arms = {name: ArmRecord.from_json(name, one) for name, one in records.items()}

    def record(self, arm: str) -> ArmRecord:
        """Return what an arm did; an empty record of one that has done nothing."""
        return self.arms.get(arm, ArmRecord())

    def to_json(self) -> dict[str, object]:
        """Return the manifest as it goes to disk."""
        return {**self._document, "arms": {name: one.to_json() for name, one in self.arms.items()}}
