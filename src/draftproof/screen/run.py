"""From a plan to a verdict: collect what is missing, then judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from draftproof.battery import Battery
from draftproof.files import read_json_object
from draftproof.records import ArmSummary, Completion, DraftproofError, Role, Verdict
from draftproof.rescoring.rescorer import Rescorer
from draftproof.runs import Plan, RunDirectory, collect
from draftproof.runs.answers import AnswerLog
from draftproof.runs.blocks import collect_blocks
from draftproof.runs.collect import Progress
from draftproof.runs.failures import failure_sentences, frequent_errors
from draftproof.runs.manifest import Manifest
from draftproof.runs.parallel import Workers
from draftproof.runs.plan_check import require_faultless
from draftproof.runs.resume import Resume, accepted_changes
from draftproof.scoring import SCORERS
from draftproof.scoring.degeneracy import degeneracy
from draftproof.scoring.kept import Labelling, label_sentence
from draftproof.screen.arms import Arm
from draftproof.screen.counts.observed import ObservedFlips, observed_flips
from draftproof.screen.deployment import (
    law_test,
    lossy,
    replayer,
    rescorer_of,
    untested,
)
from draftproof.screen.pairing import pair, remember
from draftproof.screen.sensitivity import leak_detection
from draftproof.screen.sequential import Watch
from draftproof.screen.tally import tally_pairs
from draftproof.screen.verdict import ScreenContext, judge_arms
from draftproof.stacks.spec import ArmSpec

Answers = Mapping[str, Mapping[str, Completion]]


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
        progress: Heard after every answer.
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
    if plan.stop is None:
        answers = collect(plan, battery, run, progress=progress, workers=workers, resume=resume)
        return judge_run(
            plan, battery, answers, run.manifest(), run.calibration(), workers=workers, begun=begun
        )
    watch = Watch(plan, battery, rescorers(plan, battery))
    answers = collect_blocks(plan, battery, run, watch.look, progress=progress, resume=resume)
    return judge_run(plan, battery, answers, run.manifest(), run.calibration(), begun=begun)


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
) -> Verdict:
    """Judge the answers of a run; nothing is generated.

    Args:
        plan: The arms and the decision rule.
        battery: The prompts.
        answers: Every arm's answers by prompt id.
        manifest: The run's manifest.
        calibration: What people's labels of a sample said about the scorers, if there is any.
        labelling: Who labels in place of the scorers that the prompts name, if anybody does.
        workers: Who explains divergences; this process alone if None.
        begun: UTC time at which this command began to ask; None where it asked nothing.

    A local target is loaded if there are divergences to explain.
    """
    labelling = labelling or Labelling()
    labels = labelling.describe(answers)
    baseline = plan.baseline
    records = manifest.get("arms", {})
    makers = rescorers(plan, battery, workers)

    def arm(spec: ArmSpec) -> Arm:
        record = records.get(spec.name, {})
        promise = (record.get("fingerprint") or {}).get("promise")
        return Arm(
            name=spec.name,
            role=spec.role,
            answers=answers[spec.name],
            speculative=spec.speculative,
            # the target alone cannot say what a rule that changes the target distribution would
            # have chosen
            rescorer=lambda: None if _repeats_steered(spec) else makers[spec.name](answers),
            counters=record.get("counters"),
            of=spec.of,
            promise=promise,
            lossy=lossy(plan, spec, promise),
            law=law_test(plan, spec, battery),
            replayer=replayer(plan, spec, workers),
            declared=spec.model_dump(mode="json"),
            untested=untested(plan, spec),
        )

    changed = accepted_changes(Manifest(manifest))
    verdict = judge_arms(
        battery,
        arm(baseline),
        [arm(spec) for spec in plan.arms if spec.role is not Role.BASELINE],
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
                *given_earlier(plan, answers, begun),
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


def given_earlier(plan: Plan, answers: Answers, begun: str | None) -> list[str]:
    """Return a sentence an arm of whose answers some were given before this command began.

    Args:
        plan: The arms.
        answers: Their answers; those of version 0.1.0 have no time.
        begun: UTC time of the beginning; None where nothing was asked.
    """
    said = []
    for arm in plan.arms:
        times = [c.answered_at for c in answers[arm.name].values()]
        before = [t for t in times if begun is None or t is None or t < begun]
        if not before:
            continue
        known = sorted(t for t in before if t is not None)
        first, last = (known[0][:16], known[-1][:16]) if known else ("", "")
        when = f"on {first.replace('T', ' ')} to {last.replace('T', ' ')} UTC"
        when = when if len(known) == len(before) else "at a time that was not recorded for all"
        if len(before) == len(times):
            said.append(f"answers of {arm.name!r} were given {when}; this command asked it nothing")
        else:
            said.append(
                f"{len(before)} of {len(times)} answers of {arm.name!r} were given {when}; "
                "this command asked for the others"
            )
    return said


def _repeats_steered(spec: ArmSpec) -> bool:
    return spec.steered and spec.role in {Role.VARIANT, Role.NOISE}


def rescorers(
    plan: Plan, battery: Battery, workers: Workers | None = None
) -> dict[str, Callable[[Answers], Rescorer | None]]:
    """Return for every arm what makes, of the answers there are, what explains its divergences.

    A control may leak through another engine; the target that judges it is its own.
    """
    prompts = {p.id: p for p in battery.prompts}
    made: dict[str, Rescorer | None] = {}

    def maker(spec: ArmSpec) -> Callable[[Answers], Rescorer | None]:
        def make(answers: Answers) -> Rescorer | None:
            if spec.name not in made:
                given = answers[plan.baseline.name]
                sample = [given[p.id] for p in battery.prompts if p.id in given]
                made[spec.name] = rescorer_of(spec, plan.rescore, prompts, sample, workers)
            return made[spec.name]

        return make

    return {spec.name: maker(spec) for spec in plan.arms}


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
        repeating=sum(1 for c in answers.values() if degeneracy(c) == "repetition"),
    )
