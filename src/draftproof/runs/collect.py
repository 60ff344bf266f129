"""Asking every arm what it has not answered yet."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from draftproof import __version__
from draftproof.battery import Battery
from draftproof.records import Completion, DraftproofError, Fingerprint, Prompt, Proof, digest
from draftproof.runs.answers import AnswerLog
from draftproof.runs.directory import RunDirectory
from draftproof.runs.parallel import Call, Tell, Workers
from draftproof.runs.plan import Plan
from draftproof.stacks import Engine, make_engine
from draftproof.stacks.spec import ArmSpec

Progress = Callable[[str, int, int], None]
"""Called with the arm's name, the answers there are and the answers there will be."""
_LEAST = 32
"""Prompts of a part; fewer are not worth another copy of the models."""


@dataclass(frozen=True, slots=True)
class Task:
    """Prompts that one arm is to answer into a file, all of what it lacks or a part of that."""

    arm: ArmSpec
    battery: Battery
    path: Path
    waiting: tuple[Prompt, ...]
    """Of the battery, in the order in which they are asked."""


@dataclass(frozen=True, slots=True)
class PartRecord:
    """What an arm did in one part of a run.

    Attributes:
        seconds: Wall time.
        generated: Answers.
        fingerprint: What identifies the arm.
        proof: What its stack counted; None where every answer has its counters.
    """

    seconds: float
    generated: int
    fingerprint: Fingerprint
    proof: Proof | None


def collect(
    plan: Plan,
    battery: Battery,
    run: RunDirectory,
    *,
    progress: Progress | None = None,
    workers: Workers | None = None,
    engine_of: Callable[[ArmSpec], Engine] | None = None,
) -> dict[str, dict[str, Completion]]:
    """Return every arm's answers by prompt id, generating those that the run lacks.

    Args:
        plan: The arms.
        battery: The prompts, as `Plan.load_battery` returns them.
        run: Where answers are read from and appended to.
        progress: Called after every answer.
        workers: Who answers, side by side, each with its own copy of the models; this process
            alone if None. An arm of our own decoder is answered by all of them, part by part;
            another arm by one of them.
        engine_of: Makes an arm's engine, in place of `make_engine`.

    Raises:
        DraftproofError: The directory holds another run, or an engine fails.
    """
    manifest = open_manifest(plan, battery, run)
    on_progress = progress or (lambda arm, done, total: None)
    workers = workers or Workers()
    total = len(battery.prompts)
    tasks: list[Task] = []
    known: dict[str, int] = {}
    for arm in plan.arms:
        answers = run.log(arm.name).read()
        unknown = answers.keys() - {p.id for p in battery.prompts}
        if unknown:
            raise DraftproofError(
                f"{run.path}: arm {arm.name!r} has an answer to {sorted(unknown)[0]!r}, "
                "a prompt that the battery does not hold"
            )
        known[arm.name] = len(answers)
        if len(answers) == total:
            on_progress(arm.name, total, total)
        waiting = [p for p in in_order(arm, battery.prompts) if p.id not in answers]
        path = run.log(arm.name).path
        tasks += [Task(arm, battery, path, part) for part in _parts(arm, waiting, workers.jobs)]

    done = [0] * len(tasks)

    def answered(number: int, count: int) -> None:
        arm = tasks[number].arm.name
        known[arm] += count - done[number]
        done[number] = count
        on_progress(arm, known[arm], total)

    def finished(number: int, record: PartRecord) -> None:
        record_arm(manifest, tasks[number].arm.name, record)
        run.write_manifest(manifest)

    ask = partial(answer_task, engine_of) if engine_of else answer_with_own_engine
    calls = [Call(f"arm {task.arm.name!r}", ask, (task,)) for task in tasks]
    workers.do(calls, on_progress=answered, on_result=finished)
    return {arm.name: run.log(arm.name).read() for arm in plan.arms}


