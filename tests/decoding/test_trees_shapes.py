"""Shapes: published trees, Sequoia's topology against dynamic programming, parts of a tree."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from draftproof.decoding.trees import (
    STATIC_TREES,
    Level,
    breadth_first,
    chain,
    choose,
    grow,
    static_tree,
    tree_of,
)
from draftproof.decoding.trees.sequoia import between, inner_widths, monotone
from draftproof.decoding.trees.static import depths, from_counts, from_paths, ranks

vectors = st.lists(st.floats(0.01, 1), min_size=1, max_size=4).map(
    lambda xs: [x / max(1.0, sum(xs)) for x in xs]
)


def worth(parents, vector):
    """G by its definition."""
    values, rank = [1.0], ranks(parents)
    for node, parent in enumerate(parents[1:], start=1):
        values.append(values[parent] * vector[rank[node]])
    return sum(values)


def test_published_trees_have_the_published_numbers():
    """Nodes, depths and nodes by depth, as their papers and repositories give them."""
    medusa, eagle = static_tree("medusa-63"), static_tree("eagle-25")
    assert len(medusa) - 1 == 63
    assert len(eagle) - 1 == 25
    assert [depths(medusa).count(d) for d in range(1, 5)] == [10, 28, 23, 2]
    assert [depths(eagle).count(d) for d in range(1, 6)] == [4, 8, 8, 3, 2]
    for parents in STATIC_TREES.values():
        assert breadth_first(parents) == parents
    with pytest.raises(ValueError, match="eagle-25, medusa-63"):
        static_tree("medusa")


def test_paths_and_counts_say_the_same():
    assert from_paths([(0,), (1,), (0, 0), (0, 1), (1, 0)]) == from_counts((2, 2, 1))
    for bad in ([(1,)], [(0, 0)], [(0,), (0,)], [()]):
        with pytest.raises(ValueError, match="twice, or lacks"):
            from_paths(bad)


@given(vectors, st.integers(1, 14), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_heap_finds_what_dynamic_programming_finds(vector, nodes, depth):
    falling = sorted(vector, reverse=True)
    growth = grow([falling] * depth, nodes)
    for n in range(1, len(growth.parents)):
        parents, tokens = grow_any(falling, n, depth)
        assert growth.tokens(n) == pytest.approx(tokens, rel=1e-9)
        assert worth(parents, falling) == pytest.approx(tokens, rel=1e-9)
        assert worth(growth.tree(n), falling) == pytest.approx(tokens, rel=1e-9)
        assert max(depths(growth.tree(n))) <= depth


def grow_any(vector, nodes, depth):
    """Return the best tree for a vector that need not fall, by dynamic programming.

    A sibling can only be proposed after its elders, so that a likely third rank may be worth an
    unlikely second one. With S(m, d) the best sum of at most m nodes including their root, d
    levels below it, and C(k, m, d) that of at most m nodes under the children from rank k on,
    C(k, m, d) = max(0, max_{1≤y≤m} p_k·S(y, d-1) + C(k+1, m-y, d)) and S(m, d) = 1 + C(1, m-1, d).
    It takes O(nodes²·depth·ranks) steps.

    Args:
        vector: p by rank, each in [0, 1], their sum at most 1.
        nodes: Budget below the root.
        depth: Most levels below the root.

    Returns:
        Parents in the order of a walk through the tree, and G.
    """
    best = [[1.0] * (nodes + 2) for _ in range(depth + 1)]
    choice: list[list[list[int]]] = [[]]
    for level in range(1, depth + 1):
        after = [0.0] * (nodes + 1)
        picks: list[list[int]] = []
        for chance in reversed(vector):
            found, picked = [0.0] * (nodes + 1), [0] * (nodes + 1)
            for m in range(1, nodes + 1):
                for y in range(1, m + 1):
                    value = chance * best[level - 1][y] + after[m - y]
                    if value > found[m]:
                        found[m], picked[m] = value, y
            after, picks = found, [picked, *picks]
        choice.append(picks)
        for m in range(1, nodes + 2):
            best[level][m] = 1.0 + after[m - 1]
    parents = [-1]

    def build(root, left, level) -> None:
        for picked in choice[level] if level else []:
            size = picked[left]
            if size == 0:
                return
            parents.append(root)
            build(len(parents) - 1, size - 1, level - 1)
            left -= size

    build(0, nodes, depth)
    return tuple(parents), best[depth][nodes + 1]


def every_tree(nodes, ranks_allowed, depth):
    """All parents lists of trees with exactly `nodes` nodes below the root."""
    for parents in itertools.product(*[range(i) for i in range(1, nodes + 1)]):
        whole = (-1, *parents)
        if max(ranks(whole)) < ranks_allowed and max(depths(whole)) <= depth:
            yield whole


@given(vectors, st.integers(1, 5), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_dynamic_programming_finds_the_best_of_all_trees(vector, nodes, depth):
    """Also for vectors that rise."""
    sizes = range(1, nodes + 1)
    all_trees = [t for n in sizes for t in every_tree(n, len(vector), depth)]
    best = max(worth(t, vector) for t in all_trees)
    parents, tokens = grow_any(vector, nodes, depth)
    assert tokens == pytest.approx(best, rel=1e-9)
    assert worth(parents, vector) == pytest.approx(best, rel=1e-9)
    assert len(parents) <= nodes + 1
    assert max(depths(parents)) <= depth


def test_known_values_of_the_objective():
    """p = (.65, .2, .1, .05), depth up to 10, in nodes with the root."""
    growth = grow([(0.65, 0.2, 0.1, 0.05)] * 10, 63)
    for nodes, tokens in ((4, 2.35), (8, 2.99), (16, 3.66), (32, 4.36), (64, 5.06)):
        assert round(growth.tokens(nodes - 1), 2) == tokens
    for gamma, tokens in ((3, 2.35), (5, 2.64), (7, 2.77)):
        assert round(worth(chain(gamma), (0.65,)), 2) == tokens


def test_accuracies_by_depth_make_medusas_kind_of_tree():
    growth = grow([[0.6, 0.2], [0.3, 0.1], [0.2]], 10)
    assert growth.tree(3) == (-1, 0, 0, 1)
    assert growth.values[:5] == pytest.approx((1, 0.6, 0.2, 0.18, 0.06))
    assert len(growth.parents) == 1 + 2 + 4 + 4


def test_rising_accuracies_are_refused_by_the_heap():
    with pytest.raises(ValueError, match="must not increase"):
        grow([[0.2, 0.3]], 4)
    assert monotone([0.2, 0.3, 0.1]) == (0.2, 0.2, 0.1)


@given(vectors, st.floats(0, 0.5), st.floats(0, 0.3))
@settings(max_examples=30, deadline=None)
def test_the_choice_is_the_best_of_all_budgets_and_depths(vector, draft, slope):
    def verify(width):
        return 1 + slope * (width - 1)

    falling = sorted(vector, reverse=True)
    found = choose(vector, verify, lambda _: draft, nodes=8, depth=4)
    for depth in range(1, 5):
        for nodes in range(depth, 9):
            _, tokens = grow_any(monotone(vector), nodes, depth)
            assert found.speedup >= tokens / (depth * draft + verify(nodes + 1)) * (1 - 1e-9)
    assert found.tokens == pytest.approx(worth(found.parents, monotone(vector)), rel=1e-9)
    assert found.depth == max(depths(found.parents))
    one = choose(vector, verify, lambda _: draft, nodes=8, depth=8, ranks=1)
    assert one.parents == chain(one.nodes)
    assert falling[0] >= falling[-1]


def test_the_choice_of_a_chain_is_the_textbooks():
    """c = .1, verification free: γ = 3, 4, 6, 10 at α = .6, .7, .8, .9."""
    for alpha, gamma, speedup in ((0.6, 3, 1.67), (0.7, 4, 1.98), (0.8, 6, 2.47), (0.9, 10, 3.43)):
        found = choose([alpha], lambda _: 1.0, lambda _: 0.1, nodes=20, depth=20, ranks=1)
        assert (found.nodes, round(found.speedup, 2)) == (gamma, speedup)
    with pytest.raises(ValueError, match="no node is worth"):
        choose([0.0], lambda _: 1.0, lambda _: 0.1, nodes=4, depth=4)


def test_a_draft_that_is_slow_on_wide_levels_makes_narrow_trees():
    vector = (0.5, 0.3, 0.1)
    wide = choose(vector, lambda _: 1.0, lambda _: 0.1, nodes=16, depth=6)
    narrow = choose(vector, lambda _: 1.0, lambda width: 0.1 * width**2, nodes=16, depth=6)
    assert max(inner_widths(wide.parents)) > max(inner_widths(narrow.parents))
    expected = 1.0 + sum(0.1 * width**2 for width in inner_widths(narrow.parents))
    assert narrow.cost == pytest.approx(expected)


def test_times_between_measured_widths_are_linear():
    time = between({1: 1.0, 4: 1.6, 8: 3.0})
    assert [time(w) for w in (1, 2, 4, 6, 8)] == pytest.approx([1, 1.2, 1.6, 2.3, 3])
    with pytest.raises(ValueError, match="outside"):
        time(9)


def test_a_tree_run_level_by_level_says_what_the_whole_tree_says(target):
    parents = breadth_first((-1, 0, 0, 1, 1, 2, 3, 3, 5))
    tree = tree_of(parents)
    tokens = torch.randint(1, 29, (3, len(parents)), generator=torch.Generator().manual_seed(1))
    starts = torch.tensor([0, 5, 9])
    before = torch.randint(1, 29, (3, 9), generator=torch.Generator().manual_seed(2))
    caches = [target.new_cache(3, 32) for _ in range(2)]
    for cache in caches:
        target.forward(before, torch.zeros(3, dtype=torch.int64), cache)
    whole = target.forward(tokens, starts, caches[0], tree=tree)
    depth, first = depths(parents), 0
    while first < len(parents):
        end = first + depth.count(depth[first])
        part = Level.of(tree, first, end)
        rows = target.forward(tokens[:, first:end], starts + first, caches[1], tree=part)
        assert torch.allclose(rows, whole[:, first:end], atol=1e-5)
        first = end
