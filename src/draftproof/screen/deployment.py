"""What a plan says about a deployment: what its arm promises, and what a run leaves untested."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from draftproof.battery import Battery
from draftproof.records import DraftproofError, Prompt, Role
from draftproof.rescoring import make_rescorer
from draftproof.rescoring.rescore_options import RescoreOptions
from draftproof.rescoring.rescorer import Helpers, Replayer, Rescorer
from draftproof.runs.plan import Plan
from draftproof.screen.arms import Arm
from draftproof.screen.sampled import Drawn, Law, LawTest
from draftproof.screen.stack_noise.scores import RunScores
from draftproof.stacks.spec import ArmSpec

_LOSSY = "L0"
_LOSSLESS_RULES = frozenset({"exact", "block"})
_LAW_PROMPTS = 4
_LAW_DRAWS = 400
_GREEDY_PROMPTS = 24
_GREEDY_TOKENS = 32


_LOADED = frozenset({"openai", "openvino", "vllm"})
"""Engines that answer `concurrency` prompts at a time; the others one, our own a batch."""


def lossy(plan: Plan, spec: ArmSpec, promise: str | None) -> bool:
    """Whether a candidate changes answers on purpose: its rule says so, or the plan does.

    Args:
        plan: The plan.
        spec: The arm.
        promise: What its engine says its rule promises, None where that is unknown.
    """
    if spec.role is not Role.CANDIDATE:
        return False
    by_rule = promise == _LOSSY or (promise is None and spec.rule not in _LOSSLESS_RULES)
    return by_rule or spec.name in plan.lossy


def law_test(plan: Plan, spec: ArmSpec, battery: Battery) -> LawTest | None:
    """Return what draws tokens for the test of a local arm's law, None where it has no meaning."""
    if plan.temperature == 0 or spec.engine != "local" or spec.role is Role.BASELINE:
        return None
    seen: dict[str, None] = {}
    prompts: list[Prompt] = []
    for prompt in battery.prompts:
        name = prompt.cluster or prompt.id
        if name not in seen and len(prompts) < _GREEDY_PROMPTS:
            seen[name] = None
            prompts.append(prompt)

    def draw() -> Law:
        try:
            from draftproof.rescoring.law import draw_tokens, greedy_clean  # noqa: PLC0415 - needs torch
        except ModuleNotFoundError as error:
            raise DraftproofError(
                f"arm {spec.name!r}: the test of its distribution needs {error.name}, which is not "
                "installed; run: pip install 'draftproof[local]'"
            ) from error
        drawn = draw_tokens(spec, prompts[:_LAW_PROMPTS], _LAW_DRAWS)
        return Law(
            [Drawn(counts, law) for counts, law in drawn],
            greedy_clean(spec, prompts, _GREEDY_TOKENS),
        )

    return draw


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """The models that explain answers which were recorded elsewhere.

    Attributes:
        target: Directory or hub name of the target.
        draft: Of the draft, which tells leaks from faults.
        rescore: A server of the target, in place of `target`.
        dtype: Type of the weights.
        device: Where the models run.
        trust_remote_code: Run code that a checkpoint brings along.
    """

    target: str | None = None
    draft: str | None = None
    rescore: RescoreOptions | None = None
    dtype: str = "auto"
    device: str = "auto"
    trust_remote_code: bool = False

    @property
    def ready(self) -> bool:
        """Whether any model can be asked."""
        return self.target is not None or self.rescore is not None

    def explained(self, arms: Sequence[Arm], prompts: Sequence[Prompt]) -> list[Arm]:
        """Return recorded arms with what scores their answers and explains their divergences.

        Args:
            arms: The arms, the baseline first.
            prompts: What was asked.

        Raises:
            DraftproofError: A prompt is not known.
        """
        if not self.ready:
            return list(arms)
        unknown = next((p.id for p in prompts if not p.messages), None)
        if unknown is not None:
            raise DraftproofError(
                f"prompt {unknown!r} is not in the files, so no model can be asked what it "
                "would have answered; name the column with --columns prompt=COLUMN, or the "
                "battery with --battery"
            )
        specs = [self._spec(arm) for arm in arms]
        asked = Battery(name="recorded answers", prompts=tuple(prompts), source="recorded answers")
        scores = RunScores(specs, asked, self.rescore)
        rescorer = cache(lambda: rescorer_of(specs[1], self.rescore))
        answers = {arm.name: arm.answers for arm in arms}
        return [
            replace(arm, rescorer=rescorer, stack=scores.of(spec, answers))
            for arm, spec in zip(arms, specs, strict=True)
        ]

    def _spec(self, arm: Arm) -> ArmSpec:
        # somebody served these answers: nothing is asked of an arm's own engine here
        return ArmSpec.model_validate(
            {
                "name": arm.name,
                "role": arm.role,
                "engine": "openai",
                "url": "http://recorded",
                "target": self.target or "",
                "draft": None if arm.role is Role.BASELINE else self.draft,
                "dtype": self.dtype,
                "device": self.device,
                "trust_remote_code": self.trust_remote_code,
            }
        )


