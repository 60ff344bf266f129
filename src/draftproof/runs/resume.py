"""Going on with a run: what a killed command left is taken up, and whoever changed is told."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from draftproof.battery import Battery
from draftproof.files import read_json_object
from draftproof.records import DraftproofError, Proof, ProofState, Role
from draftproof.records.proof import Counters
from draftproof.runs.directory import RunDirectory
from draftproof.runs.identity import ArmChangedError, Known
from draftproof.runs.manifest import ArmChange, ArmRecord, Manifest
from draftproof.runs.parts import PartRecord, canary_rounds, leftovers, now, record_part
from draftproof.runs.plan import Plan
from draftproof.stacks import Engine
from draftproof.stacks.canaries import Round
from draftproof.stacks.spec import ArmSpec
from draftproof.stacks.weights import present_models, served_files

_LOG = logging.getLogger(__name__)
_PATIENCE = 5.0
"""Seconds that a server is waited for which owes no answer any more."""


@dataclass(frozen=True, slots=True)
class Resume:
    """How a run is gone on with.

    Attributes:
        change: What to do about an arm that has changed: ``stop`` with an error, ask
            everything of it again (``fresh``), or go on and say so (``accept``).
        retry_errors: Whether prompts whose answers are errors are asked again.
    """

    change: Literal["stop", "fresh", "accept"] = "stop"
    retry_errors: bool = False


def take_up(run: RunDirectory, manifest: Manifest) -> None:
    """Put into the manifest what parts recorded that were killed, and write it.

    Raises:
        DraftproofError: A record cannot be read, or the manifest not be written.
    """
    found = [*leftovers(run.answers), *_of_version_0_1(run.path / "logs")]
    for _, record in found:
        record_part(manifest, record)
    if found:
        run.write_manifest(manifest.to_json())
    for path, _ in found:
        path.unlink()


def _of_version_0_1(logs: Path) -> list[tuple[Path, PartRecord]]:
    """Return the counters that version 0.1.0 kept of arms that were killed."""
    found = []
    for path in sorted(logs.glob("*.counters.json")):
        kept, arm = read_json_object(path), path.name.removesuffix(".counters.json")
        try:
            counters = Counters(*(int(kept[name]) for name in ("rounds", "drafted", "accepted")))
        except (KeyError, TypeError, ValueError) as error:
            raise DraftproofError(f"{path}: is no record of counters; delete it") from error
        problem = kept.get("problem")
        state = ProofState.COUNTED if problem is None else ProofState.UNPROVEN
        proof = Proof(state=state, source="prometheus", counters=counters, problem=problem)
        part = PartRecord(arm=arm, part=path.name, begun=now(), fingerprint={}, counters=proof)
        found.append((path, part))
    return found


def check_arms(
    plan: Plan,
    battery: Battery,
    run: RunDirectory,
    manifest: Manifest,
    resume: Resume,
    engine_of: Callable[[ArmSpec], Engine] | None,
) -> None:
    """Check, before anything is asked, that no arm has changed since it answered.

    Arms that go on are opened and asked their canaries, and so are servers behind a URL whose
    answers are complete. Of other arms the models' files are looked at.

    Args:
        plan: The arms.
        battery: The prompts.
        run: The run; answers of arms that are asked afresh are set aside.
        manifest: Its manifest, changed and written if need be.
        resume: What to do about a change.
        engine_of: Makes an arm's engine; None looks at files alone.

    Raises:
        DraftproofError: An arm is another than it was and nothing says what to do about it; or
            an arm that goes on cannot be reached.
    """
    noise = noise_rate(plan, run)
    changes: dict[str, list[str]] = {}
    seen: dict[str, _Seen] = {}
    for arm in plan.arms:
        record = manifest.arms.get(arm.name)
        given = len(run.log(arm.name).read())
        if not given or not record:
            # nothing to compare with; a record without answers speaks of none
            manifest.arms.pop(arm.name, None)
            continue
        known = Known.of(record, noise)
        seen[arm.name] = _look(arm, battery, engine_of, complete=given == len(battery.prompts))
        found = known.change_meanwhile()
        found += known.changes(seen[arm.name].fingerprint, seen[arm.name].said)
        if found:
            changes[arm.name] = found
    if changes and resume.change == "stop":
        raise ArmChangedError(run.path, changes)
    for name, what in changes.items():
        if resume.change == "fresh":
            run.set_aside(name)
            del manifest.arms[name]
        else:
            manifest.arms[name] = _accepted(manifest.arms[name], what, seen[name])
    if changes:
        run.write_manifest(manifest.to_json())


def check_ends(plan: Plan, run: RunDirectory, manifest: Manifest, resume: Resume) -> None:
    """See to it, after everything was asked, that no arm changed while it answered.

    Raises:
        DraftproofError: One did, and nothing says what to do about it.
    """
    noise = noise_rate(plan, run)
    changes = {
        arm.name: Known.of(manifest.record(arm.name), noise).change_meanwhile() for arm in plan.arms
    }
    changes = {name: what for name, what in changes.items() if what}
    if changes and resume.change != "accept":
        raise ArmChangedError(run.path, changes)
    for name, what in changes.items():
        manifest.arms[name] = _accepted(manifest.arms[name], what, _Seen({}, None))
    if changes:
        run.write_manifest(manifest.to_json())


@dataclass(frozen=True, slots=True)
class _Seen:
    """Who would answer for an arm now: its fingerprint or a part of it, and a round of canaries."""

    fingerprint: Mapping[str, object]
    said: Round | None


def _look(
    arm: ArmSpec,
    battery: Battery,
    engine_of: Callable[[ArmSpec], Engine] | None,
    *,
    complete: bool,
) -> _Seen:
    files = _Seen(
        {part: model.to_json() for part, model in present_models(arm).items()}
        | ({"files": served_files(arm.serve)} if arm.serve else {}),
        None,
    )
    behind_url = arm.engine == "openai" and arm.serve is None
    if engine_of is None or (complete and not behind_url):
        return files
    if complete:
        patience = {"ready_timeout": min(arm.ready_timeout, _PATIENCE)}
        arm = arm.model_copy(update=patience)
    try:
        with closing(engine_of(arm)) as engine:
            engine.open(battery.prompts)
            rounds = canary_rounds(engine, 1)
            return _Seen(engine.fingerprint().to_json(), rounds[0] if rounds else None)
    except DraftproofError as error:
        if not complete:
            raise
        _LOG.warning("whether it is still the same cannot be asked: %s", error)
        return files


def _accepted(record: ArmRecord, what: list[str], seen: _Seen) -> ArmRecord:
    """Return the record of an arm that changed; what it is now is what it is compared with next."""
    said = seen.said or record.last_canaries
    return replace(
        record,
        changes=(*record.changes, ArmChange(now(), tuple(what))),
        fingerprint=_overlaid(record.fingerprint or {}, seen.fingerprint),
        canaries=(said,) if said else (),
        last_canaries=None,
    )


def _overlaid(old: Mapping[str, object], new: Mapping[str, object]) -> dict[str, object]:
    out = dict(old)
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping) and name != "files":
            out[name] = _overlaid(before, value)
        elif value is not None:
            out[name] = value
    return out


def noise_rate(plan: Plan, run: RunDirectory) -> float | None:
    """Return the share of prompts that the run's equal arms answered differently, at the most."""
    rates = []
    for arm in plan.arms:
        if arm.role is not Role.NOISE:
            continue
        one, two = (run.log(name).read() for name in (arm.of or plan.baseline.name, arm.name))
        both = [key for key in one if key in two]
        if both:
            rates.append(sum(one[key].text != two[key].text for key in both) / len(both))
    return max(rates, default=None)


