"""The lossy rules against what their formulas say, computed another way."""

import itertools
import json

import pytest
import torch
from click.testing import CliRunner

from draftproof.cli import main
from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import DraftModel
from draftproof.decoding.rules import (
    RULES,
    EntropyAware,
    Exact,
    Fly,
    Relaxed,
    Synthetic,
    TreeRule,
    make_rule,
)
from draftproof.decoding.rules.entropy_aware import doubtful_law, entropy_thresholds
from draftproof.records.rules import RULE_FACTS, PromiseLevel

V, GAMMA, POINTS = 3, 2, 2**13


def rows_for_prefixes(seed: int, depth: int, spread: float = 1.0):
    generator = torch.Generator().manual_seed(seed)
    prefixes = [p for n in range(depth + 1) for p in itertools.product(range(V), repeat=n)]
    logits = {p: torch.randn(V, generator=generator) * spread for p in prefixes}
    q = {p: torch.softmax(torch.randn(V, generator=generator) * spread, 0) for p in prefixes}
    return logits, q


def in_doubt(rule, p, q):
    def entropy(row):
        return -sum(float(x) * float(x.log()) for x in row)

    best = {int(i) for i in p.argsort(descending=True)[: rule.top_n]}
    own = {int(i) for i in q.argsort(descending=True)[: rule.top_n]}
    shared = len(best & own) / rule.top_n >= rule.overlap
    return entropy(p) > rule.entropy_p and entropy(q) > rule.entropy_q and shared


def law_of_one_token(rule, logits, q, temperature):
    """What one step of entropy-aware decoding says, by following the procedure."""
    p = torch.softmax(logits.double() / temperature, 0)
    hot = torch.softmax(q.double().log() / temperature, 0)
    law = torch.zeros(V, dtype=torch.float64)
    residual = (p - hot).clamp(min=0)
    for x in range(V):
        kept = hot[x] * min(1.0, float(p[x] / hot[x]))
        if in_doubt(rule, torch.softmax(logits.double(), 0), q.double()):
            other = p.clone()
            other[x] = 0
            law += kept * other / other.sum()
        else:
            law[x] += kept
        law += (hot[x] - kept) * residual / residual.sum()
    return law


DOUBTS = [
    EntropyAware(entropy_p=0.7, entropy_q=0.6, top_n=2, overlap=0.5),
    EntropyAware(entropy_p=0.0, entropy_q=0.0, top_n=1, overlap=0.0),
    EntropyAware(entropy_p=9.0, entropy_q=0.0, top_n=3, overlap=0.0),
]


@pytest.mark.parametrize("rule", DOUBTS)
@pytest.mark.parametrize("gamma", [1, 2])
def test_entropy_aware_has_one_law_whatever_gamma(rule, gamma):
    """The joint law of the first tokens is that of its own step-by-step decoding."""
    logits, q = rows_for_prefixes(5, gamma)
    temperature, law = 0.8, {}
    hot = {k: torch.softmax(v.log() / temperature, 0) for k, v in q.items()}
    step = {k: law_of_one_token(rule, logits[k], q[k], temperature) for k in logits}
    uniforms = torch.quasirandom.SobolEngine(gamma + 1, scramble=True, seed=1).draw(POINTS).double()
    for drafts in itertools.product(range(V), repeat=gamma):
        weight = 1.0
        for i, token in enumerate(drafts):
            weight *= float(hot[drafts[:i]][token])
        prefixes = [drafts[:i] for i in range(gamma + 1)]
        out = rule.verify(
            torch.tensor([drafts]).expand(POINTS, -1),
            torch.stack([logits[k] for k in prefixes]).expand(POINTS, -1, -1),
            torch.stack([hot[k] for k in prefixes]).expand(POINTS, -1, -1),
            uniforms, temperature,
        )  # fmt: skip
        for a, x in itertools.product(range(gamma + 1), range(V)):
            share = weight * float(((out.accepted == a) & (out.token == x)).double().mean())
            text = (*drafts[:a], x)
            for rest in itertools.product(range(V), repeat=gamma + 1 - len(text)):
                more, whole = share, text
                for token in rest:
                    more *= float(step[whole][token])
                    whole = (*whole, token)
                law[whole] = law.get(whole, 0.0) + more
    for text in itertools.product(range(V), repeat=gamma + 1):
        expected = 1.0
        for i, token in enumerate(text):
            expected *= float(step[text[:i]][token])
        assert law.get(text, 0.0) == pytest.approx(expected, abs=2e-3)


