"""Rules against their law, by enumeration over a tiny vocabulary."""

import itertools

import pytest
import torch

from draftproof.decoding.rules import Block, Ensemble, Exact, Threshold, Typical, make_rule
from draftproof.decoding.sampling import draw

V, GAMMA = 3, 2


def laws(seed: int):
    """Random rows p(.|prefix) and q(.|prefix) for every prefix shorter than γ + 1."""
    generator = torch.Generator().manual_seed(seed)
    prefixes = [p for n in range(GAMMA + 1) for p in itertools.product(range(V), repeat=n)]
    logits = {p: torch.randn(V, generator=generator) * 1.5 for p in prefixes}
    q = {p: torch.softmax(torch.randn(V, generator=generator) * 1.5, 0) for p in prefixes}
    return logits, q


def joint_law(rule, logits, q, temperature: float, grid: int, one_hot: bool = False):
    """Exact-up-to-grid joint law of the first two tokens of a round continued plainly.

    The acceptance uniforms are integrated on a midpoint grid per draft, the last coin by the law
    of the residual itself (read off `draw` with a fine grid of uniforms).
    """
    law = torch.zeros(V, V, dtype=torch.float64)
    p = {k: torch.softmax(v.double() / temperature, 0) for k, v in logits.items()}
    mid = (torch.arange(grid, dtype=torch.float64) + 0.5) / grid
    uniforms = torch.cartesian_prod(mid, mid, mid)
    for drafts in itertools.product(range(V), repeat=GAMMA):
        if one_hot:
            weight = 1.0 if drafts == (0, 1) else 0.0
        else:
            weight = float(q[()][drafts[0]].double() * q[drafts[:1]][drafts[1]].double())
        if not weight:
            continue
        n = uniforms.shape[0]
        rows = torch.stack([logits[drafts[:i]] for i in range(GAMMA + 1)]).expand(n, -1, -1)
        q_rows = (
            None
            if one_hot
            else torch.stack([q[drafts[:i]] for i in range(GAMMA)]).expand(n, -1, -1)
        )
        drafted = torch.tensor([drafts]).expand(n, -1)
        accepted, token, *_ = rule.verify(drafted, rows, q_rows, uniforms, temperature)
        for a in range(GAMMA + 1):
            for x in range(V):
                share = weight * float(((accepted == a) & (token == x)).double().mean())
                emitted = (*drafts[:a], x)
                if len(emitted) >= 2:
                    law[emitted[0], emitted[1]] += share
                else:
                    law[emitted[0]] += share * p[emitted]
    return law, p


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("rule", "one_hot"),
    [(Exact(), False), (Exact(), True), (Block(), False), (Block(), True), (Threshold(), True),
     (Ensemble(weight=1.0), False)],
)  # fmt: skip
def test_lossless_rules_keep_the_law(seed, rule, one_hot):
    logits, q = laws(seed)
    law, p = joint_law(rule, logits, q, 0.8, grid=60, one_hot=one_hot)
    expected = torch.stack([p[()][a] * p[(a,)] for a in range(V)])
    assert law.sum().item() == pytest.approx(1, abs=1e-6)
    # each coin is integrated to within half a grid cell
    assert (law - expected).abs().max() < 1.5 / 60


def test_a_lenient_accept_breaks_the_law():
    class Lenient(Exact):
        def verify(self, drafts, logits, q, uniforms, temperature, state=None):
            return super().verify(drafts, logits, q, uniforms * 0.2, temperature)

    logits, q = laws(0)
    law, p = joint_law(Lenient(), logits, q, 0.8, grid=60)
    expected = torch.stack([p[()][a] * p[(a,)] for a in range(V)])
    assert (law - expected).abs().max() > 2 * 1.5 / 60


@pytest.mark.parametrize("rule", [Typical(), Ensemble(weight=0.3), Threshold(single=0.2)])
def test_lossy_rules_break_the_law(rule):
    logits, q = laws(1)
    law, p = joint_law(rule, logits, q, 0.8, grid=60)
    expected = torch.stack([p[()][a] * p[(a,)] for a in range(V)])
    assert (law - expected).abs().max() > 2 * 1.5 / 60


@pytest.mark.parametrize("seed", range(4))
def test_block_verification_keeps_at_least_as_much(seed):
    logits, q = laws(seed)
    uniforms = torch.rand(40_000, GAMMA + 1, dtype=torch.float64, generator=torch.Generator())
    mean = {}
    for rule in (Exact(), Block()):
        total = 0.0
        for drafts in itertools.product(range(V), repeat=GAMMA):
            weight = float(q[()][drafts[0]].double() * q[drafts[:1]][drafts[1]].double())
            rows = torch.stack([logits[drafts[:i]] for i in range(GAMMA + 1)])
            q_rows = torch.stack([q[drafts[:i]] for i in range(GAMMA)])
            n = uniforms.shape[0]
            out = rule.verify(
                torch.tensor([drafts]).expand(n, -1), rows.expand(n, -1, -1),
                q_rows.expand(n, -1, -1), uniforms, 0.8,
            )  # fmt: skip
            total += weight * float(out.accepted.double().mean())
        mean[rule.name] = total
    assert mean["block"] >= mean["exact"] - 0.01


