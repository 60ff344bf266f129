"""Looking at a sequential screen after every block, and saying what goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from draftproof.battery import Battery
from draftproof.records import Cause, Completion, Role, State
from draftproof.rescoring.rescorer import Rescorer
from draftproof.runs.blocks import Open
from draftproof.runs.plan import Plan
from draftproof.scoring import score
from draftproof.screen.deployment import lossy
from draftproof.screen.evidence import strata_of
from draftproof.screen.forensics import explain
from draftproof.screen.pairing import Pairing, pair
from draftproof.screen.sequential import Standing, standing
from draftproof.screen.verdict import remember
from draftproof.stacks.spec import ArmSpec
from draftproof.stats.evidence import PROFILES

Answers = Mapping[str, Mapping[str, Completion]]
_DECIDING = frozenset({Cause.LEAK, Cause.FAULT})


class Watch:
    """Keeps what was seen at earlier looks, so that a look costs what is new.

    Args:
        plan: The arms and the decision rule.
        battery: The prompts.
        rescorers: For every arm what makes what explains its divergences.
    """

    def __init__(
        self,
        plan: Plan,
        battery: Battery,
        rescorers: Mapping[str, Callable[[Answers], Rescorer | None]],
    ) -> None:
        self._plan, self._battery, self._rescorers = plan, battery, rescorers
        self._label = remember(score)
        self._explained: dict[str, set[str]] = {}
        self._settled: set[str] = set()
        self._passed: dict[str, frozenset[str]] = {}
        self.looks = 0

    def look(self, answers: Answers) -> Open:
        """Return which arms go on, over which tasks."""
        self.looks += 1
        judged = [a for a in self._plan.arms if a.role in {Role.CANDIDATE, Role.CONTROL}]
        for spec in judged:
            if spec.name not in self._settled and self._certain(spec, answers):
                self._settled.add(spec.name)
        candidates = {a.name for a in judged if a.role is Role.CANDIDATE}
        going = candidates - self._settled
        if not going:
            return Open(frozenset(), frozenset())
        done = frozenset.intersection(*(self._passed.get(n, frozenset()) for n in going))
        arms = {
            a.name
            for a in self._plan.arms
            if a.name not in self._settled and (a.of is None or a.of not in self._settled)
        }
        return Open(frozenset(arms), frozenset(self._battery.tasks) - done)

    def _certain(self, spec: ArmSpec, answers: Answers) -> bool:
        """Whether nothing that is still unasked could change an arm's state."""
        both = answers[self._plan.baseline.name].keys() & answers[spec.name].keys()
        asked = tuple(p for p in self._battery.prompts if p.id in both)
        if not asked:
            return False
        battery = replace(self._battery, prompts=asked)
        joined = pair(asked, answers[self._plan.baseline.name], answers[spec.name], self._label)
        if not lossy(self._plan, spec, None) and self._leaks(spec, joined, answers):
            return True
        stood = self._standing(spec, battery, joined)
        self._passed[spec.name] = stood.passed
        return stood.state is not State.INCONCLUSIVE

    def _standing(self, spec: ArmSpec, battery: Battery, joined: Pairing) -> Standing:
        rule = self._plan.decision
        if lossy(self._plan, spec, None):
            rule = rule.model_copy(update={"mode": "noninferiority"})
        gated = [s for s in strata_of(battery, joined) if s.task not in battery.ungated]
        everywhere = set(self._battery.tasks) - self._battery.ungated
        found = standing(gated, rule, PROFILES[rule.profile])
        if found.state is State.PASS and len(gated) < len(everywhere):
            return replace(found, state=State.INCONCLUSIVE)
        return found

    def _leaks(self, spec: ArmSpec, joined: Pairing, answers: Answers) -> bool:
        """Whether a divergence that was not seen before is a leak or a fault."""
        known = self._explained.setdefault(spec.name, set())
        new = [p for p in joined.pairs if not p.identical and p.prompt.id not in known]
        if not new or not PROFILES[self._plan.decision.profile].forensics_decide:
            return False
        known.update(p.prompt.id for p in new)
        found = explain(new, self._rescorers[spec.name](answers))
        return any(f.divergence.cause in _DECIDING for f in found)