def _parts(arm: ArmSpec, waiting: Sequence[Prompt], jobs: int) -> list[tuple[Prompt, ...]]:
    """Divide what an arm has to answer between processes.

    Only our own decoder's answers are divided: how many prompts are under way at once is part of
    what an arm of a server declares, and other libraries keep state of their own.
    """
    parts = min(jobs, len(waiting) // _LEAST) if arm.engine == "local" else 1
    return [tuple(waiting[n :: max(parts, 1)]) for n in range(max(parts, 1))] if waiting else []


def record_arm(manifest: dict[str, Any], arm: str, record: PartRecord) -> None:
    """Add to the manifest what an arm did now: seconds, answers, fingerprint, counters.

    The seconds of parts that were answered side by side add up, as if one had followed the other.

    Raises:
        DraftproofError: The manifest holds counters of an earlier part that cannot be read.
    """
    before = manifest["arms"].get(arm, {"seconds": 0.0, "generated": 0})
    earlier = before.get("counters")
    proof = Proof.of_parts(None if earlier is None else Proof.from_json(earlier), record.proof)
    manifest["arms"][arm] = {
        "seconds": before["seconds"] + record.seconds,
        "generated": before["generated"] + record.generated,
        "fingerprint": record.fingerprint.to_json(),
        "counters": None if proof is None else proof.to_json(),
    }


def part_record(engine: Engine, seconds: float, generated: int) -> PartRecord:
    """Return what an engine did, and close it: what it counted is in the record now."""
    record = PartRecord(seconds, generated, engine.fingerprint(), engine.proof())
    engine.close()
    return record


def answer_with_own_engine(task: Task, on_progress: Tell) -> PartRecord:
    """Answer the prompts of a task with the engine that its arm names; see `answer_task`."""
    return answer_task(partial(make_engine, logs=task.path.parents[1] / "logs"), task, on_progress)


def answer_task(
    engine_of: Callable[[ArmSpec], Engine], task: Task, on_progress: Tell
) -> PartRecord:
    """Answer the prompts of a task, appending every answer as soon as it is there.

    Args:
        engine_of: Makes the arm's engine.
        task: What to answer.
        on_progress: Called with the number of answers so far.
    """
    log = AnswerLog(task.path)
    engine = engine_of(task.arm)
    on_progress(0)
    engine.open(task.battery.prompts)
    start, generated = time.perf_counter(), 0
    try:
        for completion in engine.answer(task.waiting):
            log.append(dated(completion))
            generated += 1
            on_progress(generated)
    finally:
        log.close()
    return part_record(engine, time.perf_counter() - start, generated)


def dated(completion: Completion) -> Completion:
    """Return an answer with the UTC time of now, unless its engine said when it was given."""
    if completion.answered_at is not None:
        return completion
    return replace(completion, answered_at=datetime.now(UTC).isoformat(timespec="seconds"))


def in_order(arm: ArmSpec, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts in the order in which an arm is asked them."""
    if arm.order == "battery":
        return list(prompts)
    return sorted(prompts, key=lambda p: digest([arm.name, p.id]))


def open_manifest(plan: Plan, battery: Battery, run: RunDirectory) -> dict[str, Any]:
    """Return the run's manifest, written if it is new.

    Raises:
        DraftproofError: The directory holds a run of another plan or battery.
    """
    manifest = run.manifest()
    if not manifest:
        manifest = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "plan_digest": plan.digest,
            "plan": plan.model_dump(mode="json"),
            "battery": {
                "name": battery.name,
                "version": battery.version,
                "licence": battery.licence,
                "digest": battery.digest,
                "prompts": {p.id: p.content_hash for p in battery.prompts},
            },
            "environment": environment(),
            "arms": {},
        }
        run.write_manifest(manifest)
        return manifest
    battery_record = manifest.get("battery")
    found = battery_record.get("digest") if isinstance(battery_record, Mapping) else None
    for what, there, wanted in (
        ("plan", manifest.get("plan_digest"), plan.digest),
        ("battery", found, battery.digest),
    ):
        if there != wanted:
            raise DraftproofError(
                f"{run.path}: holds a run of another {what}; "
                "give the command it was started with, or name a new directory"
            )
    manifest.setdefault("arms", {})
    return manifest


def environment() -> dict[str, str]:
    """Return where this runs: draftproof, Python and the machine's kind."""
    return {
        "draftproof": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(terse=True),
        "machine": platform.machine(),
    }