def rescorer_of(
    spec: ArmSpec,
    rescore: RescoreOptions | None,
    helpers: Helpers | None = None,
    *,
    exact: bool = False,
) -> Rescorer | None:
    """Return what explains an arm's divergences: a server where one is named, else its own models.

    Args:
        spec: The arm, with the models that may be loaded here.
        rescore: The server.
        helpers: Take a part of the work, where there are any.
        exact: See `make_rescorer`.
    """
    if rescore is not None:
        return _server_rescorer(rescore)
    return make_rescorer(spec, helpers, exact=exact)


def _server_rescorer(options: RescoreOptions) -> Rescorer:
    """Return what has a server score divergences again.

    Raises:
        DraftproofError: What it needs is not installed.
    """
    try:
        from draftproof.rescoring.rescore_server import ServerRescorer  # noqa: PLC0415 - needs httpx
    except ModuleNotFoundError as error:
        raise DraftproofError(
            f"rescore: needs {error.name}, which is not installed; "
            "run: pip install 'draftproof[http]'"
        ) from error
    return ServerRescorer(options)


def replayer(
    plan: Plan,
    spec: ArmSpec,
    helpers: Helpers | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Replayer | None:
    """Return what answers with known faults planted, None where the models are not at hand."""
    drafts = spec.draft is not None or (spec.drafter is not None and spec.engine == "local")
    if plan.temperature > 0 or not spec.target or not drafts or spec.engine == "openvino":
        return None
    from draftproof.rescoring.replay import LocalReplayer  # noqa: PLC0415 - needs torch

    return LocalReplayer(spec, helpers, progress)


def untested(plan: Plan, spec: ArmSpec) -> tuple[str, ...]:
    """Return what a run of this arm says nothing about."""
    own = [a for a in plan.arms if a.of == spec.name]
    varied = {
        key
        for arm in (*own, *(a for a in plan.arms if a.role is Role.CANDIDATE))
        for key in ("gamma", "draft", "dtype", "batch", "concurrency")
        if getattr(arm, key) != getattr(spec, key)
    }
    gaps = []
    if plan.temperature == 0:
        gaps.append("a temperature above 0")
    if plan.temperature > 0:
        gaps.append(f"temperatures other than {plan.temperature:g}")
    if "gamma" not in varied and spec.engine != "openai":
        gaps.append(f"draft lengths other than {spec.gamma}")
    if "dtype" not in varied:
        gaps.append(f"arithmetic other than {spec.dtype}")
    if spec.engine in _LOADED and (spec.engine == "openai" or "concurrency" not in varied):
        gaps.append(f"loads other than {spec.concurrency} requests at a time")
    if spec.engine == "local" and "batch" not in varied:
        gaps.append(f"batches other than {spec.batch}")
    if not any(a.order == "shuffled" for a in own):
        gaps.append("other batch mates")
    if not spec.processors:
        gaps.append("logits processors and stop strings")
    gaps.append(f"answers longer than {spec.max_new_tokens} tokens")
    return tuple(gaps)