def test_the_integrated_law_is_the_one_of_the_procedure():
    rule = DOUBTS[1]
    for seed in range(5):
        logits, q = rows_for_prefixes(seed, 0)
        p = torch.softmax(logits[()].double(), 0)
        law = doubtful_law(p[None], q[()].double()[None])[0]
        assert float(law.sum()) == pytest.approx(1, abs=1e-9)
        assert torch.allclose(law, law_of_one_token(rule, logits[()], q[()], 1.0), atol=1e-6)


def test_entropy_aware_greedy_does_not_depend_on_gamma(target, draft):
    rule = EntropyAware(entropy_p=1.0, entropy_q=1.0, top_n=3, overlap=0.6)
    asked = [Request(id=str(i), prompt=(3 + i, 9, 4), max_new_tokens=24) for i in range(6)]
    texts = []
    for gamma in (1, 2, 5):
        answers = decode(
            target, asked, Settings(eos={0}, drafter=DraftModel(draft, gamma), rule=rule)
        )
        texts.append({a.id: a.tokens for a in answers})
    assert texts[0] == texts[1] == texts[2]
    plain = {a.id: a.tokens for a in decode(target, asked, Settings(eos={0}))}
    assert texts[0] != plain


def test_entropy_thresholds_are_percentiles():
    p = torch.softmax(torch.randn(400, 11, generator=torch.Generator().manual_seed(1)), -1)
    q = torch.softmax(torch.randn(400, 11, generator=torch.Generator().manual_seed(2)), -1)
    for percentile in (0.0, 25.0, 90.0, 100.0):
        for rows, found in zip((p, q), entropy_thresholds(p, q, percentile), strict=True):
            below = float((-(rows * rows.log()).sum(-1) <= found + 1e-6).double().mean())
            assert below == pytest.approx(percentile / 100, abs=0.01)
    with pytest.raises(ValueError, match="percentile"):
        entropy_thresholds(p, q, 101)


def test_entropy_aware_needs_its_parameters_and_rows():
    with pytest.raises(ValueError, match="entropy_p"):
        make_rule("entropy_aware", {"top_n": 5})
    with pytest.raises(ValueError, match="every position"):
        DOUBTS[0].verify(torch.zeros(1, 1).long(), torch.zeros(1, 2, 3), None, torch.zeros(1, 2), 0)


def fly_by_hand(rule, drafts, logits, gamma):
    window = min(6, gamma - 1) if rule.window is None else rule.window
    p = torch.softmax(logits, -1)
    native = [int(logits[i].argmax()) == drafts[i] for i in range(gamma)]
    for i in range(gamma):
        best = p[i].sort(descending=True).values[: rule.top]
        doubt = float(-(best * best.log()).sum()) >= rule.entropy
        follows = window > 0 and i + window < gamma and all(native[i + 1 : i + 1 + window])
        if not (native[i] or (doubt and follows)):
            return i
    return gamma


@pytest.mark.parametrize("rule", [Fly(), Fly(window=2), Fly(entropy=0.9, window=1), Fly(window=9)])
@pytest.mark.parametrize("gamma", [1, 2, 5])
def test_fly_forgives_what_its_formula_forgives(rule, gamma):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(400, gamma + 1, 5, generator=generator) * 2
    drafts = logits[:, :gamma].argmax(-1)
    other = torch.randint(0, 5, drafts.shape, generator=generator)
    drafts = torch.where(torch.rand(drafts.shape, generator=generator) < 0.3, other, drafts)
    uniforms = torch.zeros(400, gamma + 1, dtype=torch.float64)
    out = rule.verify(drafts, logits, None, uniforms, 0.0)
    by_hand = [fly_by_hand(rule, d.tolist(), x, gamma) for d, x in zip(drafts, logits, strict=True)]
    assert out.accepted.tolist() == by_hand
    exact = Exact().verify(drafts, logits, None, uniforms, 0.0)
    forgiven = int((out.accepted > exact.accepted).sum())
    assert forgiven == 0 if gamma == 1 or rule.window == 9 else gamma == 2 or forgiven > 0
    assert out.token.tolist() == [int(logits[i, a].argmax()) for i, a in enumerate(by_hand)]


