"""The rounding of a stack, what lies beyond it, and what that decides; made of numbers."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.scored_arms import PROMPTS, draw_gaps, hidden_margins, noise_of

from draftproof.records import Cause, Completion, Message, Pair, Prompt, State
from draftproof.rescoring.kept_scores import keep_scores, kept_scores, scores_key
from draftproof.rescoring.scored_answers import LeftOut, ScoredAnswers
from draftproof.screen.forensics import explain
from draftproof.screen.stack_noise.ends import ends_settled
from draftproof.screen.stack_noise.findings import noise_findings
from draftproof.screen.stack_noise.measure import measure
from draftproof.screen.stack_noise.record import stack_noise
from draftproof.screen.stack_noise.ruling import rule_on

SIGMA, BEST, SECOND, THIRD = 0.02, 1, 2, 3
NAMES = tuple(f"p{i}" for i in range(PROMPTS))


def scored(arm, gaps, deviation, respelled=False):
    """Scores of an arm that says the best token (1), or the second (2) where it deviates."""
    flat, length = gaps.ravel(), gaps.shape[1]
    second = deviation.ravel() > 0
    said = np.where(second, SECOND, BEST)
    return ScoredAnswers(
        arm=arm, instrument="numbers", prompts=NAMES, gap=flat, deviation=deviation.ravel(),
        prompt=np.repeat(np.arange(PROMPTS), length), position=np.tile(np.arange(length), PROMPTS),
        said=said, best=np.full(flat.size, BEST), second=np.full(flat.size, SECOND),
        respelled=np.full(flat.size, respelled), positions=flat.size, seed=None, left_out=(),
    )  # fmt: skip


class Stack:
    """A stack made of numbers: a baseline, its repeat and a candidate with planted tokens."""

    problem = None

    def __init__(self, seed=5, sigma=SIGMA, ratio=1.0, plant=(), draft=None, plain=None):
        rng = np.random.default_rng(seed)
        noise = noise_of(rng, "logistic")
        self.rng, self.plain, self.draft, self.asked = rng, plain, draft, 0
        self.arms = {}
        for name, scale in (("target", sigma), ("draft", ratio * sigma)):
            gaps = draw_gaps(rng)
            lift = noise.draw(rng, scale)
            self.arms[name] = scored(name, gaps, np.where(lift > gaps, gaps, 0.0))
        self.plant("draft", plant)
        self.answers = {
            name: Completion(arm="draft", id=name, text="", provenance="p" * 64) for name in NAMES
        }

    def plant(self, arm, margins):
        """Put second tokens of the given margins in place of others."""
        old = self.arms[arm]
        where = self.rng.choice(old.n, len(margins), replace=False)
        gap, deviation, said = old.gap.copy(), old.deviation.copy(), old.said.copy()
        gap[where], deviation[where], said[where] = margins, margins, SECOND
        self.arms[arm] = replace(old, gap=gap, deviation=deviation, said=said)

    def scored(self, arm):
        return self.arms[arm]

    def proposals(self, arm):
        if self.draft is None:
            return None
        return replace(self.arms[arm], best=np.full(self.arms[arm].n, self.draft))

    def show(self, token):
        return f"<{token}>"

    def ask_plain(self, questions):
        self.asked += len(questions)
        return None if self.plain is None else [self.plain for _ in questions]

    def judge(self, clean=("target",), identical=False):
        noise = noise_findings(self, measure(self, "draft", clean), [])
        return noise, rule_on(noise, identical=identical)


def test_a_clean_arm_is_not_accused_and_its_limits_are_said():
    stack = Stack()
    noise, ruling = stack.judge()
    assert (ruling.failed, ruling.open, ruling.invalid, noise.named) == (False, {}, {}, ())
    section = stack_noise(noise, exact=False)
    assert 0.01 < section.clean.sigma < 0.04
    assert section.margin == pytest.approx(section.sigma * np.log(3840e6) / 1.702, rel=0.2)
    assert section.contamination.leaks_detectable == 5
    assert "one leak is named from" in section.text
    assert "leaks hidden among ties would show from 5 on" in section.text
    assert stack.asked == 0


@pytest.mark.parametrize(("draft", "cause"), [(SECOND, "leak"), (BEST, "fault"), (None, "fault")])
def test_two_named_tokens_fail_and_the_draft_tells_leak_from_fault(draft, cause):
    noise, ruling = Stack(plant=(1.5, 2.0), draft=draft).judge()
    assert [t.cause for t in noise.named] == [cause, cause]
    assert ruling.failed
    assert (ruling.leaks, ruling.faults) == ((2, 0) if cause == "leak" else (0, 2))
    assert all(t.token == "<2>" and t.best == "<1>" for t in noise.named)


@pytest.mark.parametrize(
    ("plain", "appeal", "fails"),
    [(BEST, "lost", True), (SECOND, "won", False), (THIRD, "other", False), (None, None, False)],
)
def test_one_named_token_fails_only_if_the_plain_stack_disagrees(plain, appeal, fails):
    stack = Stack(plant=(2.0,), plain=plain)
    noise, ruling = stack.judge()
    assert [t.appeal for t in noise.named] == [appeal]
    assert (ruling.failed, stack.asked) == (fails, 1)
    assert ("token-without-appeal" in ruling.open) is not fails


def test_a_baseline_of_another_model_proves_nothing():
    stack = Stack(plant=(2.0, 2.0))
    stack.plant("target", (2.0,) * 3)
    noise, ruling = stack.judge()
    assert noise.measured.named_clean == 3
    assert not ruling.failed
    assert "baseline-token-named" in ruling.open
    stack.plant("target", tuple(np.linspace(2, 3, 40)))
    _, ruling = stack.judge()
    assert "the model that scores is not the one that answered" in ruling.invalid.popitem()[1]


def test_a_text_that_was_spelled_again_is_no_fault_but_may_be_a_leak():
    for draft, named in ((None, 0), (SECOND, 2)):
        stack = Stack(plant=(1.5, 2.0), draft=draft)
        whole = stack.arms["draft"]
        stack.arms["draft"] = replace(whole, respelled=np.ones(whole.n, dtype=bool))
        noise, ruling = stack.judge()
        assert (len(noise.named), ruling.failed) == (named, named > 0)


def test_leaks_hidden_among_ties_fail_once_plain_decoding_was_asked_in_their_shape():
    margins = hidden_margins(np.random.default_rng(2), 14)
    _, ruling = Stack(plant=margins, plain=BEST).judge()
    assert [r.code for r in ruling.fails] == ["leaks-among-ties"]
    noise, ruling = Stack(plant=margins).judge()
    assert not ruling.failed
    assert "role shape" in ruling.open["leaks-among-ties-unshaped"]
    assert stack_noise(noise, exact=False).contamination.p_value < 0.005
    # a stack whose plain decoding does the same in that shape has no leak
    _, ruling = Stack(plant=margins, plain=SECOND).judge()
    assert not ruling.failed


def test_a_declared_shape_arm_takes_the_place_of_asking():
    stack = Stack(plant=hidden_margins(np.random.default_rng(2), 14))
    stack.arms["shaped"] = replace(Stack(seed=9).arms["target"], arm="shaped")
    measured = measure(stack, "draft", ("target",), ("shaped",))
    assert (measured.shape_arm, stack.asked) == ("shaped", 0)
    noise = noise_findings(stack, measured, [])
    assert [r.code for r in rule_on(noise, identical=False).fails] == ["leaks-among-ties"]
    assert stack_noise(noise, exact=False).clean_arms == ("target", "shaped")


def test_coarser_arithmetic_is_left_open():
    _, ruling = Stack(sigma=0.005, ratio=12).judge()
    assert not ruling.failed
    assert "compare at one precision" in ruling.open["coarser-arithmetic"]


def test_rounding_that_hides_leaks_leaves_a_pass_to_equal_bytes():
    stack = Stack(sigma=0.25)
    noise, ruling = stack.judge()
    assert noise.measured.margin > 1.5
    assert f"{noise.measured.margin:.3g} nats" in ruling.open["rounding-hides-leaks"]
    assert not stack.judge(identical=True)[1].open


def test_what_repeats_the_baseline_byte_for_byte_is_no_second_measurement():
    stack = Stack()
    stack.arms["again"] = replace(stack.arms["target"], arm="again")
    alone = measure(stack, "draft", ("target",))
    assert measure(stack, "draft", ("target", "again")).clean.n == alone.clean.n
    other = stack.arms["again"].said.copy()
    other[:3] = THIRD
    stack.arms["again"] = replace(stack.arms["again"], said=other)
    assert measure(stack, "draft", ("target", "again")).clean.n == alone.clean.n + 64


def test_a_missing_log_probability_is_unexplained_and_no_agreement():
    stack = Stack()
    gap = stack.arms["draft"].gap.copy()
    gap[:7] = np.nan
    stack.arms["draft"] = replace(stack.arms["draft"], gap=gap)
    section = stack_noise(stack.judge()[0], exact=False)
    assert (section.arm.unexplained, section.arm.positions) == (7, 3833)


def test_nothing_to_measure_is_a_reason_and_no_number():
    stack = Stack()
    stack.arms["draft"] = replace(
        stack.arms["draft"], gap=np.full(3840, np.nan), left_out=(LeftOut("why", 1),)
    )
    assert measure(stack, "draft", ("target",)) is None
    section = stack_noise(noise_findings(stack, None, []), exact=False)
    assert section.text.startswith("not measured: no position")
    assert (section.sigma, section.margin) == (None, None)


def test_ties_that_follow_the_draft_fail():
    """Near-ties at which the arm says whatever the draft proposed; plain decoding tosses a coin."""
    stack = Stack(sigma=0.1)
    rng = np.random.default_rng(8)
    wanted = {name: rng.integers(1, 3, scores.n) for name, scores in stack.arms.items()}
    near = stack.arms["draft"].gap < 0.08
    second = near & (wanted["draft"] == SECOND)
    gap = stack.arms["draft"].gap
    stack.arms["draft"] = replace(
        stack.arms["draft"],
        deviation=np.where(second, gap, np.where(near, 0.0, stack.arms["draft"].deviation)),
        said=np.where(second, SECOND, np.where(near, BEST, stack.arms["draft"].said)),
    )
    stack.proposals = lambda arm: replace(stack.arms[arm], best=wanted[arm])
    noise, ruling = stack.judge()
    found = stack_noise(noise, exact=False).direction
    assert found.p_value < 0.005
    assert found.baseline_p_value > 0.05
    assert "ties-follow-the-draft" in [r.code for r in ruling.fails]
    assert all(r.state is State.FAIL for r in ruling.fails)
    # plain decoding that is replayed with the same draft follows it no more than chance
    stack.arms["draft"] = replace(Stack(seed=6, sigma=0.1).arms["target"], arm="draft")
    assert not stack.judge()[1].failed


@pytest.mark.parametrize(("end", "cause"), [(0.01, Cause.TIE), (3.0, Cause.FAULT)])
def test_an_end_that_the_model_likes_as_well_is_a_tie(end, cause):
    stack = Stack()
    for name, scores in stack.arms.items():
        gap, deviation = scores.gap.copy(), scores.deviation.copy()
        gap[7], deviation[7] = 0.01, 0.01 if name == "target" else end
        stack.arms[name] = replace(scores, gap=gap, deviation=deviation)
    prompt = Prompt(id="p0", task="t", messages=(Message("user", "q"),))
    answer = {"id": "p0", "finish_reason": "stop"}
    pair = Pair(
        prompt=prompt,
        baseline=Completion(arm="target", text="a", token_ids=(1,) * 7, **answer),
        candidate=Completion(arm="draft", text="ab", token_ids=(1,) * 9, **answer),
    )
    measured = measure(stack, "draft", ("target",))
    (found,) = ends_settled(explain([pair], None), measured)
    assert found.divergence.cause is cause
    assert ("likes both" in found.divergence.explanation) is (cause is Cause.TIE)


def test_scores_are_kept_for_the_same_answers_only(tmp_path):
    scores = replace(Stack().arms["draft"], left_out=(LeftOut("an error", 2),), seed=3)
    path = tmp_path / "scores" / "draft.npz"
    key = scores_key("numbers", [], None)
    keep_scores(path, key, scores)
    back = kept_scores(path, key)
    for name in ("gap", "deviation", "said", "best", "second", "prompt", "position", "respelled"):
        np.testing.assert_array_equal(getattr(back, name), getattr(scores, name))
    assert (back.prompts, back.left_out, back.seed) == (NAMES, scores.left_out, 3)
    assert kept_scores(path, scores_key("another", [], None)) is None
    path.write_bytes(path.read_bytes()[:100])
    assert kept_scores(path, key) is None


def test_a_plain_stack_is_not_asked_where_named_tokens_decide_already():
    stack = Stack(plant=tuple(np.linspace(0.8, 2.0, 12)), plain=BEST)
    noise, ruling = stack.judge()
    assert ruling.failed
    assert len(noise.named) == 12
    assert stack.asked == 0
