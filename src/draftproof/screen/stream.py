"""Judging two Parquet files of recorded answers that need not fit into memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from draftproof.recorded.pairs import (
    PairFiles,
    Split,
    open_pair,
    read_in_step,
    read_part,
    split_piece,
)
from draftproof.recorded.parquet import label_counts, require_unique
from draftproof.records import ArmSummary, DraftproofError, Role, Verdict
from draftproof.runs.collect import environment
from draftproof.runs.parallel import Call, Tell, Workers
from draftproof.runs.plan import Decision
from draftproof.scoring import score
from draftproof.scoring.recorded import good_labels
from draftproof.screen.arms import Conditions, recorded_arm
from draftproof.screen.comparison import judge
from draftproof.screen.counting import CountedPiece, Counting, count
from draftproof.screen.counts.arm_tally import ArmTally
from draftproof.screen.evidence import ArmEvidence
from draftproof.screen.sensitivity import leak_detection
from draftproof.screen.tally import Tally
from draftproof.screen.verdict import ScreenContext, document

LISTED = 500
"""Divergences that are listed; all are counted."""


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
        jobs: Processes; by default one a core.

    Raises:
        DraftproofError: Naming the file, the row and the field.
    """
    files = open_pair(baseline, candidate, columns)
    accepted, warnings = _good(files, columns, good, unread)
    if not everything and accepted is None:
        warnings.append("identical answers were not scored: rates and |h| leave them out")
    counting = Counting(
        names=names,
        good=accepted,
        everything=everything,
        clustered=any({"cluster", "prompt", "prompt_hash"} & c.keys() for c in files.columns),
        listed=LISTED,
        unread=frozenset(unread),
    )
    with _one_polars_thread(), Workers(jobs or os.cpu_count() or 1) as workers:
        counted = _in_step(files, counting, workers)
        if counted is None:
            counted = _by_parts(files, counting, workers)
        digests = workers.spread("digest", _digest, [(path,) for path in files.paths])
    _require_unique(files, counted)
    if not counted.met:
        one, other = (files.read(side, 0)["id"][0] for side in (0, 1))
        raise DraftproofError(
            f"the two files share no id; the first has {one!r}, the second {other!r}"
        )
    divergent = sum(counted.causes.values())
    if divergent > len(counted.listed):
        listed = len(counted.listed)
        warnings.append(f"the first {listed:,} of {divergent:,} differences are listed")
    tally = counted.tally
    evidence = ArmEvidence(
        arm=recorded_arm(names[1], Role.CANDIDATE),
        against=recorded_arm(names[0], Role.BASELINE),
        tally=tally,
        findings=counted.findings(counting),
        all_scored=everything,
        sample=counted.sample(counting),
    )
    assay = leak_detection(tally.independent(), rule)
    comparison = judge(evidence, Conditions(label=score, rule=rule, assay=assay))
    roles = (Role.BASELINE, Role.CANDIDATE)
    context = ScreenContext(
        name=f"{baseline.name} against {candidate.name}",
        summaries=[
            _summary(arm, name, role, path)
            for arm, name, role, path in zip(tally.arms, names, roles, files.paths, strict=True)
        ],
        environment={**environment(), "files": dict(zip(names, digests, strict=True))},
        warnings=warnings,
    )
    return document(rule, context, names[0], _described(tally, digests), candidates=[comparison])


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


def _in_step(files: PairFiles, counting: Counting, workers: Workers) -> CountedPiece | None:
    """Count files that hold the same ids in the same order; None where they do not."""
    total = _count_in_step(files, counting, 0)
    in_step = total is not None

    def add(_: int, piece: CountedPiece | None) -> None:
        nonlocal in_step
        in_step = in_step and piece is not None
        if in_step and total is not None and piece is not None:
            total.add(piece, counting.listed)

    if in_step:
        starts = files.starts[1:]
        calls = [Call(f"pairs from {s}", _count_in_step, (files, counting, s)) for s in starts]
        workers.do(calls, on_result=add)
    return total if in_step else None


def _count_in_step(
    files: PairFiles, counting: Counting, start: int, _: Tell = lambda progress: None
) -> CountedPiece | None:
    joined = read_in_step(files, start)
    return None if joined is None else count(joined, counting)


def _by_parts(files: PairFiles, counting: Counting, workers: Workers) -> CountedPiece:
    """Count files of different orders: split both by id on disk, then count part by part."""
    parts = len(files.starts)
    folder = Path(tempfile.mkdtemp(prefix="draftproof-"))
    total = CountedPiece()

    def add(_: int, piece: CountedPiece | None) -> None:
        if piece is not None:
            total.add(piece, counting.listed)

    try:
        pieces = [(s, at) for s in (0, 1) for at in range(0, files.rows[s], files.piece)]
        splits: tuple[list[Split], list[Split]] = ([], [])
        for side, split in workers.spread(
            "split", _split, [(files, folder, parts, side, start) for side, start in pieces]
        ):
            splits[side].append(split)
        workers.do(
            [Call(f"part {n}", _count_part, (files, splits, counting, n)) for n in range(parts)],
            on_result=add,
        )
        return total
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _split(
    files: PairFiles, folder: Path, parts: int, side: int, start: int, _: Tell
) -> tuple[int, Split]:
    return side, split_piece(files, side, start, folder, parts)


def _count_part(
    files: PairFiles,
    splits: tuple[list[Split], list[Split]],
    counting: Counting,
    part: int,
    _: Tell,
) -> CountedPiece | None:
    joined = read_part(files, splits[0], splits[1], part)
    return None if joined is None else count(joined, counting)


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
