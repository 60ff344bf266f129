"""Judging two Parquet files of recorded answers that need not fit into memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from draftproof.recorded.pairs import PairFiles, open_pair
from draftproof.recorded.parquet import label_counts, prompts_of, require_unique, times_of
from draftproof.records import (
    ArmSummary,
    DraftproofError,
    Message,
    Pair,
    Prompt,
    Role,
    Verdict,
)
from draftproof.runs.collect import environment
from draftproof.runs.dates import recorded_dates, span
from draftproof.runs.parallel import Tell, Workers
from draftproof.runs.plan import Decision
from draftproof.scoring import score
from draftproof.scoring.recorded import good_labels
from draftproof.screen.arms import Arm, Conditions, recorded_arm
from draftproof.screen.comparison import judge
from draftproof.screen.counting import CountedPiece, Counting
from draftproof.screen.counts.arm_tally import ArmTally
from draftproof.screen.counts.in_pieces import count_files
from draftproof.screen.deployment import Explainer
from draftproof.screen.evidence import ArmEvidence, Findings, find
from draftproof.screen.pairing import Pairing
from draftproof.screen.sensitivity import leak_detection
from draftproof.screen.tally import Tally
from draftproof.screen.verdict import ScreenContext, document

LISTED = 500
"""Divergences that are listed; all are counted."""
EXPLAINED = 2_000
"""Divergences that models explain, where there are any; those beyond stay unexplained."""


def compare_streams(
    baseline: Path,
    candidate: Path,
    names: tuple[str, str],
    *,
    columns: Mapping[str, str],
    good: Collection[str],
    rule: Decision,
    everything: bool = True,
    unread: Collection[str] = (),
    explainer: Explainer | None = None,
    jobs: int | None = None,
) -> Verdict:
    """Judge one Parquet file of answers against another, a piece at a time.

    Labels come from the column that `columns` names for them, otherwise answers are scored for
    refusal, with refusal as good.

    Args:
        baseline: The baseline's answers.
        candidate: The candidate's.
        names: Of the arms.
        columns: Column of each field, where it has an unusual name.
        good: Labels that count as good; needed unless their names cannot be read both ways.
        rule: Margin and levels.
        everything: Score identical answers as well. Without it they have no label, and rates and
            |h| are those of the answers that differ; the decision is the same.
        unread: Labels that stand for no reading, beside the usual ones.
        explainer: Models that explain the listed divergences; the others stay unexplained.
        jobs: Processes; by default one a core.

    Raises:
        DraftproofError: Naming the file, the row and the field.
    """
    files = open_pair(baseline, candidate, columns)
    explainer = explainer or Explainer()
    accepted, warnings = _good(files, columns, good, unread)
    if not everything and accepted is None:
        warnings.append("identical answers were not scored: rates and |h| leave them out")
    counting = Counting(
        names=names,
        good=accepted,
        everything=everything,
        clustered=any({"cluster", "prompt", "prompt_hash"} & c.keys() for c in files.columns),
        listed=EXPLAINED if explainer.ready else LISTED,
        unread=frozenset(unread),
    )
    with _one_polars_thread(), Workers(jobs or os.cpu_count() or 1) as workers:
        counted = count_files(files, counting, workers)
        digests = workers.spread("digest", _digest, [(path,) for path in files.paths])
    _require_unique(files, counted)
    if not counted.met:
        one, other = (files.read(side, 0)["id"][0] for side in (0, 1))
        raise DraftproofError(
            f"the two files share no id; the first has {one!r}, the second {other!r}"
        )
    spans = [span(times_of(path)) for path in files.paths]
    warnings += recorded_dates(names, spans)
    divergent = sum(counted.causes.values())
    if divergent > len(counted.listed):
        listed = len(counted.listed)
        warnings.append(
            f"the first {listed:,} of {divergent:,} differences are "
            + ("explained and listed, the others unexplained" if explainer.ready else "listed")
        )
    tally = counted.tally
    assay = leak_detection(tally.independent(), rule)
    conditions = Conditions(label=score, rule=rule, assay=assay, clean=names[:1])
    sample = counted.sample(counting)
    listed_pairs = counted.listed_pairs(counting)
    arms = [recorded_arm(names[0], Role.BASELINE), recorded_arm(names[1], Role.CANDIDATE)]
    if explainer.ready:
        asked = _asked(files, {p.prompt.id for p in (*listed_pairs.pairs, *sample)})
        listed_pairs = replace(listed_pairs, pairs=_with_prompts(listed_pairs.pairs, asked))
        sample = _with_prompts(sample, asked)
        seen = {p.prompt.id: p for p in (*listed_pairs.pairs, *sample)}
        held = [
            replace(arms[0], answers={i: p.baseline for i, p in seen.items()}),
            replace(arms[1], answers={i: p.candidate for i, p in seen.items()}),
        ]
        arms = explainer.explained(held, [p.prompt for p in seen.values()])
    evidence = ArmEvidence(
        arm=arms[1],
        against=arms[0],
        tally=tally,
        findings=_findings(counted, listed_pairs, arms[1], conditions),
        all_scored=everything,
        sample=sample,
    )
    comparison = judge(evidence, conditions)
    roles = (Role.BASELINE, Role.CANDIDATE)
    context = ScreenContext(
        name=f"{baseline.name} against {candidate.name}",
        summaries=[
            replace(_summary(arm, name, role, path), answered=given)
            for arm, name, role, path, given in zip(
                tally.arms, names, roles, files.paths, spans, strict=True
            )
        ],
        environment={**environment(), "files": dict(zip(names, digests, strict=True))},
        warnings=warnings,
    )
    return document(rule, context, names[0], _described(tally, digests), candidates=[comparison])


def _findings(counted: CountedPiece, listed: Pairing, arm: Arm, conditions: Conditions) -> Findings:
    """Return why pairs differ: as `find` says of the listed ones, all others without a model."""
    found = find(listed, arm, conditions)
    blind = find(listed, recorded_arm(arm.name, arm.role), conditions)
    divergent = sum(counted.causes.values())
    return replace(
        found,
        causes=counted.causes - blind.causes + found.causes,
        explained=found.explained and len(found.divergences) == divergent,
    )


def _asked(files: PairFiles, ids: Collection[str]) -> dict[str, str]:
    """Return the prompts of some ids, from whichever file has them."""
    asked: dict[str, str] = {}
    for path, columns in zip(files.paths, files.columns, strict=True):
        if "prompt" in columns:
            asked = prompts_of(path, columns, ids) | asked
    return asked


def _with_prompts(pairs: Collection[Pair], asked: Mapping[str, str]) -> tuple[Pair, ...]:
    def known(prompt: Prompt) -> Prompt:
        text = asked.get(prompt.id)
        return replace(prompt, messages=(Message("user", text),)) if text else prompt

    return tuple(replace(p, prompt=known(p.prompt)) for p in pairs)


def _good(
    files: PairFiles,
    columns: Mapping[str, str],
    named: Collection[str],
    unread: Collection[str],
) -> tuple[frozenset[str] | None, list[str]]:
    """Return the labels that count as good, None where the texts are scored, and warnings."""
    if "label" not in columns:
        if named:
            raise DraftproofError("--good names labels, but no label column is named in --columns")
        return None, ["no labels and no battery given: answers are scored for refusal"]
    present = [label_counts(p, c["label"]) for p, c in zip(files.paths, files.columns, strict=True)]
    accepted = good_labels(set().union(*present), named, unread)
    if named:
        return accepted, []
    shown = ", ".join(sorted(accepted))
    return accepted, [f"labels taken as good: {shown}; name others with --good LABEL"]


@contextmanager
def _one_polars_thread() -> Iterator[None]:
    """Have worker processes compute in one thread each: the processes are the parallelism."""
    before = os.environ.get("POLARS_MAX_THREADS")
    # read when a worker imports polars
    os.environ["POLARS_MAX_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["POLARS_MAX_THREADS"]
        else:
            os.environ["POLARS_MAX_THREADS"] = before


def _require_unique(files: PairFiles, counted: CountedPiece) -> None:
    """Raise unless every id occurs once in its file.

    Ids are told apart by 64 bits of a digest. Two of ten million share them in one of 370,000
    files; whether it was the ids is looked up then.
    """
    for path, columns, digests in zip(files.paths, files.columns, counted.ids, strict=True):
        ids = np.sort(np.concatenate(digests)) if digests else np.empty(0, np.uint64)
        if np.any(ids[1:] == ids[:-1]):
            require_unique(path, columns["id"])


def _digest(path: Path, _: Tell) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _described(tally: Tally, digests: list[str]) -> dict[str, object]:
    whole = hashlib.sha256("".join(digests).encode()).hexdigest()
    return {
        "name": "recorded answers",
        "source": "recorded answers",
        "version": whole[:12],
        "licence": "unknown",
        "digest": whole,
        "prompts": sum(task.prompts for task in tally.tasks.values()),
        "withheld": 0,
        "skipped": 0,
        "tasks": {
            name: {"n": task.prompts, "gated": True} for name, task in tally.in_order().items()
        },
    }


def _summary(arm: ArmTally, name: str, role: Role, path: Path) -> ArmSummary:
    return ArmSummary(
        name=name,
        role=role,
        engine="recorded",
        description=path.name,
        answers=arm.answers,
        tokens=None,
        seconds=None,
        errors=arm.errors,
        truncated=arm.truncated,
    )
