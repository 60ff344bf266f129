"""Steering rules: sampling, parameters and bad input; SafeDecoding against its description."""

import itertools

import pytest
import torch

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import DraftModel
from draftproof.decoding.rules import SafeDecoding, SafetyAware, make_rule
from draftproof.decoding.rules.timeline import spans, timeline

V, T, LENGTH = 3, 0.7, 3
CPU = torch.device("cpu")


def rows_of(seed):
    """Random logits of target and expert for every prefix."""
    generator = torch.Generator().manual_seed(seed)
    prefixes = [p for n in range(LENGTH + 3) for p in itertools.product(range(V), repeat=n)]
    target = {p: torch.randn(V, generator=generator) * 1.5 for p in prefixes}
    expert = {p: target[p] * 0.5 + torch.randn(V, generator=generator) for p in prefixes}
    return target, expert


def top(row, k):
    return set(sorted(range(V), key=lambda x: (-row[x], x))[:k])


def literal_law(rule, p, q, mode, alpha):
    """The law of one token as the docstrings put it, with sets."""
    best = min(range(V), key=lambda x: (-p[x], x))
    k = rule.common
    while k < V and len(top(p, k) & top(q, k)) < rule.common:
        k += 1
    if isinstance(rule, SafeDecoding):
        both = top(p, k) & top(q, k)
        scores = {x: max(p[x] + rule.alpha * (q[x] - p[x]), 1e-8) for x in both}
        weights = scores if mode == 1 else dict(enumerate(p))
    elif mode == 1 and best not in top(q, k):
        weights = {x: p[x] for x in top(p, k)}
    else:
        space = top(p, k) & top(q, k) if mode == 1 else top(p, rule.common) | top(q, rule.common)
        weight = alpha if mode == 1 else rule.alpha_union
        weights = {x: max(p[x] + weight * (q[x] - p[x]), 0.0) for x in space}
    tempered = [weights.get(x, 0.0) ** (1 / T) for x in range(V)]
    return [w / sum(tempered) for w in tempered]


def autoregressive_law(rule, target, expert):
    """P(tokens, modes) of decoding the composite one token at a time."""
    law = {}

    def walk(prefix, modes, state, chance):
        if len(prefix) == LENGTH:
            law[prefix, modes] = law.get((prefix, modes), 0.0) + chance
            return
        p, q = (torch.softmax(rows[prefix].double(), 0).tolist() for rows in (target, expert))
        drawn = torch.softmax(expert[prefix].double() / T, 0).tolist()
        mode = int(state.mode)
        alpha = float(getattr(state, "alpha", torch.tensor(0.0)))
        m = literal_law(rule, p, q, mode, alpha)
        for x in range(V):
            for match, share in ((True, min(m[x], drawn[x])), (False, max(m[x] - drawn[x], 0))):
                if share > 0:
                    after = rule.advance(state, torch.tensor([match]), torch.tensor([True]))
                    walk((*prefix, x), (*modes, mode), after, chance * share)

    walk((), (), rule.begin(1, CPU), 1.0)
    return law


def speculative_law(rule, target, expert, gamma, grid):
    """P(tokens, modes) of decoding in rounds, uniforms integrated on a midpoint grid."""
    law = {}
    mid = (torch.arange(grid, dtype=torch.float64) + 0.5) / grid
    uniforms = torch.cartesian_prod(*[mid] * (gamma + 1))
    n = uniforms.shape[0]

    waiting = {((), (), state_of(rule.begin(1, CPU))): 1.0}
    while waiting:
        # the shortest first, so that every way to a state is added up before it is left
        prefix, modes, state = min(waiting, key=lambda one: len(one[0]))
        chance = waiting.pop((prefix, modes, state))
        if len(prefix) >= LENGTH:
            key = prefix[:LENGTH], modes[:LENGTH]
            law[key] = law.get(key, 0.0) + chance
            continue
        kind = type(rule.begin(1, CPU))
        wide = kind(*(torch.tensor([value]).expand(n) for value in state))
        for drafts in itertools.product(range(V), repeat=gamma):
            at = [(*prefix, *drafts[:i]) for i in range(gamma + 1)]
            q = torch.stack([torch.softmax(expert[a] / T, 0) for a in at])
            weight = float(torch.stack([q[i, d] for i, d in enumerate(drafts)]).double().prod())
            out = rule.verify(
                torch.tensor([drafts]).expand(n, -1),
                torch.stack([target[a] for a in at]).expand(n, -1, -1),
                q.expand(n, -1, -1), uniforms, T, wide,
            )  # fmt: skip
            keys = torch.cat([out.accepted[:, None], out.token[:, None], out.matches], dim=1)
            for key, count in zip(*keys.unique(dim=0, return_counts=True), strict=True):
                row = int((keys == key).all(dim=1).nonzero()[0])
                kept = int(key[0])
                after = (
                    (*prefix, *drafts[:kept], int(key[1])),
                    (*modes, *out.modes[row, : kept + 1].tolist()),
                    state_of(out.state, row),
                )
                waiting[after] = waiting.get(after, 0.0) + chance * weight * int(count) / n
    return law


