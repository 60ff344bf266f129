"""Whose answers are audited: a deployment that is asked now, a file, or an arm of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from draftproof.battery import Battery
from draftproof.recorded.recorded import read_answers
from draftproof.records import Completion, DraftproofError, Message, Prompt, digest
from draftproof.runs import Plan, RunDirectory
from draftproof.runs.collect import Task, answer_with_own_engine, environment, record_ended
from draftproof.runs.identity import ArmChangedError, Known
from draftproof.runs.manifest import Manifest
from draftproof.runs.resume import take_up
from draftproof.stacks.spec import ArmSpec


@dataclass(frozen=True, slots=True)
class AuditSubject:
    """Answers that are audited.

    Attributes:
        name: What to call them.
        answers: Each with the prompt that it answers.
        spec: How they were decoded; None where nobody says, and they are taken as greedy.
    """

    name: str
    answers: tuple[tuple[Prompt, Completion], ...]
    spec: ArmSpec | None


def recorded_subject(
    path: Path, columns: Mapping[str, str], battery: Battery | None
) -> AuditSubject:
    """Return the answers of a file.

    Args:
        path: See `read_answers`.
        columns: Column of each field, where it has an unusual name.
        battery: The prompts by id; without it the file holds them.

    Raises:
        DraftproofError: The file cannot be read, or a prompt's text is nowhere.
    """
    recorded = read_answers(path, path.stem, columns)
    asked = {prompt.id: prompt for prompt in battery.prompts} if battery else {}
    for id_, text in {} if battery else recorded.prompts.items():
        asked[id_] = Prompt(id=id_, task="all", messages=(Message("user", text),))
    unknown = [id_ for id_ in recorded.completions if id_ not in asked]
    if unknown:
        where = f"the battery {battery.name}" if battery else "the file"
        raise DraftproofError(
            f"{path}: {len(unknown)} answers have no prompt in {where}, the first is "
            f"{unknown[0]!r}; a target is fed prompts: name their column with --columns "
            "prompt=COLUMN or the battery that was asked with --battery"
        )
    pairs = tuple((asked[id_], answer) for id_, answer in recorded.completions.items())
    return AuditSubject(path.name, pairs, None)


def run_subject(run: Path, arm: str) -> AuditSubject:
    """Return the answers of one arm of a run.

    Raises:
        DraftproofError: The run holds no plan or no such arm, or its prompts changed since.
    """
    with RunDirectory(run) as directory:
        manifest = directory.manifest()
        if "plan" not in manifest:
            raise DraftproofError(f"{run}: its manifest holds no plan; audit the file of answers")
        plan = Plan.model_validate(manifest["plan"])
        names = [spec.name for spec in plan.arms]
        if arm not in names:
            raise DraftproofError(f"{run}: has no arm {arm!r}; it has {', '.join(names)}")
        battery = plan.load_battery()
        kept = manifest.get("battery")
        if isinstance(kept, Mapping) and kept.get("digest") != battery.digest:
            raise DraftproofError(f"{run}: its battery has changed since the run")
        answers = directory.log(arm).read()
    pairs = tuple((p, answers[p.id]) for p in battery.prompts if p.id in answers)
    return AuditSubject(f"{run.name}:{arm}", pairs, plan.arm(arm))


def served_subject(
    spec: ArmSpec,
    battery: Battery,
    out: Path,
    progress: Callable[[int, int], None],
) -> AuditSubject:
    """Ask a deployment a battery; answers that the directory holds already are not asked again.

    Args:
        spec: The deployment.
        battery: The prompts.
        out: Directory that keeps the answers.
        progress: Heard with answers there are and answers there will be.

    Raises:
        DraftproofError: The server cannot be asked, or the directory holds something else.
    """
    asked = spec.model_dump(mode="json")
    with RunDirectory(out) as run:
        wanted = {"audited": asked, "battery": battery.digest, "environment": environment()}
        held = run.manifest() or {**wanted, "arms": {}}
        if run.orphans() or digest({k: held.get(k) for k in wanted}) != digest(wanted):
            raise DraftproofError(f"{out}: holds another run; name a new directory with --out")
        manifest = Manifest(held)
        run.write_manifest(manifest.to_json())
        take_up(run, manifest)
        known = run.log(spec.name).read()
        waiting = tuple(p for p in battery.prompts if p.id not in known)
        total = len(battery.prompts)
        if waiting:
            path = run.log(spec.name).path
            earlier = Known.of(manifest.record(spec.name), None)
            task = Task(spec, battery, path, waiting, earlier)
            try:
                part = answer_with_own_engine(
                    task, lambda n: progress(total - len(waiting) + n, total)
                )
            except ArmChangedError as error:
                raise DraftproofError(
                    f"{out}: {error.what}: an arm has changed since the answers there "
                    "were given; name a new directory with --out"
                ) from error
            record_ended(manifest, run, part)
        answers = run.log(spec.name).read()
    pairs = tuple((p, answers[p.id]) for p in battery.prompts if p.id in answers)
    return AuditSubject(spec.url or spec.name, pairs, spec)
