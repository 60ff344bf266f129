"""What a study asks: the lab's attacks and questions, batteries, and published attack files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from draftproof.battery import load_battery
from draftproof.battery.attacks import begun, read_attacks
from draftproof.defence.study import Study, StudyTask
from draftproof.records import DraftproofError, Prompt

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how far it is and how far it will go."""


def study_prompts(study: Study, folder: Path, hear: Progress) -> list[tuple[str, Prompt]]:
    """Return what is asked, each prompt with the role of its task."""
    found: list[tuple[str, Prompt]] = []
    for task in study.tasks:
        prompts = _lab_prompts(study, task, folder, hear)
        if prompts is None:
            prompts = _battery_prompts(study, task)
        found += [(task.role, prompt) for prompt in prompts]
    ids = [prompt.id for _, prompt in found]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise DraftproofError(f"study {study.name!r}: two tasks hold a prompt {twice!r}")
    return found


def _battery_prompts(study: Study, task: StudyTask) -> list[Prompt]:
    name, given, place = task.source.partition("=")
    published = given and name == "attacks"
    battery = read_attacks(Path(place)) if published else load_battery(task.source)
    prompts = [p for p in battery.prompts if task.task in {None, p.task}][: task.limit]
    if not prompts:
        raise DraftproofError(f"task {task.name!r}: {task.source} holds no task {task.task!r}")
    if task.beginning is None:
        return prompts
    words = {p.id: task.beginning for p in prompts}
    return [p for k in study.prefill for p in begun(prompts, words, k, _cutter(study))]


def _lab_prompts(
    study: Study, task: StudyTask, folder: Path, hear: Progress
) -> list[Prompt] | None:
    """Return the lab's prompts of every seed; a later one leaves out what an earlier one asks."""
    if not task.source.startswith("lab:"):
        return None
    from tools.lab import attacks  # noqa: PLC0415 - builds the world

    # every task of a seed is about the same acts, so that tasks of any size leave the same out
    most = max(t.limit for t in study.tasks if t.source.startswith("lab:"))
    found: list[Prompt] = []
    taken: set[str] = set()
    for seed in study.seeds:
        if task.source == "lab:open":
            own = attacks.open_questions(task.limit, seed, taken)
            taken |= {p.messages[-1].content for p in own}
        else:
            own = _attacks(study, task, folder, hear, seed, taken)
            acts, _ = attacks.direct(most + study.suffix.fitted_on, seed, taken)
            taken |= {p.cluster for p in acts if p.cluster}
        found += [replace(p, id=f"{p.id}@{seed}") for p in own] if len(study.seeds) > 1 else own
    return found


def _attacks(
    study: Study, task: StudyTask, folder: Path, hear: Progress, seed: int, taken: set[str]
) -> list[Prompt]:
    from tools.lab import attacks  # noqa: PLC0415 - builds the world

    kind = task.source.removeprefix("lab:")
    prompts, guides = attacks.direct(task.limit + study.suffix.fitted_on, seed, taken)
    fitted, prompts = prompts[: study.suffix.fitted_on], prompts[study.suffix.fitted_on :]
    if taken and len(prompts) < task.limit:
        raise DraftproofError(
            f"task {task.name!r}: {len(prompts)} acts are left for seed {seed}, not {task.limit}; "
            "name fewer seeds or a lower limit"
        )
    if kind == "direct":
        return prompts
    if kind == "wrapped":
        return attacks.wrapped(prompts)
    if kind == "suffix":
        wanted = [(p.messages[-1].content, guides[p.id].split(".")[0]) for p in fitted]
        return attacks.suffixed(prompts, _suffix(study, wanted, folder, hear, seed))
    cut = _cutter(study)
    return [p for k in study.prefill for p in begun(prompts, guides, k, cut)]


def _cutter(study: Study) -> Callable[[str, int], str]:
    from draftproof.stacks import models  # noqa: PLC0415 - needs torch

    tokenizer = models.load(study.target, study.dtype, study.device).tokenizer

    def cut(text: str, tokens: int) -> str:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return str(tokenizer.decode(ids[:tokens]))

    return cut


def _suffix(
    study: Study, fitted: Sequence[tuple[str, str]], folder: Path, hear: Progress, seed: int
) -> str:
    """Return the suffix of a seed, searched once and kept in the run's directory."""
    path = folder / f"suffix-{seed}.json"
    if path.exists():
        try:
            return str(json.loads(path.read_text("utf-8"))["text"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DraftproofError(f"{path}: not a suffix; delete the file: {error}") from error
    from draftproof.defence.suffix import find_suffix  # noqa: PLC0415
    from draftproof.stacks import models  # noqa: PLC0415 - needs torch

    loaded = models.load(study.target, study.dtype, study.device)
    options = study.suffix.model_dump(exclude={"fitted_on"})
    found = find_suffix(
        loaded.model.module,
        loaded.tokenizer,
        fitted,
        progress=lambda done, total: hear("suffix search", done, total),
        **options,
    )
    beside = path.with_suffix(".part")
    told = {"seed": seed, "text": found.text, "losses": found.losses}
    beside.write_text(json.dumps(told), "utf-8")
    os.replace(beside, path)
    return found.text
