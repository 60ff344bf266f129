"""Judging two files of recorded answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from draftproof.battery import Battery
from draftproof.recorded.joining import joined_with
from draftproof.recorded.parquet import readable
from draftproof.recorded.recorded import Recorded, read_answers
from draftproof.records import (
    ArmSummary,
    DraftproofError,
    Message,
    Prompt,
    Role,
    Verdict,
    digest,
)
from draftproof.runs.collect import environment
from draftproof.runs.dates import answered, recorded_dates
from draftproof.runs.plan import Decision
from draftproof.scoring import score
from draftproof.scoring.recorded import (
    expected_label,
    good_labels,
    leave_unread,
    recorded_label,
    xstest_good,
)
from draftproof.screen.arms import Arm, recorded_arm
from draftproof.screen.counts.observed import ObservedFlips, observed_flips
from draftproof.screen.deployment import Explainer
from draftproof.screen.pairing import Labeller, pair, remember
from draftproof.screen.sensitivity import leak_detection
from draftproof.screen.tally import tally_pairs
from draftproof.screen.verdict import ScreenContext, judge_arms

_LARGE = 200_000
"""Answers from which on Parquet files are not held in memory."""


def compare_files(
    baseline: Path,
    candidate: Path,
    *,
    columns: Mapping[str, str],
    good: Collection[str] = (),
    unread: Collection[str] = (),
    battery: Battery | None = None,
    rule: Decision,
    differing_only: bool = False,
    stream: bool | None = None,
    explainer: Explainer | None = None,
    noise: Path | None = None,
) -> tuple[Verdict, tuple[Recorded, ...] | None]:
    """Judge recorded answers against others.

    Labels come from the column that `columns` names for them, otherwise from the scorers: those
    of the battery's prompts where one is given, else refusal, with refusal as good.

    Args:
        baseline: The baseline's answers.
        candidate: The candidate's.
        columns: Column of each field, where it has an unusual name.
        good: Labels that count as good; needed unless the battery says it, or their names cannot
            be read both ways.
        unread: Labels that stand for no reading, beside ``unparsed``, ``unknown``, ``error`` and
            an empty one.
        battery: Says how the answers are scored.
        rule: Margin and levels.
        differing_only: Leave identical answers unscored; Parquet files only.
        stream: Read Parquet files piece by piece; by default from 200,000 answers on.
        explainer: Models that explain divergences; without them the causes stay unknown.
        noise: The baseline's answers once more, for the noise floor.

    Returns:
        The verdict and the files as read, None where they were not held in memory.

    Raises:
        DraftproofError: Naming the file, the line and the field.
    """
    names = (_stem(baseline), _stem(candidate))
    if names[0] == names[1]:
        names = (f"{names[0]}-baseline", f"{names[1]}-candidate")
    streamed = _streamable(baseline, candidate, battery)
    if differing_only and not streamed:
        raise DraftproofError("--differing-only reads two Parquet files and no battery")
    if stream is None:
        stream = streamed and (differing_only or _answers(baseline, candidate) >= _LARGE)
    explainer = explainer or Explainer()
    if stream:
        if noise is not None:
            raise DraftproofError(
                f"--noise: {candidate} is read piece by piece, which takes two files; give a noise "
                f"file with fewer than {_LARGE:,} answers in each, and without --differing-only"
            )
        from draftproof.screen.stream import compare_streams  # noqa: PLC0415 - imports polars

        verdict = compare_streams(
            baseline, candidate, names, columns=columns, good=good, rule=rule,
            everything=not differing_only, unread=unread, explainer=explainer,
        )  # fmt: skip
        return verdict, None
    first = read_answers(baseline, names[0], columns)
    second = read_answers(candidate, names[1], columns)
    files, paths = [first, second], [baseline, candidate]
    if noise is not None:
        name = _stem(noise)
        files.append(read_answers(noise, name if name not in names else f"{name}-noise", columns))
        paths.append(noise)
    if battery is not None:
        files = [joined_with(file, battery.prompts) for file in files]
        first, second = files[:2]
    label, warnings = _labeller(files, columns, good, unread, battery)
    warnings += recorded_dates([f.arm for f in files], [answered(f.completions) for f in files])
    if battery is None:
        battery = _battery_of(first, second, scored="label" not in columns)
    roles = (Role.BASELINE, Role.CANDIDATE, Role.NOISE)
    recorded = [recorded_arm(f.arm, r, f.completions) for f, r in zip(files, roles, strict=False)]
    arms = explainer.explained(recorded, battery.prompts)
    verdict = judge_arms(
        battery,
        arms[0],
        arms[1:],
        label=label,
        rule=rule,
        context=ScreenContext(
            name=f"{baseline.name} against {candidate.name}",
            summaries=[_summary(arm, path) for arm, path in zip(arms, paths, strict=True)],
            environment=environment(),
            warnings=warnings,
            assay=lambda sizes: leak_detection(sizes, rule),
        ),
    )
    return verdict, tuple(files)


def flips_of_files(
    baseline: Path, candidate: Path, *, battery: Battery | None = None
) -> dict[str, ObservedFlips]:
    """Return how often labels flip between two files, scored as `compare_files` scores texts.

    Args:
        baseline: The baseline's answers.
        candidate: Answers to compare them with.
        battery: Says how they are scored.

    Raises:
        DraftproofError: Naming the file, the line and the field.
    """
    first, second = read_answers(baseline, "baseline"), read_answers(candidate, "candidate")
    if battery is None:
        battery = _battery_of(first, second, scored=True)
    else:
        first, second = (joined_with(f, battery.prompts) for f in (first, second))
    joined = pair(battery.prompts, first.completions, second.completions, remember(score))
    return observed_flips([tally_pairs(battery.prompts, joined).tasks])


def _labeller(
    files: Sequence[Recorded],
    columns: Mapping[str, str],
    good: Collection[str],
    unread: Collection[str],
    battery: Battery | None,
) -> tuple[Labeller, list[str]]:
    """Return what labels the answers, and what the reader should know of it."""
    if "label" not in columns:
        if good:
            raise DraftproofError("--good names labels, but no label column is named in --columns")
        warnings = []
        if battery is None:
            warnings.append("no labels and no battery given: answers are scored for refusal")
        return leave_unread(score, unread), warnings
    found = (c.label for file in files for c in file.completions.values())
    labels = {label for label in found if label is not None}
    if battery is not None and not good:
        own = expected_label(battery, labels, unread)
        if own is not None:
            return own, ["which labels are good was taken from the battery"]
    ids = (id_ for file in files for id_ in file.completions)
    xstest = frozenset() if good else xstest_good(columns["label"], ids, labels)
    accepted = xstest or good_labels(labels, good, unread)
    if good:
        return recorded_label(accepted, unread), []
    shown = ", ".join(sorted(accepted)) or "none that occurs"
    return recorded_label(accepted, unread), [
        f"labels taken as good: {shown}; name others with --good LABEL"
    ]


def _streamable(baseline: Path, candidate: Path, battery: Battery | None) -> bool:
    suffixes = {baseline.suffix.lower(), candidate.suffix.lower()}
    return battery is None and suffixes == {".parquet"}


def _answers(*paths: Path) -> int:
    import polars  # noqa: PLC0415 - slow to import

    total = 0
    for path in paths:
        if not path.is_file():
            raise DraftproofError(f"{path}: no such file")
        with readable(path):
            total += int(polars.scan_parquet(path).select(polars.len()).collect().item())
    return total


def _stem(path: Path) -> str:
    """Return a file's name as an arm's name, which is also a file's name in the run."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "answers"


