"""Asking every arm of a study, and timing them; the same directory resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from draftproof.battery.attacks import reminded
from draftproof.defence.prompts import Progress, study_prompts
from draftproof.defence.records import DefenceTrace
from draftproof.defence.study import Study, StudyArm
from draftproof.records import Completion, DraftproofError, Prompt
from draftproof.runs.collect import environment
from draftproof.runs.directory import RunDirectory


@dataclass(frozen=True, slots=True)
class Collected:
    """The answers of a study and what was measured beside them.

    Attributes:
        prompts: Prompts by role and task, in order: ``(role, prompt)``.
        answers: Completions by arm and prompt id.
        seconds_a_token: Wall seconds per emitted token of each arm, one row at a time, one
            figure a pass.
        manifest: The run's manifest.
        trace: Returns how an answer of an arm, by its name, came about; None for an arm without
            modes.
    """

    prompts: list[tuple[str, Prompt]]
    answers: dict[str, dict[str, Completion]]
    seconds_a_token: dict[str, list[float]]
    manifest: dict[str, Any]
    trace: Callable[[str, Completion], DefenceTrace | None] = lambda arm, completion: None


def collect_study(study: Study, run: RunDirectory, progress: Progress | None = None) -> Collected:
    """Return every arm's answers, generating those that the run lacks.

    Raises:
        DraftproofError: The directory holds another study, or a model cannot be loaded.
    """
    from draftproof.defence.arms import DefendedEngine  # noqa: PLC0415 - needs torch

    hear = progress or (lambda what, done, total: None)
    manifest = _manifest(study, run)
    prompts = study_prompts(study, run.path, hear)
    asked = [prompt for _, prompt in prompts]
    answers: dict[str, dict[str, Completion]] = {}
    engines = {}
    for arm in study.arms:
        log = run.log(arm.name)
        known = log.read()
        strange = known.keys() - {p.id for p in asked}
        if strange:
            raise DraftproofError(f"{run.path}: arm {arm.name!r} answers {sorted(strange)[0]!r}, "
                                  "which the study does not ask; name a new directory")  # fmt: skip
        engines[arm.name] = DefendedEngine(_defence(study, arm))
        hear(arm.name, len(known), len(asked))
        waiting = _as_asked(arm, [p for p in asked if p.id not in known])
        start = time.perf_counter()
        for done, completion in enumerate(engines[arm.name].answer(waiting), start=1):
            log.append(completion)
            hear(arm.name, len(known) + done, len(asked))
        log.close()
        if waiting:
            record = manifest["arms"].setdefault(arm.name, {"seconds": 0.0})
            record["seconds"] += time.perf_counter() - start
            record["fingerprint"] = engines[arm.name].fingerprint()
            run.write_manifest(manifest)
        answers[arm.name] = log.read()
    wanted = study.speed.model_dump()
    if manifest.get("speed", {}).get("settings") != wanted:
        manifest["speed"] = {
            "settings": wanted,
            "seconds_a_token": _times(study, engines, prompts, hear),
        }
        run.write_manifest(manifest)
    return Collected(
        prompts,
        answers,
        manifest["speed"]["seconds_a_token"],
        manifest,
        lambda arm, completion: engines[arm].trace(completion),
    )


def _defence(study: Study, arm: StudyArm) -> Any:
    from draftproof.defence.arms import Defence  # noqa: PLC0415 - needs torch

    return Defence(
        name=arm.name,
        kind=arm.kind,
        target=study.target,
        expert=arm.expert or study.expert,
        options=arm.options,
        gamma=study.gamma,
        max_new_tokens=study.max_new_tokens,
        batch=study.batch,
        dtype=study.dtype,
        device=study.device,
    )


def _as_asked(arm: StudyArm, prompts: Sequence[Prompt]) -> list[Prompt]:
    return list(prompts if arm.system is None else reminded(prompts, arm.system))


def _times(
    study: Study, engines: dict[str, Any], prompts: Sequence[tuple[str, Prompt]], hear: Progress
) -> dict[str, list[float]]:
    """Time every arm on the same benign prompts, pass by pass in turn."""
    benign = [p for role, p in prompts if role == "utility"] or [p for _, p in prompts]
    step = max(1, len(benign) // study.speed.prompts)
    chosen = benign[::step][: study.speed.prompts]
    found: dict[str, list[float]] = {arm.name: [] for arm in study.arms}
    total = study.speed.passes * len(study.arms)
    for arm in study.arms:
        engines[arm.name].seconds_a_token(_as_asked(arm, chosen[:1]))
    for number in range(study.speed.passes):
        for place, arm in enumerate(study.arms):
            asked = _as_asked(arm, chosen)
            found[arm.name].append(engines[arm.name].seconds_a_token(asked))
            hear("speed", number * len(study.arms) + place + 1, total)
    return found


def time_ratio(seconds: dict[str, list[float]], arm: str, baseline: str) -> float:
    """Return the median over the passes of an arm's time per token against the baseline's."""
    return median(a / b for a, b in zip(seconds[arm], seconds[baseline], strict=True))


def _manifest(study: Study, run: RunDirectory) -> dict[str, Any]:
    manifest = run.manifest()
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
