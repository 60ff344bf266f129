"""One part of an arm: who answers from its beginning to its end, on disk in case of a kill.

Before the first token of a part a file beside the answers says who answers, and as counters grow
that no answer carries, so does the file. When the part has ended, it goes into the manifest and
the file is deleted. A killed command leaves it; the next one puts it into the manifest then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from draftproof.files import read_json_object, write_whole
from draftproof.records import Completion, DraftproofError, Proof, ProofState
from draftproof.runs.identity import ArmChangedError, Known
from draftproof.stacks import Engine
from draftproof.stacks.canaries import AsksCanaries, Round
from draftproof.stacks.spec import ArmSpec

ENDING = ".begun.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """What an arm did in one part of a run.

    Attributes:
        arm: Its name.
        part: Name of the part, unlike any other.
        begun: UTC time.
        fingerprint: Who answered, as a manifest holds it.
        canaries: What was said to the canaries at the beginning, a round of asking each.
        counters: What the stack counted, as a manifest holds it; None where every answer has its
            counters.
        ended: UTC time, None where it was killed.
        last: What was said to the canaries at the end.
        seconds: Wall time.
        generated: Answers.
    """

    arm: str
    part: str
    begun: str
    fingerprint: dict[str, object]
    canaries: tuple[dict[str, str], ...] = ()
    counters: dict[str, object] | None = None
    ended: str | None = None
    last: dict[str, str] | None = None
    seconds: float = 0.0
    generated: int = 0


@dataclass(frozen=True, slots=True)
class EndedPart:
    """A part that has ended, and the file that may be deleted once the manifest has it."""

    record: PartRecord
    path: Path


_RECORD = TypeAdapter(PartRecord)


def now() -> str:
    """Return the UTC time to the second, as records hold it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Part:
    """A part that is under way.

    Args:
        spec: The arm.
        engine: Open.
        folder: Where the file is kept.
        known: What identified the arm in earlier parts.

    Raises:
        DraftproofError: It is somebody else who would answer now; or the disk is full.
    """

    def __init__(self, spec: ArmSpec, engine: Engine, folder: Path, known: Known) -> None:
        self._engine = engine
        rounds = canary_rounds(engine, 1 if known.canaries else 2)
        fingerprint = engine.fingerprint().to_json()
        changes = known.changes(fingerprint, rounds[0] if rounds else None)
        if changes:
            raise ArmChangedError(folder.parent, {spec.name: changes})
        name = uuid4().hex[:12]
        self.path = folder / f"{spec.name}.{name}{ENDING}"
        self.record = PartRecord(
            arm=spec.name,
            part=name,
            begun=now(),
            fingerprint=fingerprint,
            canaries=tuple(dict(r) for r in rounds),
        )
        self._write()

    def _write(self) -> None:
        write_whole(self.path, json.dumps(asdict(self.record)))

    def keep(self, completion: Completion) -> None:
        """Keep what the stack counted up to an answer, which is not yet on disk.

        Raises:
            DraftproofError: The disk is full.
        """
        if completion.speculation is not None:
            return
        counters = _counted(self._engine.proof())
        if counters is not None and counters != self.record.counters:
            self.record = replace(self.record, counters=counters)
            self._write()

    def end(self, seconds: float, generated: int) -> EndedPart:
        """Return what was done, and end what the engine began."""
        proof = self._engine.proof()
        try:
            rounds = canary_rounds(self._engine, 1)
        except DraftproofError:
            # every answer is there; whether it is still the same is asked when somebody goes on
            rounds = []
        self.record = replace(
            self.record,
            fingerprint=self._engine.fingerprint().to_json(),
            counters=None if proof is None else proof.to_json(),
            ended=now(),
            last=dict(rounds[0]) if rounds else None,
            seconds=seconds,
            generated=generated,
        )
        self._engine.close()
        return EndedPart(self.record, self.path)


def canary_rounds(engine: Engine, count: int) -> list[Round]:
    """Ask an engine's canaries so many times; none where it has none, or does not answer them."""
    rounds: list[Round] = []
    while isinstance(engine, AsksCanaries) and len(rounds) < count:
        said = engine.canaries()
        if said is None:
            break
        rounds.append(said)
    return rounds


def _counted(proof: Proof | None) -> dict[str, object] | None:
    return None if proof is None or proof.state is ProofState.ABSENT else proof.to_json()


def record_part(manifest: dict[str, Any], record: PartRecord) -> None:
    """Add to the manifest what an arm did in a part; a part that is there is not added again.

    The seconds of parts that were answered side by side add up, as if one had followed the other.

    Args:
        manifest: The run's.
        record: The part.

    Raises:
        DraftproofError: The manifest holds counters of an earlier part that cannot be read.
    """
    before: dict[str, Any] = manifest["arms"].get(record.arm, {})
    if record.part in before.get("parts", []):
        return
    earlier = before.get("counters")
    proof = Proof.of_parts(
        None if earlier is None else Proof.from_json(earlier),
        None if record.counters is None else Proof.from_json(record.counters),
    )
    manifest["arms"][record.arm] = {
        "seconds": before.get("seconds", 0.0) + record.seconds,
        "generated": before.get("generated", 0) + record.generated,
        "fingerprint": _joined(before.get("fingerprint"), record.fingerprint),
        "counters": None if proof is None else proof.to_json(),
        "begun": before.get("begun", record.begun),
        "ended": record.ended or before.get("ended"),
        "parts": [*before.get("parts", []), record.part],
        "canaries": before.get("canaries") or [dict(r) for r in record.canaries],
        "last_canaries": record.last or before.get("last_canaries"),
        "changes": before.get("changes", []),
    }


def _joined(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fingerprint of a later part, with every configuration named in any part."""
    names = "system_fingerprints"
    if before and names in after:
        return {**after, names: sorted({*before.get(names, []), *after[names]})}
    return dict(after)


def leftovers(folder: Path) -> list[tuple[Path, PartRecord]]:
    """Return the parts that were killed before they went into the manifest.

    Raises:
        DraftproofError: One of them cannot be read.
    """
    found = []
    for path in sorted(folder.glob(f"*{ENDING}")):
        try:
            found.append((path, _RECORD.validate_python(read_json_object(path))))
        except ValidationError as error:
            raise DraftproofError(
                f"{path}: cannot be read: {error.errors()[0]['msg']}; it says who answered: "
                "delete it to go on without"
            ) from error
    return found