def state_of(state, row=0):
    """A row's state as plain numbers."""
    return tuple(getattr(state, field)[row].item() for field in state.__slots__)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("gamma", "grid"), [(1, 24), (2, 8)])
@pytest.mark.parametrize(
    "rule",
    [
        SafetyAware(window=2, common=2, alpha_union=2.0, alpha_intersection=0.45),
        SafeDecoding(common=2, tokens=2),
    ],
    ids=lambda rule: rule.name,
)
def test_sampling_has_the_law_of_the_composite_for_every_draft_length(seed, gamma, grid, rule):
    target, expert = rows_of(seed)
    wanted = autoregressive_law(rule, target, expert)
    got = speculative_law(rule, target, expert, gamma, grid)
    assert sum(got.values()) == pytest.approx(1)
    distance = sum(abs(got.get(k, 0) - wanted.get(k, 0)) for k in got.keys() | wanted.keys()) / 2
    assert distance < 1.2 / grid
    # another law at the same grid is seen
    other = SafetyAware(window=2, common=2, alpha_union=0.2, alpha_intersection=0.0)
    strange = autoregressive_law(other, target, expert)
    far = sum(abs(got.get(k, 0) - strange.get(k, 0)) for k in got.keys() | strange.keys()) / 2
    assert far > 1.2 / grid


def test_a_low_temperature_is_greedy_decoding():
    """Where the two best scores are well apart."""
    generator, cold, tried = torch.Generator().manual_seed(4), 0.06, 0
    for _ in range(300):
        logits = torch.randn(1, 2, 6, generator=generator)
        expert = torch.randn(1, 2, 6, generator=generator)
        for rule in (SafetyAware(common=3), SafeDecoding(common=3)):
            state = rule.begin(1, CPU)
            p, q = logits[:, :1].softmax(-1), expert[:, :1].softmax(-1)
            first, second, *_ = (
                rule.weights(rule.spaces(p, q).at(0), state)[0]
                .sort(descending=True)
                .values.tolist()
            )
            if first < 1.6 * second:
                continue
            tried += 1
            drafts = expert[:, :1].argmax(-1)
            greedy = rule.verify(drafts, logits, expert.softmax(-1), None, 0.0, state)
            uniforms = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
            sampled = rule.verify(
                drafts, logits, (expert / cold).softmax(-1), uniforms, cold, state
            )
            assert int(greedy.accepted) == int(sampled.accepted)
            if int(greedy.accepted) == 0:
                assert int(greedy.token) == int(sampled.token)
    assert tried > 200


def test_two_ends_of_sequence_both_end_an_answer(target, draft):
    ask = [Request(id="a", prompt=(3, 9, 4, 12), max_new_tokens=40)]
    rule = SafetyAware(common=5)
    (free,) = decode(target, ask, Settings(eos=set(), drafter=DraftModel(draft, 3), rule=rule))
    assert free.finish_reason == "length"
    for place in (2, 9):
        end = free.tokens[place]
        (cut,) = decode(
            target,
            ask,
            Settings(eos={end, 28 if end != 28 else 27}, drafter=DraftModel(draft, 3), rule=rule),
        )
        first = min(i for i, t in enumerate(free.tokens) if t in {end, 28 if end != 28 else 27})
        assert cut.tokens == free.tokens[: first + 1]
        assert len(cut.modes) == len(cut.tokens)
        assert cut.finish_reason == "stop"


