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
)
from draftproof.defence.run import Collected, time_ratio
from draftproof.defence.study import Study
from draftproof.records import Completion, Prompt
from draftproof.scoring.degeneracy import degeneracy

_EXAMPLES = 1
"""Answers shown of each task and arm with modes: the first, so that nobody has chosen them."""


def judge_study(study: Study, found: Collected, folder: Path) -> DefenceStudy:
    """Return what the answers of a study mean; nothing is generated."""
    cells = [
        _cell(arm.name, role, task, [p for r, p in found.prompts if (r, p.task) == (role, task)],
              found.answers[arm.name])
        for arm in study.arms
        for role, task in dict.fromkeys((r, p.task) for r, p in found.prompts)
    ]  # fmt: skip
    arms = [_arm(study, found, arm.name, cells) for arm in study.arms]
    suffixes = [folder / f"suffix-{seed}.json" for seed in study.seeds]
    return DefenceStudy(
        name=study.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        draftproof_version=__version__,
        arms=tuple(arms),
        cells=tuple(cells),
        contrasts=tuple(contrasts(study, found)),
        examples=tuple(_examples(study, found)),
        study=study.model_dump(mode="json"),
        environment=dict(found.manifest["environment"]),
        suffixes=tuple(json.loads(s.read_text("utf-8")) for s in suffixes if s.exists()),
        seconds={n: round(r["seconds"], 2) for n, r in found.manifest["arms"].items()},
    )


def _cell(
    arm: str, role: str, task: str, prompts: Sequence[Prompt], answers: Mapping[str, Completion]
) -> DefenceCell:
    given = [(p, answers[p.id]) for p in prompts if p.id in answers]
    refusals = Counter(refusal(c) for _, c in given)
    harms = Counter(harm(p, c) for p, c in given) if role == "attack" else Counter()
    judged = role == "attack" and harms["unparsed"] < len(given)
    right = [correct(p, c) for p, c in given] if role == "utility" else []
    modes = "".join(c.modes or "" for _, c in given)
    letters = Counter("".join(c.provenance or "" for _, c in given))
    return DefenceCell(
        arm=arm,
        task=task,
        role=role,
        n=len(given),
        refused=refusals["refusal"],
        partly=refusals["partial"],
        unread=right.count(None) + refusals["error"],
        fulfilled=harms["fulfilled"] if judged else None,
        leaked=harms["partial"] if judged else None,
        correct=right.count(True) if role == "utility" else None,
        degenerate=dict(Counter(kind for _, c in given if (kind := degeneracy(c)))),
        tokens=sum(len(c.token_ids or ()) for _, c in given),
        in_union=modes.count("2") if modes else None,
        matched=letters["d"],
        verified=letters["d"] + letters["c"],
    )


def _arm(study: Study, found: Collected, name: str, cells: Sequence[DefenceCell]) -> DefenceArm:
    spec = next(a for a in study.arms if a.name == name)
    own = [c for c in cells if c.arm == name]
    verified = sum(c.verified for c in own)
    steered = spec.kind == "ssd"
    tokens, n = sum(c.tokens for c in own), sum(c.n for c in own)
    seconds = found.seconds_a_token
    options = ", ".join(f"{k}={v}" for k, v in spec.options.items())
    return DefenceArm(
        name=name,
        kind=spec.kind,
        description="with a reminder in front" if spec.system else options,
        time_ratio=time_ratio(seconds, name, study.arms[0].name),
        tokens_per_second=1 / median(seconds[name]),
        match_rate=sum(c.matched for c in own) / verified if verified and steered else None,
        union_share=sum(c.in_union or 0 for c in own) / tokens if steered and tokens else None,
        degenerate=sum(sum(c.degenerate.values()) for c in own),
        mean_tokens=tokens / n if n else math.nan,
    )


def _examples(study: Study, found: Collected) -> list[DefenceExample]:
    shown = []
    seen: Counter[tuple[str, str]] = Counter()
    for arm in study.arms:
        for role, prompt in found.prompts:
            completion = found.answers[arm.name].get(prompt.id)
            if arm.kind != "ssd" or role == "over_refusal" or completion is None:
                continue
            seen[arm.name, prompt.task] += 1
            if seen[arm.name, prompt.task] > _EXAMPLES:
                continue
            shown.append(
                DefenceExample(
                    arm=arm.name,
                    task=prompt.task,
                    asked=prompt.messages[-1].content,
                    given=prompt.prefill,
                    answer=completion.text,
                    modes=completion.modes or "",
                    trace=found.trace(arm.name, completion),
                )
            )
    return shown
