"""Tree rules against their law, by enumeration over a tiny vocabulary."""

import itertools

import pytest
import torch

from draftproof.decoding.drafters import Kind
from draftproof.decoding.rules import Exact, Threshold
from draftproof.decoding.trees import chain, tree_of

V = 3
SHAPES = {
    "chain": chain(2),
    "pair": (-1, 0, 0),
    "all of the vocabulary": (-1, 0, 0, 0),
    "elder with a child": (-1, 0, 0, 1),
    "younger with a child": (-1, 0, 0, 2),
    "child before sibling": (-1, 0, 1, 0),
    "two levels of two": (-1, 0, 0, 1, 1),
}
POINTS = 2**11


def laws(seed: int, depth: int, spread: float = 1.5):
    """Random target logits and draft rows for every prefix of up to `depth` tokens."""
    generator = torch.Generator().manual_seed(seed)
    prefixes = [p for n in range(depth + 1) for p in itertools.product(range(V), repeat=n)]
    logits = {p: torch.randn(V, generator=generator) * spread for p in prefixes}
    q = {p: torch.softmax(torch.randn(V, generator=generator) * spread, 0) for p in prefixes}
    return logits, q


def prefixes_of(parents, tokens):
    """The text on the way to each node."""
    texts = [()]
    for parent, token in zip(parents[1:], tokens, strict=True):
        texts.append((*texts[parent], token))
    return texts


def chance_of(parents, tokens, q, kind):
    """How likely the draft proposes exactly these tokens."""
    texts = prefixes_of(parents, tokens)
    if kind is Kind.ONE_HOT:
        # a fixed choice that depends on the text alone: siblings by descending q
        wanted = []
        for node, parent in enumerate(parents[1:], start=1):
            rank = sum(1 for p in parents[1:node] if p == parent)
            wanted.append(int(q[texts[parent]].argsort(descending=True)[rank]))
        return float(wanted == list(tokens))
    chance = 1.0
    for node, parent in enumerate(parents[1:], start=1):
        row = q[texts[parent]].double()
        if kind is Kind.WITHOUT_REPLACEMENT:
            elder = [tokens[n - 1] for n in range(1, node) if parents[n] == parent]
            if tokens[node - 1] in elder:
                return 0.0
            row = row / (row.sum() - sum(row[t] for t in elder))
        chance *= float(row[tokens[node - 1]])
    return chance


def points(size: int, seed: int = 0):
    return torch.quasirandom.SobolEngine(size, scramble=True, seed=seed).draw(POINTS).double()


def law_of(rule, parents, logits, q, kind, temperature):
    """Joint law of the first tokens of a round continued plainly, up to the depth plus one."""
    tree = tree_of(parents)
    length = tree.deepest + 1
    p = {k: torch.softmax(v.double() / temperature, 0) for k, v in logits.items()}
    law = dict.fromkeys(itertools.product(range(V), repeat=length), 0.0)
    size = len(parents) - 1
    for seed, tokens in enumerate(itertools.product(range(V), repeat=size)):
        weight = chance_of(parents, tokens, q, kind)
        if not weight:
            continue
        texts = prefixes_of(parents, tokens)
        rows = torch.stack([logits[t] for t in texts]).expand(POINTS, -1, -1)
        q_rows = torch.stack([q[t] for t in texts]).expand(POINTS, -1, -1)
        uniforms = points(size + 1, seed)
        nodes, accepted, token = rule.verify_tree(
            torch.tensor([tokens]).expand(POINTS, -1),
            tree,
            rows,
            q_rows,
            kind,
            uniforms,
            temperature,
        )
        last = torch.where(
            accepted > 0, nodes.gather(1, (accepted - 1).clamp(min=0)[:, None])[:, 0], 0
        )
        for end, after in itertools.product(range(size + 1), range(V)):
            share = weight * float(((last == end) & (token == after)).double().mean())
            if share:
                text = (*texts[end], after)
                for rest in itertools.product(range(V), repeat=length - len(text)):
                    more, so_far = share, text
                    for t in rest:
                        more *= float(p[so_far][t])
                        so_far = (*so_far, t)
                    law[so_far] += more
    return law