def test_an_expert_that_is_the_target_changes_nothing(target, greedy_by_generate):
    ask = Request(id="a", prompt=(3, 9, 4, 12), max_new_tokens=40)
    rule = SafetyAware(compat="fixed")
    (answer,) = decode(target, [ask], Settings(eos={0}, drafter=DraftModel(target, 3), rule=rule))
    assert answer.tokens == greedy_by_generate(target, ask, {0})
    assert set(answer.modes) == {1}


def test_expert_rows_that_are_not_finite_are_refused(target, draft):
    rule = SafetyAware()
    logits = torch.zeros(1, 2, 5)
    q = torch.full((1, 2, 5), 0.2)
    q[0, 1, 3] = float("nan")
    drafts = torch.zeros(1, 1, dtype=torch.int64)
    uniforms = torch.zeros(1, 2, dtype=torch.float64)
    for temperature in (0.0, 0.7):
        with pytest.raises(ValueError, match="expert's probabilities are not finite"):
            rule.verify(drafts, logits, q, uniforms, temperature, rule.begin(1, CPU))


def test_rows_of_different_vocabularies_are_refused():
    rule = SafetyAware()
    drafts = torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"5 tokens and the expert's 4"):
        rule.verify(drafts, torch.zeros(1, 2, 5), torch.full((1, 2, 4), 0.25), torch.zeros(1, 2),
                    0.0, rule.begin(1, CPU))  # fmt: skip


def test_a_token_that_is_forbidden_to_the_target_is_never_chosen():
    """A processor's ban holds for the composite, whatever the expert wants."""
    logits = torch.tensor([[[0.0, -torch.inf, 1.0, 0.5]] * 2])
    q = torch.tensor([[[0.01, 0.97, 0.01, 0.01]] * 2])
    rule = SafetyAware(common=1, alpha_union=2.0)
    state = rule.begin(1, CPU)
    state = type(state)(state.mode + 1, state.threshold, state.alpha, state.seen,
                          state.matched)  # fmt: skip
    drafts = torch.tensor([[1]])
    for temperature in (0.0, 1.0):
        uniforms = torch.full((1, 2), 0.4, dtype=torch.float64)
        out = rule.verify(drafts, logits, q, uniforms, temperature, state)
        assert (int(out.accepted), int(out.token) != 1) == (0, True)


