"""One part of an arm: who answers from its beginning to its end, on disk in case of a kill.

Before the first token of a part a file beside the answers says who answers, and as counters grow
that no answer carries, so does the file. When the part has ended, it goes into the manifest and
the file is deleted. A killed command leaves it; the next one puts it into the manifest then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from draftproof.files import read_json_object, write_whole
from draftproof.records import Completion, DraftproofError, Proof, ProofState
from draftproof.runs.identity import ArmChangedError, Known
from draftproof.runs.manifest import Manifest
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
        counters: What the stack counted; None where every answer has its counters.
        ended: UTC time, None where it was killed.
        last: What was said to the canaries at the end.
        seconds: Wall time.
        generated: Answers.
    """

    arm: str
    part: str
    begun: str
    fingerprint: Mapping[str, object]
    canaries: tuple[Round, ...] = ()
    counters: Proof | None = None
    ended: str | None = None
    last: Round | None = None
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


class RunningPart:
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
            canaries=tuple(rounds),
        )
        self._write()

    def _write(self) -> None:
        write_whole(self.path, _RECORD.dump_json(self.record))

    def keep(self, completion: Completion) -> None:
        """Keep what the stack counted up to an answer, which is not yet on disk.

        Raises:
            DraftproofError: The disk is full.
        """
        if completion.speculation is not None:
            return
        proof = self._engine.proof()
        absent = proof is None or proof.state is ProofState.ABSENT
        if not absent and proof != self.record.counters:
            self.record = replace(self.record, counters=proof)
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
            counters=proof,
            ended=now(),
            last=rounds[0] if rounds else None,
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


def record_part(manifest: Manifest, part: PartRecord) -> None:
    """Add to the manifest what an arm did in a part; a part that is there is not added again."""
    before = manifest.record(part.arm)
    if part.part in before.parts:
        return
    manifest.arms[part.arm] = replace(
        before,
        seconds=before.seconds + part.seconds,
        generated=before.generated + part.generated,
        fingerprint=_joined(before.fingerprint or {}, part.fingerprint) or None,
        counters=Proof.of_parts(before.counters, part.counters),
        begun=before.begun or part.begun,
        ended=part.ended or before.ended,
        parts=(*before.parts, part.part),
        canaries=before.canaries or part.canaries,
        last_canaries=part.last or before.last_canaries,
    )


def _joined(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """Return the fingerprint of a later part, with every configuration named in any part."""
    name = "system_fingerprints"
    named = [one for part in (before, after) for one in _list(part.get(name))]
    return {**(after or before), **({name: sorted(set(named))} if named else {})}


def _list(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else []


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
