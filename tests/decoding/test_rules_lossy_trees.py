"""The lossy rules on trees against what their formulas say, computed another way."""

import pytest
import torch

from draftproof.decoding.drafters import Kind
from draftproof.decoding.rules import Threshold, Typical
from draftproof.decoding.trees import chain, tree_of

TREES = [chain(3), (-1, 0, 0, 1, 1, 2), (-1, 0, 1, 1, 0, 4), (-1, 0, 0, 0, 3, 4)]


@pytest.mark.parametrize("parents", TREES)
@pytest.mark.parametrize("rule", [Typical(epsilon=0.2, delta=0.5), Typical(tempered=True)])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_typical_takes_the_longest_then_the_likeliest_path(parents, rule, temperature):
    n, size = 300, len(parents)
    generator = torch.Generator().manual_seed(8)
    logits = torch.randn(n, size, 6, generator=generator)
    tokens = torch.randint(0, 6, (n, size - 1), generator=generator)
    uniforms = torch.rand(n, size, dtype=torch.float64, generator=generator)
    out = rule.verify_tree(
        tokens, tree_of(parents), logits, None, Kind.ONE_HOT, uniforms, temperature
    )
    heat = temperature if rule.tempered and temperature > 0 else 1.0
    p = torch.softmax(logits / heat, -1).double()
    for i in range(n):
        best = (0, 0.0, ())
        for node in range(1, size):
            path, at = [], node
            while at:
                path.insert(0, at)
                at = parents[at]
            score, fine = 0.0, True
            for step in path:
                row, token = p[i, parents[step]], int(tokens[i, step - 1])
                limit = min(rule.epsilon, rule.delta * float((row * row.log()).sum().exp()))
                if rule.tempered and temperature == 0:
                    fine &= int(logits[i, parents[step]].argmax()) == token
                else:
                    fine &= float(row[token]) > limit
                score += float(row[token].log())
            if fine and (len(path), score) > best[:2]:
                best = (len(path), score, tuple(path))
        assert int(out.accepted[i]) == best[0]
        assert tuple(out.nodes[i, : best[0]].tolist()) == best[2]


@pytest.mark.parametrize("rule", [Typical(), Threshold(single=0.3), Threshold(acc=0.6)])
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_chain_is_judged_alike_as_chain_and_as_tree(rule, temperature):
    generator = torch.Generator().manual_seed(9)
    tokens = torch.randint(0, 4, (2000, 3), generator=generator)
    logits = torch.randn(2000, 4, 4, generator=generator) * 2
    uniforms = torch.rand(2000, 4, dtype=torch.float64, generator=generator)
    flat = rule.verify(tokens, logits, None, uniforms, temperature)
    tree = rule.verify_tree(
        tokens, tree_of(chain(3)), logits, None, Kind.ONE_HOT, uniforms, temperature
    )
    assert torch.equal(flat.accepted, tree.accepted)
    assert torch.equal(flat.token, tree.token)


def test_thresholds_over_siblings_are_an_inverse_distribution_function():
    p = torch.tensor([0.1, 0.2, 0.3, 0.4])
    tree = tree_of([-1, 0, 0, 0])
    uniforms = torch.zeros(5, 4, dtype=torch.float64)
    uniforms[:, 0] = torch.tensor([0.29, 0.31, 0.49, 0.51, 0.59])
    tokens = torch.tensor([[2, 1, 0]]).expand(5, -1)
    rows = p.log().expand(5, 4, 4)
    exact = Threshold().verify_tree(tokens, tree, rows, None, Kind.ONE_HOT, uniforms, 1.0)
    assert torch.where(exact.accepted > 0, exact.nodes[:, 0], 0).tolist() == [1, 2, 2, 3, 3]
    loose = Threshold(acc=0.6).verify_tree(tokens, tree, rows, None, Kind.ONE_HOT, uniforms, 1.0)
    assert torch.where(loose.accepted > 0, loose.nodes[:, 0], 0).tolist() == [1, 1, 1, 2, 2]
    single = Threshold(single=0.2).verify_tree(
        tokens, tree, rows, None, Kind.ONE_HOT, uniforms, 1.0
    )
    assert single.nodes[:, 0].tolist() == [1] * 5