def test_presets_by_name_in_a_plan_and_with_changes():
    assert make_rule("safety_aware", {"preset": "llama2"}) == SafetyAware()
    vicuna = make_rule("safety_aware", {"preset": "vicuna", "compat": "fixed", "window": 5})
    assert vicuna == SafetyAware(alpha_intersection=0.45, alpha_union=2.0, compat="fixed", window=5)
    assert SafetyAware.preset("llama3.1").threshold == 0.5
    assert SafetyAware.preset("llama3.1").reset_threshold == 0.6
    with pytest.raises(ValueError, match=r"preset: no 'gpt'; there are llama2, vicuna, llama3\.1"):
        make_rule("safety_aware", {"preset": "gpt"})
    with pytest.raises(ValueError, match="alpa"):
        make_rule("safety_aware", {"preset": "llama2", "alpa": 1})
    assert make_rule("safe_decoding", {"tokens": 5}) == SafeDecoding(tokens=5)


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        (SafetyAware, {"alpha_union": -1}), (SafetyAware, {"alpha_intersection": float("nan")}),
        (SafetyAware, {"alpha_union": float("inf")}), (SafetyAware, {"alpha_step": -0.1}),
        (SafetyAware, {"alpha_union": "2"}), (SafetyAware, {"window": 0}),
        (SafetyAware, {"window": 7.5}), (SafetyAware, {"common": 0}),
        (SafetyAware, {"common": True}), (SafetyAware, {"threshold": 2}),
        (SafetyAware, {"threshold_floor": 1.1}), (SafetyAware, {"reset_threshold": -0.1}),
        (SafetyAware, {"compat": "x"}), (SafeDecoding, {"alpha": -1}),
        (SafeDecoding, {"tokens": 0}), (SafeDecoding, {"common": 2.5}),
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_named(rule, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        rule(**bad)


def test_a_rule_without_its_state_is_refused():
    row = torch.ones(1, 2, 4) / 4
    for rule in (SafetyAware(), SafeDecoding()):
        with pytest.raises(ValueError, match="state"):
            rule.verify(torch.zeros(1, 1, dtype=torch.int64), row, row, None, 0.0)
        with pytest.raises(ValueError, match="expert's row"):
            rule.verify(torch.zeros(1, 1, dtype=torch.int64), row, None, None, 0.0,
                        rule.begin(1, CPU))  # fmt: skip


def test_safe_decoding_steers_the_beginning_only(target, draft, stranger):
    """Against one token at a time, by sets; for every draft length."""
    rule, prompt, new = SafeDecoding(alpha=3.0, tokens=4, common=5), (3, 9, 4, 12), 20
    for expert in (draft, stranger):
        text = list(prompt)
        for said in range(new):
            with torch.inference_mode():
                p, q = (
                    model.module(torch.tensor([text])).logits[0, -1].float().softmax(0).tolist()
                    for model in (target, expert)
                )
            by_p, by_q = (sorted(range(len(p)), key=lambda x, r=r: (-r[x], x)) for r in (p, q))
            k = rule.common
            while len(set(by_p[:k]) & set(by_q[:k])) < rule.common:
                k += 1
            scores = {x: max(p[x] + 3.0 * (q[x] - p[x]), 1e-8) for x in {*by_p[:k]} & {*by_q[:k]}}
            steered = min(scores, key=lambda x: (-scores[x], x))
            text.append(steered if said < rule.tokens else by_p[0])
        for gamma in (1, 3):
            ask = [Request(id="a", prompt=prompt, max_new_tokens=new)]
            (answer,) = decode(
                target, ask, Settings(eos=set(), drafter=DraftModel(expert, gamma), rule=rule)
            )
            assert answer.tokens == text[len(prompt) :]
            assert answer.modes == [1] * 4 + [2] * 16


def test_a_timeline_follows_the_published_arithmetic():
    """Two windows of disagreement, then agreement: worked by hand from the description."""
    rule = SafetyAware(window=2, alpha_intersection=0.6)
    state = timeline(rule, [False, False, False, False, True, True, True, True])
    assert [m.mode for m in state] == [1, 1, 2, 2, 2, 2, 1, 1]
    assert [m.threshold for m in state] == pytest.approx([0.6, 0.6, 0.6, 0.6, 0.5, 0.5, 0.6, 0.6])
    assert [m.alpha for m in state] == [0.6, 0.6, 0.8, 0.8, 0.8, 0.8, 0.6, 0.6]
    assert [m.match_ratio for m in state] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert timeline(rule, []) == []
    assert spans([m.mode for m in state]) == [(0, 2, 1), (2, 6, 2), (6, 8, 1)]


def test_an_expert_that_never_agrees_leaves_union_once_in_eight_windows():
    state = timeline(SafetyAware(), [False] * 7 * 18)
    modes = [m.mode for m in state[::7]]
    assert modes[:10] == [1, 2, 2, 2, 2, 2, 2, 2, 1, 2]
    fixed = timeline(SafetyAware(compat="fixed"), [False] * 7 * 18)
    assert {m.mode for m in fixed[7:]} == {2}


def test_union_is_left_when_the_models_agree_again():
    """Two models that never agree, expert-led text: paper leaves union at once, fixed stays."""
    logits = torch.tensor([3.0, 0.0, -1.0, -2.0]).expand(1, 2, 4)
    q = torch.tensor([0.01, 0.97, 0.01, 0.01]).expand(1, 2, 4)
    for compat, wanted in (("paper", [1, 1, 2, 2, 1, 1]), ("fixed", [1, 1, 2, 2, 2, 2])):
        rule = SafetyAware(window=2, common=1, alpha_union=2.0, compat=compat)
        state, modes = rule.begin(1, CPU), []
        for _ in range(6):
            out = rule.verify(torch.tensor([[3]]), logits, q, None, 0.0, state)
            assert int(out.accepted) == 0
            assert int(out.token) == (0 if int(out.modes[0, 0]) == 1 else 1)
            modes.append(int(out.modes[0, 0]))
            state = out.state
        assert modes == wanted
