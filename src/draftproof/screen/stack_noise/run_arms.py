"""The arms of a run as they are judged: their answers, and who scores and explains them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from draftproof.battery import Battery
from draftproof.records import Completion, Role
from draftproof.rescoring import computes_same_bits
from draftproof.rescoring.rescorer import Rescorer
from draftproof.runs import Plan
from draftproof.runs.parallel import Workers
from draftproof.screen.arms import Arm
from draftproof.screen.deployment import law_test, lossy, replayer, rescorer_of, untested
from draftproof.screen.stack_noise.scores import RunScores
from draftproof.stacks.spec import ArmSpec

Answers = Mapping[str, Mapping[str, Completion]]
_SAME_BITS = "fused"
"""How a manifest calls kernels whose bits do not depend on the shape of a computation."""


class RunArms:
    """Makes the arms of a run.

    Args:
        plan: The arms.
        battery: The prompts.
        scores: Scores answers whole.
        records: What the manifest says of each arm; nothing where the run is not over.
        workers: Who explains divergences; this process alone if None.
    """

    def __init__(
        self,
        plan: Plan,
        battery: Battery,
        scores: RunScores,
        records: Mapping[str, Mapping[str, Any]] | None = None,
        workers: Workers | None = None,
    ) -> None:
        self._plan, self._battery, self._scores = plan, battery, scores
        self._records, self._workers = records or {}, workers
        self._rescorers: dict[str, Rescorer | None] = {}
        self._exact: dict[str, bool] = {}

    def arm(self, spec: ArmSpec, answers: Answers) -> Arm:
        """Return an arm with the answers there are."""
        plan, record = self._plan, self._records.get(spec.name, {})
        promise = (record.get("fingerprint") or {}).get("promise")
        # the target alone cannot say what a rule that changes its distribution would have chosen
        blind = plan.temperature > 0 or (spec.steered and spec.role in {Role.VARIANT, Role.NOISE})
        exact = not blind and self._same_bits(spec)
        scored = not blind and not (exact and self._same_bits(plan.baseline))
        return Arm(
            name=spec.name,
            role=spec.role,
            answers=answers[spec.name],
            speculative=spec.speculative,
            rescorer=lambda: None if blind else self._rescorer(spec, exact=not scored),
            stack=self._scores.of(spec, answers) if scored else None,
            exact=exact,
            counters=record.get("counters"),
            of=spec.of,
            promise=promise,
            lossy=lossy(plan, spec, promise),
            law=law_test(plan, spec, self._battery),
            replayer=partial(replayer, plan, spec, self._workers, self._scores.progress),
            declared=spec.model_dump(mode="json"),
            untested=untested(plan, spec),
        )

    def _rescorer(self, spec: ArmSpec, *, exact: bool) -> Rescorer | None:
        """Return what explains an arm's divergences.

        A control may leak through another engine; the target that judges it is its own.
        """
        if spec.name not in self._rescorers:
            self._rescorers[spec.name] = rescorer_of(
                spec, self._plan.rescore, self._workers, exact=exact
            )
        return self._rescorers[spec.name]

    def _same_bits(self, spec: ArmSpec) -> bool:
        if spec.engine != "local" or self._plan.rescore is not None:
            return False
        if spec.name not in self._exact:
            known = self._records.get(spec.name, {}).get("fingerprint")
            if known is not None:
                self._exact[spec.name] = known.get("forward") == _SAME_BITS
            else:
                self._exact[spec.name] = computes_same_bits(spec)
        return self._exact[spec.name]