def expected_law(logits, length, temperature):
    p = {k: torch.softmax(v.double() / temperature, 0) for k, v in logits.items()}
    law = {}
    for text in itertools.product(range(V), repeat=length):
        chance = 1.0
        for i, token in enumerate(text):
            chance *= float(p[text[:i]][token])
        law[text] = chance
    return law


def distance(law, expected):
    return max(abs(law[k] - expected[k]) for k in expected)


@pytest.mark.parametrize("kind", list(Kind), ids=lambda k: k.name.lower())
@pytest.mark.parametrize("shape", SHAPES)
def test_the_exact_rule_keeps_the_law_of_the_target(shape, kind):
    parents = SHAPES[shape]
    depth = tree_of(parents).deepest
    logits, q = laws(len(shape), depth)
    law = law_of(Exact(), parents, logits, q, kind, 0.8)
    assert sum(law.values()) == pytest.approx(1, abs=1e-6)
    assert distance(law, expected_law(logits, depth + 1, 0.8)) < 2e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_thresholds_of_one_keep_the_law_of_the_target(shape):
    parents = SHAPES[shape]
    depth = tree_of(parents).deepest
    logits, q = laws(len(shape), depth)
    law = law_of(Threshold(), parents, logits, q, Kind.ONE_HOT, 0.8)
    assert distance(law, expected_law(logits, depth + 1, 0.8)) < 2e-3


@pytest.mark.parametrize(
    ("drawn", "judged"),
    [
        (Kind.WITHOUT_REPLACEMENT, Kind.DENSE),
        (Kind.ONE_HOT, Kind.DENSE),
        (Kind.ONE_HOT, Kind.WITHOUT_REPLACEMENT),
    ],
)
def test_taking_siblings_for_another_kind_breaks_the_law(drawn, judged):
    class Mistaken:
        def verify_tree(self, tokens, tree, logits, q, kind, uniforms, temperature):
            return Exact().verify_tree(tokens, tree, logits, q, judged, uniforms, temperature)

    errors = []
    for seed in range(4):
        logits, q = laws(seed, 1)
        law = law_of(Mistaken(), SHAPES["all of the vocabulary"], logits, q, drawn, 0.8)
        errors.append(distance(law, expected_law(logits, 2, 0.8)))
    assert max(errors) > 1e-2


def test_independent_siblings_less_their_repetitions_are_drawn_without_replacement():
    class Other:
        def verify_tree(self, tokens, tree, logits, q, kind, uniforms, temperature):
            kind = Kind.WITHOUT_REPLACEMENT
            return Exact().verify_tree(tokens, tree, logits, q, kind, uniforms, temperature)

    logits, q = laws(2, 1)
    law = law_of(Other(), SHAPES["all of the vocabulary"], logits, q, Kind.DENSE, 0.8)
    assert distance(law, expected_law(logits, 2, 0.8)) < 2e-3


def test_rows_may_have_trees_of_their_own():
    shapes = [(-1, 0, 0, 1), (-1, 0, 1, 2), (-1, 0, 0, 0), (-1, 0, 1, 0)]
    n = 500
    generator = torch.Generator().manual_seed(4)
    tokens = torch.randint(0, 5, (n, 3), generator=generator)
    logits = torch.randn(n, 4, 5, generator=generator) * 2
    q = torch.softmax(torch.randn(n, 4, 5, generator=generator), -1)
    uniforms = torch.rand(n, 4, dtype=torch.float64, generator=generator)
    which = torch.randint(0, len(shapes), (n,), generator=generator)
    together = tree_of(torch.tensor(shapes)[which], deepest=3)
    for kind, temperature in itertools.product(Kind, (0.0, 0.7)):
        out = Exact().verify_tree(tokens, together, logits, q, kind, uniforms, temperature)
        for i, shape in enumerate(shapes):
            at = which == i
            own = Exact().verify_tree(
                tokens[at], tree_of(shape), logits[at], q[at], kind, uniforms[at], temperature
            )
            assert torch.equal(own.accepted, out.accepted[at])
            assert torch.equal(own.token, out.token[at])
            depth = torch.arange(own.nodes.shape[1]) < own.accepted[:, None]
            nodes = out.nodes[at][:, : own.nodes.shape[1]]
            assert torch.equal(own.nodes * depth, nodes * depth)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_chain_is_judged_alike_as_chain_and_as_tree(temperature):
    generator = torch.Generator().manual_seed(9)
    tokens = torch.randint(0, 4, (2000, 3), generator=generator)
    logits = torch.randn(2000, 4, 4, generator=generator) * 2
    q = torch.softmax(torch.randn(2000, 4, 4, generator=generator), -1)
    uniforms = torch.rand(2000, 4, dtype=torch.float64, generator=generator)
    for kind in Kind:
        rows = None if kind is Kind.ONE_HOT else q
        flat = Exact().verify(
            tokens, logits, None if rows is None else rows[:, :3], uniforms, temperature
        )
        tree = Exact().verify_tree(
            tokens, tree_of(chain(3)), logits, rows, kind, uniforms, temperature
        )
        assert torch.equal(flat.accepted, tree.accepted)
        assert torch.equal(flat.token, tree.token)
        assert torch.equal(
            tree.nodes[0, : int(tree.accepted[0])], torch.arange(1, 4)[: int(tree.accepted[0])]
        )