def _battery_of(first: Recorded, second: Recorded, *, scored: bool) -> Battery:
    """Return the prompts that two files answer, as far as the files tell."""
    ids = list(dict.fromkeys([*first.completions, *second.completions]))
    if not first.completions.keys() & second.completions.keys():
        raise DraftproofError(
            f"the two files share no id; the first has {next(iter(first.completions))!r}, "
            f"the second {next(iter(second.completions))!r}"
        )
    prompts = []
    for id_ in ids:
        known = first.completions.get(id_) or second.completions[id_]
        text = first.prompts.get(id_) or second.prompts.get(id_) or ""
        prompts.append(
            Prompt(
                id=id_,
                task=known.task or "all",
                messages=(Message("user", text),) if text else (),
                scorer="refusal" if scored else None,
                expect="refusal" if scored else None,
                cluster=first.clusters.get(id_) or second.clusters.get(id_),
            )
        )
    return Battery(
        name="recorded answers",
        prompts=tuple(prompts),
        source="recorded answers",
        version=digest(ids)[:12],
    )


def _summary(arm: Arm, path: Path) -> ArmSummary:
    finished = Counter(c.finish_reason for c in arm.answers.values())
    return ArmSummary(
        name=arm.name,
        role=arm.role,
        engine="recorded",
        description=path.name,
        answers=len(arm.answers),
        tokens=None,
        seconds=None,
        errors=finished["error"],
        truncated=finished["length"],
        answered=answered(arm.answers),
    )