def test_ensemble_verifies_against_the_mixture():
    """With one draft the first token's law is v = w·p + (1 - w)·q."""
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.6])
    n = 200
    mid = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    uniforms = torch.cartesian_prod(mid, mid)
    law = torch.zeros(3, dtype=torch.float64)
    for x in range(3):
        rows = p.log().expand(uniforms.shape[0], 2, 3)
        drafts = torch.full((uniforms.shape[0], 1), x)
        out = Ensemble(weight=0.4).verify(
            drafts, rows, q.expand(uniforms.shape[0], 1, 3), uniforms, 1.0
        )
        first = torch.where(out.accepted == 1, x, out.token)
        law += float(q[x]) * torch.bincount(first, minlength=3) / uniforms.shape[0]
    assert torch.allclose(law, (0.4 * p + 0.6 * q).double(), atol=0.01)
    with pytest.raises(ValueError, match="dense q"):
        Ensemble().verify(drafts, rows, None, uniforms, 0.0)


def test_thresholds_keep_what_is_likely_enough():
    logits = torch.log(torch.tensor([[[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]]]))
    uniforms = torch.zeros(1, 2, dtype=torch.float64)
    for single, kept in [(1.0, [1, 0, 0]), (0.25, [1, 1, 0]), (0.001, [1, 1, 1])]:
        rule = Threshold(single=single)
        got = [
            int(rule.verify(torch.tensor([[x]]), logits, None, uniforms, 0.0).accepted)
            for x in range(3)
        ]
        assert got == kept


def test_greedy_keeps_the_argmax_run_and_corrects():
    logits = torch.tensor([[[0.0, 2, 1], [3, 0, 0], [0, 0, 4]]])
    uniforms = torch.zeros(1, 3, dtype=torch.float64)
    for drafts, accepted, token in [((1, 0), 2, 2), ((1, 2), 1, 0), ((0, 0), 0, 1)]:
        out = Exact().verify(torch.tensor([drafts]), logits, None, uniforms, 0.0)
        assert (int(out.accepted), int(out.token)) == (accepted, token)


def test_ties_go_to_the_lowest_id():
    logits = torch.tensor([[[1.0, 1, 0], [0, 0, 0]]])
    out = Exact().verify(torch.tensor([[1]]), logits, None, torch.zeros(1, 2).double(), 0.0)
    assert (int(out.accepted), int(out.token)) == (0, 0)


def test_equal_laws_accept_everything_and_disjoint_ones_nothing():
    uniforms = torch.rand(200, 2, dtype=torch.float64)
    row = torch.log(torch.tensor([0.5, 0.3, 0.2])).expand(200, 2, 3)
    drafts = torch.randint(0, 3, (200, 1))
    same = Exact().verify(drafts, row, torch.softmax(row[:, :1], -1), uniforms, 1.0)
    assert bool((same.accepted == 1).all())
    q = torch.tensor([0.0, 0.0, 1.0]).expand(200, 1, 3)
    p = torch.tensor([0.6, 0.4, 0.0]).log().expand(200, 2, 3)
    none = Exact().verify(torch.full((200, 1), 2), p, q, uniforms, 1.0)
    assert bool((none.accepted == 0).all())
    assert bool((none.token < 2).all())


def test_typical_follows_its_formula():
    p = torch.tensor([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]])
    entropy = -(p[0] * p[0].log()).sum()
    threshold = min(0.2, 0.5 * float(torch.exp(-entropy)))
    for token in range(3):
        out = Typical(epsilon=0.2, delta=0.5).verify(
            torch.tensor([[token]]), p.log()[None], None, torch.zeros(1, 2).double(), 0.0
        )
        assert int(out.accepted) == int(float(p[0, token]) > threshold)


def test_typical_on_a_row_tempered_to_zero_is_the_argmax_test():
    torch.manual_seed(0)
    logits = torch.randn(500, 3, 7)
    drafts = torch.randint(0, 7, (500, 2))
    uniforms = torch.zeros(500, 3, dtype=torch.float64)
    lossy = Typical(tempered=True).verify(drafts, logits, None, uniforms, 0.0)
    exact = Exact().verify(drafts, logits, None, uniforms, 0.0)
    assert torch.equal(lossy.accepted, exact.accepted)
    assert torch.equal(lossy.token, exact.token)
    untempered = Typical().verify(drafts, logits, None, uniforms, 0.0)
    assert int((untempered.accepted > exact.accepted).sum()) > 50


def test_draw_never_takes_a_token_without_weight():
    weights = torch.tensor([[0.0, 1.0, 0.0, 2.0, 0.0]]).expand(5, -1)
    uniforms = torch.tensor([0.0, 0.3333, 0.3334, 0.9999, 1 - 2**-53], dtype=torch.float64)
    assert draw(weights, uniforms).tolist() == [1, 1, 3, 3, 3]


def test_unknown_rules_and_options_are_named():
    with pytest.raises(ValueError, match="block, ensemble, entropy_aware, exact, fly, relaxed"):
        make_rule("typicle")
    with pytest.raises(ValueError, match="epsilom"):
        make_rule("typical", {"epsilom": 0.1})
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        make_rule("typical", {"epsilon": 2})
