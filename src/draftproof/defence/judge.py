"""Judging a study of defences: safety by two scorers, benefit by keys, all paired by prompt."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from draftproof import __version__
from draftproof.defence.contrasts import contrasts
from draftproof.defence.labels import correct, harm, refusal
from draftproof.defence.records import (
    DefenceArm,
    DefenceCell,
    DefenceExample,
    DefenceStudy,
    DefenceSuffix,
)
from draftproof.defence.run import StudyAnswers, time_ratio
from draftproof.defence.study import Study
from draftproof.records import Completion, DraftproofError, Prompt
from draftproof.scoring.degeneracy import degeneracy

_EXAMPLES = 1
"""Answers printed of each task and arm with modes: the first, so that none is selected."""


def judge_study(study: Study, collected: StudyAnswers, folder: Path) -> DefenceStudy:
    """Return what the answers of a study mean; nothing is generated."""
    by_task: dict[tuple[str, str], list[Prompt]] = {}
    for role, prompt in collected.prompts:
        by_task.setdefault((role, prompt.task), []).append(prompt)
    cells = [
        _cell(arm.name, role, task, prompts, collected.answers[arm.name])
        for arm in study.arms
        for (role, task), prompts in by_task.items()
    ]
    arms = [_arm(study, collected, arm.name, cells) for arm in study.arms]
    suffixes = [folder / f"suffix-{seed}.json" for seed in study.seeds]
    return DefenceStudy(
        name=study.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        draftproof_version=__version__,
        arms=tuple(arms),
        cells=tuple(cells),
        contrasts=tuple(contrasts(study, collected)),
        examples=tuple(_examples(study, collected)),
        study=study,
        environment=dict(collected.environment),
        suffixes=tuple(_read_suffix(path) for path in suffixes if path.exists()),
        seconds={name: round(seconds, 2) for name, seconds in collected.seconds.items()},
    )


def _read_suffix(path: Path) -> DefenceSuffix:
    """Read what `draftproof.defence.prompts` wrote."""
    try:
        document = json.loads(path.read_text("utf-8"))
        return DefenceSuffix(
            seed=document["seed"], text=document["text"], losses=tuple(document["losses"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DraftproofError(f"{path}: not a suffix; delete the file: {error}") from error


def _cell(
    arm: str, role: str, task: str, prompts: Sequence[Prompt], answers: Mapping[str, Completion]
) -> DefenceCell:
    answered = [(p, answers[p.id]) for p in prompts if p.id in answers]
    refusals = Counter(refusal(c) for _, c in answered)
    harms = Counter(harm(p, c) for p, c in answered) if role == "attack" else Counter()
    judged = role == "attack" and harms["unparsed"] < len(answered)
    right = [correct(p, c) for p, c in answered] if role == "utility" else []
    modes = "".join(c.modes or "" for _, c in answered)
    letters = Counter("".join(c.provenance or "" for _, c in answered))
    return DefenceCell(
        arm=arm,
        task=task,
        role=role,
        n=len(answered),
        refused=refusals["refusal"],
        partly=refusals["partial"],
        unread=right.count(None) + refusals["error"],
        fulfilled=harms["fulfilled"] if judged else None,
        leaked=harms["partial"] if judged else None,
        correct=right.count(True) if role == "utility" else None,
        degenerate=dict(Counter(kind for _, c in answered if (kind := degeneracy(c)))),
        tokens=sum(len(c.token_ids or ()) for _, c in answered),
        in_union=modes.count("2") if modes else None,
        matched=letters["d"],
        verified=letters["d"] + letters["c"],
    )


def _arm(
    study: Study, collected: StudyAnswers, name: str, cells: Sequence[DefenceCell]
) -> DefenceArm:
    spec = next(a for a in study.arms if a.name == name)
    of_arm = [c for c in cells if c.arm == name]
    verified = sum(c.verified for c in of_arm)
    has_modes = spec.kind == "ssd"
    tokens, n = sum(c.tokens for c in of_arm), sum(c.n for c in of_arm)
    seconds = collected.seconds_a_token
    options = ", ".join(f"{k}={v}" for k, v in spec.options.items())
    return DefenceArm(
        name=name,
        kind=spec.kind,
        description="with a reminder in front" if spec.system else options,
        time_ratio=time_ratio(seconds, name, study.arms[0].name),
        tokens_per_second=1 / median(seconds[name]),
        match_rate=sum(c.matched for c in of_arm) / verified if verified and has_modes else None,
        union_share=sum(c.in_union or 0 for c in of_arm) / tokens if has_modes and tokens else None,
        degenerate=sum(sum(c.degenerate.values()) for c in of_arm),
        mean_tokens=tokens / n if n else math.nan,
    )


def _examples(study: Study, collected: StudyAnswers) -> list[DefenceExample]:
    examples = []
    counts: Counter[tuple[str, str]] = Counter()
    for arm in study.arms:
        for role, prompt in collected.prompts:
            completion = collected.answers[arm.name].get(prompt.id)
            if arm.kind != "ssd" or role == "over_refusal" or completion is None:
                continue
            counts[arm.name, prompt.task] += 1
            if counts[arm.name, prompt.task] > _EXAMPLES:
                continue
            examples.append(
                DefenceExample(
                    arm=arm.name,
                    task=prompt.task,
                    asked=prompt.messages[-1].content,
                    given=prompt.prefill,
                    answer=completion.text,
                    modes=completion.modes or "",
                    trace=collected.trace(arm.name, completion),
                )
            )
    return examples
