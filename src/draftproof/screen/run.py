"""From a plan to a verdict: collect what is missing, then judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from draftproof.battery import Battery
from draftproof.files import read_json_object
from draftproof.records import ArmSummary, Completion, DraftproofError, Role, Verdict
from draftproof.runs import Plan, RunDirectory, collect
from draftproof.runs.answers import AnswerLog
from draftproof.runs.blocks import collect_blocks
from draftproof.runs.collect import Progress
from draftproof.runs.dates import answered, given_earlier
from draftproof.runs.failures import failure_sentences, frequent_errors
from draftproof.runs.manifest import Manifest
from draftproof.runs.parallel import Workers
from draftproof.runs.plan_check import require_faultless
from draftproof.runs.resume import Resume, accepted_changes
from draftproof.scoring import SCORERS
from draftproof.scoring.degeneracy import degeneracy
from draftproof.scoring.kept import Labelling, label_sentence
from draftproof.screen.counts.observed import ObservedFlips, observed_flips
from draftproof.screen.pairing import pair, remember
from draftproof.screen.sensitivity import leak_detection
from draftproof.screen.sequential import Watch
from draftproof.screen.stack_noise.asking import ask_engine
from draftproof.screen.stack_noise.run_arms import RunArms
from draftproof.screen.stack_noise.scores import RunScores
from draftproof.screen.tally import tally_pairs
from draftproof.screen.verdict import ScreenContext, judge_arms
from draftproof.stacks.spec import ArmSpec

Answers = Mapping[str, Mapping[str, Completion]]
SCORES = "scores"
"""Folder of a run directory that keeps scored positions."""


def run_plan(
    plan: Plan,
    run: RunDirectory,
    *,
    progress: Progress | None = None,
    workers: Workers | None = None,
    resume: Resume | None = None,
) -> Verdict:
    """Ask what the run has not asked yet and return the verdict on all of it.

    Args:
        plan: What is asked and of whom.
        run: Where answers are kept.
        progress: Heard after every answer, and while answers are scored.
        workers: Who answers and explains; this process alone if None, as a sequential plan asks.
        resume: How to go on with a run that there is.

    Raises:
        DraftproofError: With what to mend; answers already given are kept in the run.
    """
    if plan.stop is not None and workers is not None and workers.jobs > 1:
        raise DraftproofError(
            "stop: a sequential plan looks at all arms after every block, so they answer one after "
            f"the other in one process; leave out --jobs {workers.jobs}, or take stop out of the "
            f"plan to have {workers.jobs} processes answer the whole battery at the same time"
        )
    battery = _checked_battery(plan, run, workers.jobs if workers else 1)
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    scores = RunScores(plan.arms, battery, plan.rescore, run.path / SCORES, progress, ask_engine)
    if plan.stop is None:
        answers = collect(plan, battery, run, progress=progress, workers=workers, resume=resume)
    else:
        # a look sees answers that are not all of an arm's, so its scores are not kept
        looks = RunArms(plan, battery, RunScores(plan.arms, battery, plan.rescore))
        watch = Watch(plan, battery, looks.arm)
        answers = collect_blocks(plan, battery, run, watch.look, progress=progress, resume=resume)
    return judge_run(
        plan, battery, answers, run.manifest(), run.calibration(),
        workers=workers, begun=begun, scores=scores,
    )  # fmt: skip


def _checked_battery(plan: Plan, run: RunDirectory, jobs: int) -> Battery:
    """Return the prompts, after a look at all that the plan names and that will be asked."""
    try:
        battery = plan.load_battery()
    except DraftproofError:
        require_faultless(plan, SCORERS, jobs=jobs)  # tells everything else as well
        raise
    # a sequential screen may have ended before every prompt was asked
    enough = 1 if plan.stop is not None else len(battery.prompts)
    lacking = {a.name for a in plan.arms if len(run.log(a.name).read()) < enough}
    require_faultless(plan, SCORERS, battery=battery, arms=lacking, jobs=jobs)
    return battery


def judge_run(
    plan: Plan,
    battery: Battery,
    answers: Answers,
    manifest: Mapping[str, Any],
    calibration: Mapping[str, Any] | None = None,
    labelling: Labelling | None = None,
    workers: Workers | None = None,
    begun: str | None = None,
    scores: RunScores | None = None,
) -> Verdict:
    """Judge the answers of a run; nothing is generated but what `scores` asks again.

    Args:
        plan: The arms and the decision rule.
        battery: The prompts.
        answers: Every arm's answers by prompt id.
        manifest: The run's manifest.
        calibration: What people's labels of a sample said about the scorers, if there is any.
        labelling: Who labels in place of the scorers that the prompts name, if anybody does.
        workers: Who explains divergences; this process alone if None.
        begun: UTC time at which this command began to ask; None where it asked nothing.
        scores: Scores answers whole; by default without keeping what it finds.

    A local target is loaded to score the answers.
    """
    labelling = labelling or Labelling()
    labels = labelling.describe(answers)
    records = manifest.get("arms", {})
    scores = scores or RunScores(plan.arms, battery, plan.rescore)
    arms = RunArms(plan, battery, scores, records, workers)
    changed = accepted_changes(Manifest(manifest))
    verdict = judge_arms(
        battery,
        arms.arm(plan.baseline, answers),
        [arms.arm(spec, answers) for spec in plan.arms if spec.role is not Role.BASELINE],
        label=labelling.labeller,
        rule=plan.decision,
        context=ScreenContext(
            name=plan.name,
            summaries=[_summary(s, answers[s.name], records.get(s.name, {})) for s in plan.arms],
            environment={
                **manifest.get("environment", {}),
                "arms": {name: record.get("fingerprint") for name, record in records.items()},
            },
            plan=plan.model_dump(mode="json"),
            calibration=calibration or {},
            labels=labels,
            warnings=[
                *(one for sentences in changed.values() for one in sentences),
                *given_earlier(answers, begun),
                *failure_sentences(answers),
                *(label_sentence(one) for one in labels),
            ],
            assay=lambda sizes: leak_detection(sizes, plan.decision),
            sequential=plan.stop is not None,
            temperature=plan.temperature,
        ),
    )
    if not changed:
        return verdict
    told = f"; changed while it was asked, and accepted: {', '.join(changed)}"
    return replace(verdict, sentence=f"{verdict.sentence}{told}")


def flips_of_run(path: Path) -> dict[str, ObservedFlips]:
    """Return how often labels flipped in a run, by task: in its repeats and candidates.

    Raises:
        DraftproofError: The directory holds no run of a plan.
    """
    manifest = read_json_object(path / "manifest.json")
    if "plan" not in manifest:
        raise DraftproofError(f"{path}: its manifest holds no plan; name its two files of answers")
    plan = Plan.model_validate(manifest["plan"])
    battery = plan.load_battery()
    answers = {a.name: AnswerLog(path / "answers" / f"{a.name}.jsonl").read() for a in plan.arms}
    label = remember(Labelling().labeller)
    tallies = []
    for arm in plan.arms:
        if arm.role in {Role.NOISE, Role.CANDIDATE}:
            against = answers[arm.of or plan.baseline.name]
            joined = pair(battery.prompts, against, answers[arm.name], label)
            sampled = plan.temperature > 0
            tallies.append(tally_pairs(battery.prompts, joined, sampled=sampled).tasks)
    return observed_flips(tallies)


def _summary(
    spec: ArmSpec, answers: Mapping[str, Completion], record: Mapping[str, Any]
) -> ArmSummary:
    return ArmSummary(
        name=spec.name,
        role=spec.role,
        engine=spec.engine,
        description=spec.description(),
        answers=len(answers),
        tokens=sum(len(c.token_ids or ()) for c in answers.values()),
        seconds=record.get("seconds"),
        errors=sum(1 for c in answers.values() if c.finish_reason == "error"),
        truncated=sum(1 for c in answers.values() if c.finish_reason == "length"),
        failures=frequent_errors(answers.values()),
        answered=answered(answers),
        repeating=sum(1 for c in answers.values() if degeneracy(c) == "repetition"),
    )
