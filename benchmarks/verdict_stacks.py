"""What the noise rule says of our own stack on the lab pair, in bfloat16 and float32.

Plain decoding in torch (no kernels of our own, whose bits do not depend on shapes) is the
baseline; every arm is scored whole by the float32 target and judged as a screen judges it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from benchmarks.scored_arms import ordinary_margins, planted

from draftproof.battery import Battery, load_battery
from draftproof.records import Completion, Role
from draftproof.rescoring.score_whole import LocalInstrument
from draftproof.rescoring.scored_answers import score_answers
from draftproof.screen.stack_noise.asking import ask_engine
from draftproof.screen.stack_noise.findings import NoiseFindings, noise_findings
from draftproof.screen.stack_noise.measure import measure, positions_of
from draftproof.screen.stack_noise.ruling import NoiseRuling, rule_on
from draftproof.screen.stack_noise.scores import RunScores
from draftproof.stacks.spec import ArmSpec
from draftproof.stats.contamination import contamination
from draftproof.stats.deviations import NoiseFit, fit_noise
from draftproof.stats.naming import NoiseScale, name_tokens
from draftproof.stats.positions import ScoredPositions

Figures = dict[str, float | str]
TOKENS = 64
PLANTED_POSITIONS = 3840
LOSSLESS: tuple[Mapping[str, object], ...] = (
    {"name": "draft", "draft": "lab:draft"},
    {"name": "draft-2", "draft": "lab:draft", "gamma": 2},
    {"name": "adversarial", "draft": "lab:adversarial"},
    {"name": "lookup", "drafter": "lookup"},
)
RELAXED = {"name": "relaxed", "role": "control", "draft": "lab:adversarial", "rule": "relaxed",
           "rule_options": {"top": 2, "delta": 0.10}}  # fmt: skip


def arm_of(dtype: str, **fields: object) -> ArmSpec:
    shared = {"role": "candidate", "target": "lab:target", "dtype": dtype, "batch": 16,
              "max_new_tokens": TOKENS}  # fmt: skip
    return ArmSpec.model_validate({**shared, **fields})


class Stack:
    """Arms of the lab pair with their answers and scores."""

    def __init__(self, prompts: int, specs: Sequence[ArmSpec]) -> None:
        whole = load_battery("lab-core")
        self.battery: Battery = replace(whole, prompts=whole.prompts[:: -(-2212 // prompts)])
        self.specs = {spec.name: spec for spec in specs}
        self.answers: dict[str, dict[str, Completion]] = {
            spec.name: ask_engine(spec, self.battery.prompts) for spec in specs
        }
        self.scores = RunScores(specs, self.battery, ask=ask_engine)

    def judged(self, name: str) -> tuple[NoiseFindings, NoiseRuling]:
        """Return what the noise of the stack says of an arm, and what it decides."""
        source = self.scores.of(self.specs[name], self.answers)
        assert source is not None
        noise = noise_findings(source, measure(source, name, ("plain",)), [])
        answers, plain = self.answers[name], self.answers["plain"]
        identical = all(answers[i].token_ids == c.token_ids for i, c in plain.items())
        return noise, rule_on(noise, identical=identical)

    def positions(self, name: str) -> ScoredPositions:
        """Return an arm's scored positions."""
        source = self.scores.of(self.specs[name], self.answers)
        assert source is not None
        return positions_of(source.scored(name))


