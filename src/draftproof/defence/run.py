"""Asking every arm of a study, and timing them; the same directory resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from draftproof.battery.attacks import reminded
from draftproof.defence.prompts import Progress, study_prompts
from draftproof.defence.records import DefenceTrace
from draftproof.defence.study import Study, StudyArm
from draftproof.records import Completion, DraftproofError, Prompt
from draftproof.runs.collect import environment
from draftproof.runs.directory import RunDirectory

if TYPE_CHECKING:
    from draftproof.defence.arms import DefendedEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyAnswers:
    """The answers of a study and what was measured beside them.

    Attributes:
        prompts: Prompts by role and task, in order: ``(role, prompt)``.
        answers: Completions by arm and prompt id.
        seconds_a_token: Wall seconds per emitted token of each arm, one row at a time, one
            figure a pass.
        seconds: Wall seconds that the answers of each arm took, batched.
        environment: Where the run was begun.
        trace: Returns how an answer of an arm, by its name, came about; None for an arm without
            modes.
    """

    prompts: Sequence[tuple[str, Prompt]]
    answers: Mapping[str, Mapping[str, Completion]]
    seconds_a_token: Mapping[str, Sequence[float]]
    seconds: Mapping[str, float]
    environment: Mapping[str, str]
    trace: Callable[[str, Completion], DefenceTrace | None] = lambda arm, completion: None


def collect_study(
    study: Study, run: RunDirectory, on_progress: Progress | None = None
) -> StudyAnswers:
    """Return every arm's answers, generating those that the run lacks.

    Raises:
        DraftproofError: The directory holds another study, or a model cannot be loaded.
    """
    from draftproof.defence.arms import DefendedEngine  # noqa: PLC0415 - needs torch

    on_progress = on_progress or (lambda what, done, total: None)
    manifest = _manifest(study, run)
    prompts_with_roles = study_prompts(study, run.path, on_progress)
    prompts = [prompt for _, prompt in prompts_with_roles]
    answers: dict[str, dict[str, Completion]] = {}
    engines: dict[str, DefendedEngine] = {}
    for arm in study.arms:
        log = run.log(arm.name)
        answered = log.read()
        unknown = answered.keys() - {p.id for p in prompts}
        if unknown:
            raise DraftproofError(
                f"{run.path}: arm {arm.name!r} answers {min(unknown)!r}, which the study does not "
                "ask; name a new directory"
            )
        engine = engines[arm.name] = DefendedEngine.of_study(study, arm)
        on_progress(arm.name, len(answered), len(prompts))
        unanswered = _with_system(arm, [p for p in prompts if p.id not in answered])
        start = time.perf_counter()
        for done, completion in enumerate(engine.answer(unanswered), start=1):
            log.append(completion)
            on_progress(arm.name, len(answered) + done, len(prompts))
        log.close()
        if unanswered:
            record = manifest["arms"].setdefault(arm.name, {"seconds": 0.0})
            record["seconds"] += time.perf_counter() - start
            record["fingerprint"] = engine.fingerprint()
            run.write_manifest(manifest)
        answers[arm.name] = log.read()
    settings = study.speed.model_dump()
    if manifest.get("speed", {}).get("settings") != settings:
        times = _times(study, engines, prompts_with_roles, on_progress)
        manifest["speed"] = {"settings": settings, "seconds_a_token": times}
        run.write_manifest(manifest)
    return StudyAnswers(
        prompts=prompts_with_roles,
        answers=answers,
        seconds_a_token=manifest["speed"]["seconds_a_token"],
        seconds={name: record["seconds"] for name, record in manifest["arms"].items()},
        environment=manifest["environment"],
        trace=lambda arm, completion: engines[arm].trace(completion),
    )


def _with_system(arm: StudyArm, prompts: Sequence[Prompt]) -> list[Prompt]:
    return list(prompts if arm.system is None else reminded(prompts, arm.system))


def _times(
    study: Study,
    engines: Mapping[str, DefendedEngine],
    prompts_with_roles: Sequence[tuple[str, Prompt]],
    on_progress: Progress,
) -> dict[str, list[float]]:
    """Time every arm on the same benign prompts, pass by pass in turn."""
    prompts = [p for role, p in prompts_with_roles if role == "utility"]
    prompts = prompts or [p for _, p in prompts_with_roles]
    step = max(1, len(prompts) // study.speed.prompts)
    sample = prompts[::step][: study.speed.prompts]
    times: dict[str, list[float]] = {arm.name: [] for arm in study.arms}
    total = study.speed.passes * len(study.arms)
    for arm in study.arms:
        engines[arm.name].seconds_a_token(_with_system(arm, sample[:1]))
    for number in range(study.speed.passes):
        for place, arm in enumerate(study.arms):
            seconds = engines[arm.name].seconds_a_token(_with_system(arm, sample))
            times[arm.name].append(seconds)
            on_progress("speed", number * len(study.arms) + place + 1, total)
    return times


def time_ratio(seconds: Mapping[str, Sequence[float]], arm: str, baseline: str) -> float:
    """Return the median over the passes of an arm's time per token against the baseline's."""
    return median(a / b for a, b in zip(seconds[arm], seconds[baseline], strict=True))


def _manifest(study: Study, run: RunDirectory) -> dict[str, Any]:
    manifest = run.manifest()
    if orphans := run.orphans():
        raise DraftproofError(
            f"{run.path}: holds answers of {orphans[0]!r} but no manifest.json; "
            "name a new directory"
        )
    if not manifest:
        manifest = {
            "study_digest": study.digest,
            "study": study.model_dump(mode="json"),
            "environment": environment(),
            "arms": {},
        }
        run.write_manifest(manifest)
    if manifest.get("study_digest") != study.digest:
        raise DraftproofError(
            f"{run.path}: holds another study; give the command it was started with, "
            "or name a new directory"
        )
    return manifest