def orphaned(run: RunDirectory, resume: Resume) -> dict[str, ArmRecord]:
    """Return the records of arms whose answers are there though the manifest is gone.

    Raises:
        DraftproofError: There are such answers, and nothing says what to do about them.
    """
    arms = run.orphans()
    if not arms:
        return {}
    if resume.change == "stop":
        raise DraftproofError(
            f"{run.path}: holds answers of {', '.join(map(repr, arms))} but no manifest.json, so "
            "it is not known which prompts they answer or who gave them. Put the manifest back, "
            "or give --fresh to set these answers aside and ask everything again, or "
            "--accept-change to take them for this plan's; the verdict then says so"
        )
    if resume.change == "fresh":
        for arm in arms:
            run.set_aside(arm)
        return {}
    lost = ArmChange(now(), ("the manifest was missing, so it is not known who gave its answers",))
    return {arm: ArmRecord(changes=(lost,)) for arm in arms}


def accepted_changes(manifest: Manifest) -> dict[str, list[str]]:
    """Return a sentence a change that was accepted, by arm."""
    return {
        arm: [
            f"arm {arm!r} changed, seen on {change.seen[:16].replace('T', ' ')} UTC: "
            f"{', '.join(change.what)}; its answers from before and after were counted "
            "together (--accept-change)"
            for change in record.changes
        ]
        for arm, record in manifest.arms.items()
        if record.changes
    }
