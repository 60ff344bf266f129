"""Asking in blocks: all arms answer a few prompts, then a look decides whether asking goes on.

Prompts come in random order within their task, variants of one behaviour together, so that what
was asked when asking ends is a random sample of the task. The same command resumes: blocks whose
answers are recorded are looked at again and not asked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from draftproof.battery import Battery
from draftproof.records import Completion, Prompt, digest
from draftproof.runs.collect import Progress, dated, in_order, open_run, record_ended
from draftproof.runs.directory import RunDirectory
from draftproof.runs.identity import Known
from draftproof.runs.parts import EndedPart, RunningPart
from draftproof.runs.plan import Plan, StopRule
from draftproof.runs.resume import Resume, check_ends, noise_rate
from draftproof.stacks import Engine, make_engine
from draftproof.stacks.spec import ArmSpec

Answers = Mapping[str, Mapping[str, Completion]]


@dataclass(frozen=True, slots=True)
class Open:
    """What is still to be asked.

    Attributes:
        arms: Names of the arms that go on.
        tasks: Tasks whose prompts they are asked.
    """

    arms: frozenset[str]
    tasks: frozenset[str]


Look = Callable[[Answers], Open]
"""Sees every answer there is and says what goes on; no arm or no task ends the asking."""


def blocks(battery: Battery, rule: StopRule) -> Iterator[dict[str, list[Prompt]]]:
    """Yield blocks of prompts by task, in the order of asking."""
    units: dict[str, dict[str, list[Prompt]]] = {}
    for prompt in battery.prompts:
        clusters = units.setdefault(prompt.task, {})
        clusters.setdefault(prompt.cluster or prompt.id, []).append(prompt)
    orders = {
        task: [
            clusters[name] for name in sorted(clusters, key=lambda n: digest([rule.seed, task, n]))
        ]
        for task, clusters in units.items()
    }
    longest = max(len(order) for order in orders.values())
    for start in range(0, longest, rule.block):
        part = {
            task: [p for unit in order[start : start + rule.block] for p in unit]
            for task, order in orders.items()
        }
        yield {task: prompts for task, prompts in part.items() if prompts}


def collect_blocks(
    plan: Plan,
    battery: Battery,
    run: RunDirectory,
    look: Look,
    *,
    progress: Progress | None = None,
    engine_of: Callable[[ArmSpec], Engine] | None = None,
    resume: Resume | None = None,
) -> dict[str, dict[str, Completion]]:
    """Return every arm's answers by prompt id, having asked no more than `look` wanted.

    Args:
        plan: The arms and the stop rule.
        battery: The prompts, as `Plan.load_battery` returns them.
        run: Where answers are read from and appended to.
        look: Called after every block.
        progress: Called after every answer.
        engine_of: Makes an arm's engine, in place of `make_engine`.
        resume: How to go on with a run that there is.

    Raises:
        DraftproofError: The directory holds another run, an arm has changed, or an engine
            fails.
    """
    rule, resume = plan.stop or StopRule(), resume or Resume()
    manifest = open_run(plan, battery, run, resume, engine_of)
    noise = noise_rate(plan, run)
    answers = {arm.name: run.log(arm.name).read() for arm in plan.arms}
    known = {a.name: Known.of(manifest.record(a.name), noise) for a in plan.arms}
    sessions = {a.name: _ArmSession(a, battery, run, engine_of, known[a.name]) for a in plan.arms}
    on_progress = progress or (lambda arm, done, total: None)
    going = Open(frozenset(answers), frozenset(battery.tasks))
    for block in blocks(battery, rule):
        wanted = [p for task, prompts in block.items() if task in going.tasks for p in prompts]
        for arm in plan.arms:
            if arm.name in going.arms:
                sessions[arm.name].ask(wanted, answers[arm.name], on_progress)
        going = look(answers)
        if not going.arms or not going.tasks:
            break
    for session in sessions.values():
        if session.generated:
            record_ended(manifest, run, session.end())
    check_ends(plan, run, manifest, resume)
    return answers


class _ArmSession:
    """One arm that answers block after block with an engine that stays open."""

    def __init__(
        self,
        spec: ArmSpec,
        battery: Battery,
        run: RunDirectory,
        engine_of: Callable[[ArmSpec], Engine] | None,
        known: Known,
    ) -> None:
        self._known = known
        self._part: RunningPart | None = None
        self._spec, self._battery, self._run = spec, battery, run
        self._make = engine_of or (lambda s: make_engine(s, run.path / "logs"))
        self._engine: Engine | None = None
        self._seconds = 0.0
        self.generated = 0

    def ask(
        self, prompts: Sequence[Prompt], known: dict[str, Completion], progress: Progress
    ) -> None:
        """Answer those of `prompts` that are not in `known`, which is added to."""
        waiting = [p for p in in_order(self._spec, prompts) if p.id not in known]
        if not waiting:
            return
        engine, part = self._opened()
        log = self._run.log(self._spec.name)
        start = time.perf_counter()
        for completion in engine.answer(waiting):
            part.keep(completion)
            known[completion.id] = log.append(dated(completion))
            self.generated += 1
            progress(self._spec.name, len(known), len(self._battery.prompts))
        self._seconds += time.perf_counter() - start

    def _opened(self) -> tuple[Engine, RunningPart]:
        # a server that the arm starts is stopped at the end of every block of answers
        if self._engine is None or self._spec.serve is not None:
            self._engine = self._engine or self._make(self._spec)
            self._engine.open(self._battery.prompts)
        if self._part is None:
            self._part = RunningPart(self._spec, self._engine, self._run.answers, self._known)
        return self._engine, self._part

    def end(self) -> EndedPart:
        """Return what the whole arm did, and close its engine."""
        assert self._part is not None
        return self._part.end(self._seconds, self.generated)
