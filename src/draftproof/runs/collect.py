"""Asking every arm what it has not answered yet."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from draftproof import __version__
from draftproof.battery import Battery
from draftproof.records import Completion, DraftproofError, Prompt, digest
from draftproof.runs.answers import AnswerLog
from draftproof.runs.directory import RunDirectory
from draftproof.runs.identity import Known
from draftproof.runs.manifest import Manifest
from draftproof.runs.parallel import Call, Tell, Workers
from draftproof.runs.parts import EndedPart, RunningPart, now, record_part
from draftproof.runs.plan import Plan
from draftproof.runs.resume import Resume, check_arms, check_ends, noise_rate, orphaned, take_up
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
    known: Known
    """What identified the arm when it answered earlier."""


def collect(
    plan: Plan,
    battery: Battery,
    run: RunDirectory,
    *,
    progress: Progress | None = None,
    workers: Workers | None = None,
    engine_of: Callable[[ArmSpec], Engine] | None = None,
    resume: Resume | None = None,
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
        resume: How to go on with a run that there is.

    Raises:
        DraftproofError: The directory holds another run, an arm has changed, or an engine
            fails.
    """
    resume = resume or Resume()
    manifest = open_run(plan, battery, run, resume, engine_of)
    noise = noise_rate(plan, run)
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
        of_arm = Known.of(manifest.record(arm.name), noise)
        parts = _parts(arm, waiting, workers.jobs)
        tasks += [Task(arm, battery, path, part, of_arm) for part in parts]

    done = [0] * len(tasks)

    def answered(number: int, count: int) -> None:
        arm = tasks[number].arm.name
        known[arm] += count - done[number]
        done[number] = count
        on_progress(arm, known[arm], total)

    def finished(_: int, part: EndedPart) -> None:
        record_ended(manifest, run, part)

    ask = partial(answer_task, engine_of) if engine_of else answer_with_own_engine
    calls = [Call(f"arm {task.arm.name!r}", ask, (task,)) for task in tasks]
    workers.do(calls, on_progress=answered, on_result=finished)
    check_ends(plan, run, manifest, resume)
    return {arm.name: run.log(arm.name).read() for arm in plan.arms}


def _parts(arm: ArmSpec, waiting: Sequence[Prompt], jobs: int) -> list[tuple[Prompt, ...]]:
    """Divide what an arm has to answer between processes.

    Only our own decoder's answers are divided: how many prompts are under way at once is part of
    what an arm of a server declares, and other libraries keep state of their own.
    """
    parts = min(jobs, len(waiting) // _LEAST) if arm.engine == "local" else 1
    return [tuple(waiting[n :: max(parts, 1)]) for n in range(max(parts, 1))] if waiting else []


def record_ended(manifest: Manifest, run: RunDirectory, part: EndedPart) -> None:
    """Put a part that has ended into the manifest; from then on its own file says nothing new.

    Raises:
        DraftproofError: The manifest cannot be written, or holds counters that cannot be read.
    """
    record_part(manifest, part.record)
    run.write_manifest(manifest.to_json())
    part.path.unlink(missing_ok=True)


def answer_with_own_engine(task: Task, on_progress: Tell) -> EndedPart:
    """Answer the prompts of a task with the engine that its arm names; see `answer_task`."""
    return answer_task(partial(make_engine, logs=task.path.parents[1] / "logs"), task, on_progress)


def answer_task(engine_of: Callable[[ArmSpec], Engine], task: Task, on_progress: Tell) -> EndedPart:
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
    try:
        part = RunningPart(task.arm, engine, task.path.parent, task.known)
        start, generated = time.perf_counter(), 0
        for completion in engine.answer(task.waiting):
            part.keep(completion)
            log.append(dated(completion))
            generated += 1
            on_progress(generated)
        return part.end(time.perf_counter() - start, generated)
    finally:
        log.close()
        engine.close()


def dated(completion: Completion) -> Completion:
    """Return an answer with the UTC time of now, unless its engine said when it was given."""
    if completion.answered_at is not None:
        return completion
    return replace(completion, answered_at=now())


def in_order(arm: ArmSpec, prompts: Sequence[Prompt]) -> list[Prompt]:
    """Return the prompts in the order in which an arm is asked them."""
    if arm.order == "battery":
        return list(prompts)
    return sorted(prompts, key=lambda p: digest([arm.name, p.id]))


def open_run(
    plan: Plan,
    battery: Battery,
    run: RunDirectory,
    resume: Resume,
    engine_of: Callable[[ArmSpec], Engine] | None,
) -> Manifest:
    """Return the run's manifest, once it is certain that the run can be gone on with.

    Raises:
        DraftproofError: The directory holds a run of another plan or battery, or an arm
            has changed.
    """
    manifest = _open_manifest(plan, battery, run, resume)
    take_up(run, manifest)
    make = engine_of or partial(make_engine, logs=run.path / "logs")
    check_arms(plan, battery, run, manifest, resume, make)
    if resume.retry_errors:
        for arm in plan.arms:
            run.log(arm.name).drop_errors()
    return manifest


def _open_manifest(plan: Plan, battery: Battery, run: RunDirectory, resume: Resume) -> Manifest:
    document = run.manifest()
    if not document:
        orphans = orphaned(run, resume)
        document = {
            "created": now(),
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
            "arms": {arm: record.to_json() for arm, record in orphans.items()},
        }
        run.write_manifest(document)
        return Manifest(document)
    battery_record = document.get("battery")
    found = battery_record.get("digest") if isinstance(battery_record, Mapping) else None
    for what, there, wanted in (
        ("plan", document.get("plan_digest"), plan.digest),
        ("battery", found, battery.digest),
    ):
        if there != wanted:
            raise DraftproofError(
                f"{run.path}: holds a run of another {what}; "
                "give the command it was started with, or name a new directory"
            )
    return Manifest(document)


def environment() -> dict[str, str]:
    """Return where this runs: draftproof, Python and the machine's kind."""
    return {
        "draftproof": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(terse=True),
        "machine": platform.machine(),
    }