def test_greedy_follows_the_argmax_through_the_tree():
    # root's best is 2, proposed second; below it 1 is best and proposed first
    parents = [-1, 0, 0, 1, 2, 2]
    tokens = torch.tensor([[0, 2, 1, 1, 0]])
    rows = [[0, 1, 4], [9, 0, 0], [0, 5, 1], [0, 0, 0], [0, 3, 7], [1, 0, 0]]
    logits = torch.tensor([rows], dtype=torch.float32)
    uniforms = torch.zeros(1, 6, dtype=torch.float64)
    out = Exact().verify_tree(tokens, tree_of(parents), logits, None, Kind.ONE_HOT, uniforms, 0.0)
    assert out.nodes[0, :2].tolist() == [2, 4]
    assert (int(out.accepted), int(out.token)) == (2, 2)


@pytest.mark.parametrize("kind", list(Kind), ids=lambda k: k.name.lower())
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_sibling_proposed_twice_counts_once(kind, temperature):
    """Trees may be filled up with repeated siblings: these change nothing."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(3000, 3, 4, generator=generator) * 2
    q = torch.softmax(torch.randn(3000, 3, 4, generator=generator), -1)
    uniforms = torch.rand(3000, 3, dtype=torch.float64, generator=generator)
    token = torch.randint(0, 4, (3000, 1), generator=generator)
    once = Exact().verify_tree(
        token, tree_of([-1, 0]), logits[:, :2], q[:, :2], kind, uniforms[:, [0, 2]], temperature
    )
    twice = Exact().verify_tree(
        token.expand(-1, 2), tree_of([-1, 0, 0]), logits[:, [0, 1, 1]], q[:, [0, 1, 1]], kind,
        uniforms, temperature,
    )  # fmt: skip
    assert bool((twice.nodes[:, 0] <= 1).all())
    assert torch.equal(once.accepted, twice.accepted)
    if kind is not Kind.DENSE or temperature == 0:
        # an independent sibling may well repeat a token, and then counts as a try of its own
        assert torch.equal(once.token, twice.token)


def test_a_draft_without_further_tokens_is_judged_without_coin():
    """q has two tokens; the third sibling was chosen because nothing else was left."""
    p = torch.tensor([0.2, 0.3, 0.5])
    q = torch.tensor([0.6, 0.4, 0.0])
    tree, n = tree_of([-1, 0, 0, 0]), 2**14
    uniforms = torch.quasirandom.SobolEngine(4, scramble=True, seed=1).draw(n).double()
    law = torch.zeros(3, dtype=torch.float64)
    for tokens, weight in (([0, 1, 2], 0.6), ([1, 0, 2], 0.4)):
        out = Exact().verify_tree(
            torch.tensor([tokens]).expand(n, -1), tree, p.log().expand(n, 4, 3),
            q.expand(n, 4, 3), Kind.WITHOUT_REPLACEMENT, uniforms, 1.0,
        )  # fmt: skip
        emitted = torch.where(
            out.accepted == 1, torch.tensor(tokens)[out.nodes[:, 0] - 1], out.token
        )
        law += weight * torch.bincount(emitted, minlength=3) / n
    assert torch.allclose(law, p.double(), atol=2e-3)
