"""What a study asks: the shipped attacks and questions, batteries, and published attack files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from draftproof.battery import load_battery
from draftproof.battery.attacks import begun, read_attacks
from draftproof.defence import attacks
from draftproof.defence.frozen import Draw, act_words, draw_attacks, draw_questions
from draftproof.defence.study import Study, StudyTask
from draftproof.records import DraftproofError, Prompt

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how far it is and how far it will go."""


def study_prompts(study: Study, folder: Path, on_progress: Progress) -> list[tuple[str, Prompt]]:
    """Return what is asked, each prompt with the role of its task.

    Args:
        study: its tasks, and the seeds of the shipped ones.
        folder: run directory; the suffixes that were searched are kept in it.
        on_progress: hears how far the search of a suffix is.

    Raises:
        DraftproofError: A source cannot be read, holds too few prompts, or two tasks share one.
    """
    prompts_with_roles: list[tuple[str, Prompt]] = []
    for task in study.tasks:
        if task.source.startswith("lab:"):
            prompts = _shipped_prompts(study, task, folder, on_progress)
        else:
            prompts = _battery_prompts(study, task)
        prompts_with_roles += [(task.role, prompt) for prompt in prompts]
    ids = [prompt.id for _, prompt in prompts_with_roles]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise DraftproofError(f"study {study.name!r}: two tasks hold a prompt {twice!r}")
    return prompts_with_roles


def _battery_prompts(study: Study, task: StudyTask) -> list[Prompt]:
    kind, equals, path = task.source.partition("=")
    published = equals and kind == "attacks"
    battery = read_attacks(Path(path)) if published else load_battery(task.source)
    prompts = [p for p in battery.prompts if task.task in {None, p.task}][: task.limit]
    if not prompts:
        raise DraftproofError(f"task {task.name!r}: {task.source} holds no task {task.task!r}")
    if task.beginning is None:
        return prompts
    beginnings = {p.id: task.beginning for p in prompts}
    return [p for k in study.prefill for p in begun(prompts, beginnings, k, _cutter(study))]


def _shipped_prompts(
    study: Study, task: StudyTask, folder: Path, on_progress: Progress
) -> list[Prompt]:
    """Return the prompts of every seed; a later one leaves out what an earlier one asks."""
    # every task of a seed is about the same acts, so that tasks of any size leave the same out
    most = max(t.limit for t in study.tasks if t.source.startswith("lab:"))
    prompts: list[Prompt] = []
    taken: set[str] = set()
    for place, seed in enumerate(study.seeds):
        seeds = study.seeds[: place + 1]
        if task.source == "lab:open":
            questions = draw_questions(Draw(seeds, task.limit), taken)
            of_seed = attacks.open_prompts(questions)
            taken |= {question.question for question in questions}
        else:
            of_seed = _attacks(study, task, folder, on_progress, seeds, taken)
            drawn = draw_attacks(Draw(seeds, most + study.suffix.fitted_on), taken)
            taken |= {attack.act for attack in drawn}
        if len(study.seeds) > 1:
            of_seed = [replace(p, id=f"{p.id}@{seed}") for p in of_seed]
        prompts += of_seed
    return prompts


def _attacks(
    study: Study,
    task: StudyTask,
    folder: Path,
    on_progress: Progress,
    seeds: tuple[int, ...],
    taken: set[str],
) -> list[Prompt]:
    kind, fitted_on = task.source.removeprefix("lab:"), study.suffix.fitted_on
    drawn = draw_attacks(Draw(seeds, task.limit + fitted_on), taken)
    prompts, guides = attacks.direct(drawn)
    prompts = prompts[fitted_on:]
    if taken and len(prompts) < task.limit:
        raise DraftproofError(
            f"task {task.name!r}: {len(prompts)} acts are left for seed {seeds[-1]}, not "
            f"{task.limit}; name fewer seeds or a lower limit"
        )
    if kind == "direct":
        return prompts
    if kind == "wrapped":
        return attacks.wrapped(prompts)
    if kind == "suffix":
        fitted = [(a.request, a.guide.split(".")[0]) for a in drawn[:fitted_on]]
        return attacks.suffixed(prompts, _suffix(study, fitted, folder, on_progress, seeds[-1]))
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
    study: Study, fitted: Sequence[tuple[str, str]], folder: Path, on_progress: Progress, seed: int
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
    suffix = find_suffix(
        loaded.model.module,
        loaded.tokenizer,
        fitted,
        avoid=act_words(),
        progress=lambda done, total: on_progress("suffix search", done, total),
        **options,
    )
    beside = path.with_suffix(".part")
    document = {"seed": seed, "text": suffix.text, "losses": suffix.losses}
    beside.write_text(json.dumps(document), "utf-8")
    os.replace(beside, path)
    return suffix.text