def bfloat16(prompts: int) -> Figures:
    specs = [arm_of("bfloat16", name="plain", role=Role.BASELINE)]
    specs += [arm_of("bfloat16", **fields) for fields in LOSSLESS]
    specs.append(arm_of("bfloat16", **RELAXED))
    stack = Stack(prompts, specs)
    accused = 0
    for fields in LOSSLESS:
        noise, ruling = stack.judged(str(fields["name"]))
        accused += ruling.failed or bool(ruling.invalid) or bool(noise.named)
    noise, ruling = stack.judged("relaxed")
    assert noise.measured is not None
    state = "FAIL" if ruling.failed else "INCONCLUSIVE" if ruling.open else "PASS"
    reasons = [r.code for r in ruling.fails] or list(ruling.open)
    return {
        "relaxed_bf16": state,
        "relaxed_bf16_reasons": ", ".join(reasons),
        "relaxed_bf16_limit_nats": noise.measured.margin,
        "clean_accused": accused,
        "clean_prompts": len(stack.battery.prompts),
        **leaks_named("bf16", stack.positions("plain")),
    }


def float32(prompts: int) -> Figures:
    # another engine: our own kernels have no noise, and every difference counts there
    plain = arm_of("float32", name="plain", role=Role.BASELINE, engine="transformers")
    return leaks_named("f32", Stack(prompts, [plain]).positions("plain"))


def leaks_named(dtype: str, plain: ScoredPositions, replicates: int = 400) -> Figures:
    """Plant leaks of a leaky early exit (median 1.6 nats) into 3,840 plain positions of the arm."""
    rng = np.random.default_rng(44)
    clean, fit = _part(plain), fit_noise(plain)
    one = ten = 0
    for _ in range(replicates):
        one += _named(planted(rng, clean, ordinary_margins(rng, 1)), fit, plain) == 1
        many = planted(rng, clean, ordinary_margins(rng, 10))
        failed = _named(many, fit, plain) > 1
        ten += failed or contamination(plain, many, shape=plain).fails
    return {
        f"one_leak_named_{dtype}": one / replicates,
        f"ten_leaks_fail_{dtype}": ten / replicates,
        f"sigma_upper_{dtype}": fit.sigma_upper,
        f"deviations_{dtype}": fit.deviations,
    }


def _part(arm: ScoredPositions) -> ScoredPositions:
    here = slice(PLANTED_POSITIONS)
    assert arm.position is not None
    return replace(
        arm, gap=arm.gap[here], deviation=arm.deviation[here], prompt=arm.prompt[here],
        position=arm.position[here], row=arm.row[here],
    )  # fmt: skip


def _named(arm: ScoredPositions, fit: NoiseFit, clean: ScoredPositions) -> int:
    scale = NoiseScale(fit, fit_noise(arm))
    return name_tokens(arm, scale.sigma, clean.largest).count


def speed(target: str = "lab:target", prompts: int = 160) -> float:
    """Tokens that the instrument scores a second over those of plain decoding, one at a time.

    Processor time beyond the first token of every answer: both read the prompts first.
    """
    battery = load_battery("lab-core").prompts[:prompts]
    instrument = LocalInstrument(target, device="cpu")

    def decoding(tokens: int) -> tuple[float, dict[str, Completion]]:
        spec = arm_of("float32", name="plain", role=Role.BASELINE, target=target, batch=1)
        start = time.process_time()
        answers = ask_engine(spec.model_copy(update={"max_new_tokens": tokens}), battery)
        return time.process_time() - start, answers

    def scoring(tokens: int) -> float:
        given = [
            (p, replace(answers[p.id], token_ids=(answers[p.id].token_ids or ())[:tokens],
                        finish_reason="length"))
            for p in battery
        ]  # fmt: skip
        instrument.forget()
        start = time.process_time()
        score_answers(instrument, "plain", given)
        return time.process_time() - start

    answers = decoding(TOKENS)[1]
    decoded = min(decoding(TOKENS)[0] - decoding(1)[0] for _ in range(3))
    scoring(TOKENS)
    return decoded / min(scoring(TOKENS) - scoring(1) for _ in range(3))


def lab_pair(*, quick: bool) -> Figures:
    figures = bfloat16(240 if quick else 2000) | float32(240)
    tens = [float(figures.pop(f"ten_leaks_fail_{d}")) for d in ("bf16", "f32")]
    return {**figures, "ten_leaks_fail": min(tens), "scoring_speed": speed()}