def test_fly_with_a_bar_too_high_is_the_exact_rule_at_any_temperature():
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(2000, 4, 5, generator=generator)
    q = torch.softmax(torch.randn(2000, 3, 5, generator=generator), -1)
    drafts = torch.randint(0, 5, (2000, 3), generator=generator)
    uniforms = torch.rand(2000, 4, dtype=torch.float64, generator=generator)
    for rows in (q, None):
        ours = Fly(entropy=5.0).verify(drafts, logits, rows, uniforms, 0.7)
        exact = Exact().verify(drafts, logits, rows, uniforms, 0.7)
        assert torch.equal(ours.accepted, exact.accepted)
        assert torch.equal(ours.token, exact.token)
        lossy = Fly().verify(drafts, logits, rows, uniforms, 0.7)
        assert int((lossy.accepted > exact.accepted).sum()) > 0


def test_relaxed_keeps_what_is_near_the_best():
    p = torch.tensor([0.4, 0.3, 0.2, 0.1])
    rows = p.log().expand(4, 2, 4)
    drafts = torch.arange(4)[:, None]
    uniforms = torch.zeros(4, 2, dtype=torch.float64)
    for top, delta, kept in [
        (1, 0.0, [1, 0, 0, 0]), (1, 0.9, [1, 0, 0, 0]), (2, 0.9, [1, 1, 0, 0]),
        (4, 0.15, [1, 1, 0, 0]), (4, 0.25, [1, 1, 1, 0]), (10, 0.6, [1, 1, 1, 1]),
    ]:  # fmt: skip
        out = Relaxed(top=top, delta=delta).verify(drafts, rows, None, uniforms, 0.0)
        assert out.accepted.tolist() == kept
        assert out.token.tolist() == [0] * 4
    with pytest.raises(ValueError, match="temperature"):
        Relaxed().verify(drafts, rows, None, uniforms, 0.5)


def test_relaxed_with_tensorrt_defaults_is_the_exact_rule_even_at_ties():
    logits = torch.randint(0, 3, (500, 3, 4), generator=torch.Generator().manual_seed(1)).float()
    drafts = torch.randint(0, 4, (500, 2), generator=torch.Generator().manual_seed(2))
    uniforms = torch.zeros(500, 3, dtype=torch.float64)
    ours = Relaxed(top=1, delta=0.0).verify(drafts, logits, None, uniforms, 0.0)
    exact = Exact().verify(drafts, logits, None, uniforms, 0.0)
    assert torch.equal(ours.accepted, exact.accepted)
    assert torch.equal(ours.token, exact.token)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_synthetic_keeps_by_coin_also_in_the_loop(target, stranger, temperature):
    asked = [Request(id=str(i), prompt=(3, 9, 4), max_new_tokens=80, seed=i) for i in range(8)]
    answers = list(
        decode(
            target,
            asked,
            Settings(
                eos=(),
                drafter=DraftModel(stranger, 3),
                rule=Synthetic(rate=0.6),
                temperature=temperature,
                batch=4,
            ),
        )
    )
    rounds = sum(a.rounds for a in answers)
    mean = sum(a.accepted for a in answers) / rounds
    # 0.6 + 0.36 + 0.216, the last round of each answer may be cut
    assert mean == pytest.approx(1.176, abs=0.25)
    assert len({tuple(a.histogram) for a in answers}) > 1


def test_every_rule_says_what_it_promises():
    lossless = {"block", "exact"}
    for name, rule in RULES.items():
        assert rule.name == name
        assert (rule.facts.promise is PromiseLevel.LOSSY) == (name not in lossless)
    trees = {name for name, rule in RULES.items() if issubclass(rule, TreeRule)}
    assert {"exact", "threshold", "typical"} <= trees
    assert not trees & {"block", "fly", "relaxed", "synthetic"}
    assert trees == {name for name, facts in RULE_FACTS.items() if facts.judges_trees}
    assert {name: rule.facts for name, rule in RULES.items()} == RULE_FACTS


def test_the_command_shows_options_and_what_is_required():
    done = CliRunner().invoke(main, ["rules", "--json"])
    rows = {row["rule"]: row for row in json.loads(done.stdout)}
    assert set(rows) == set(RULES)
    assert rows["exact"]["trees"]
    assert not rows["block"]["trees"]
    assert rows["entropy_aware"]["options"]["entropy_p"] == "required"
    assert rows["fly"]["options"] == {"entropy": 0.3, "window": None, "top": 3}
    assert "chains, trees" in CliRunner().invoke(main, ["rules"], env={"COLUMNS": "200"}).stdout
