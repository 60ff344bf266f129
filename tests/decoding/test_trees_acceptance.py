"""Acceptance vectors against the branches that verification really takes."""

import json

import pytest
import torch
from click.testing import CliRunner

from draftproof.cli import main
from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import Kind
from draftproof.decoding.rules import Exact
from draftproof.decoding.sampling import draw
from draftproof.decoding.trees import tree_of
from draftproof.decoding.trees.acceptance import branch_chances, measure_acceptance
from draftproof.decoding.trees.costs import measure_widths

STAR = tree_of([-1, 0, 0, 0])


@pytest.mark.parametrize("seed", range(3))
def test_chances_are_the_histogram_of_branches(seed):
    n, vocab = 2**15, 6
    generator = torch.Generator().manual_seed(seed)
    p = torch.softmax(torch.randn(vocab, generator=generator) * 1.5, 0).expand(n, -1)
    q = torch.softmax(torch.randn(vocab, generator=generator) * 1.5, 0).expand(n, -1)
    uniforms = torch.quasirandom.SobolEngine(7, scramble=True, seed=seed).draw(n).double()
    left, tokens = q.clone(), []
    for rank in range(3):
        token = draw(left, uniforms[:, rank])
        tokens.append(token)
        left = left.scatter(1, token[:, None], 0.0)
    out = Exact().verify_tree(
        torch.stack(tokens, 1), STAR, p.log()[:, None].expand(-1, 4, -1),
        q[:, None].expand(-1, 4, -1), Kind.WITHOUT_REPLACEMENT, uniforms[:, 3:], 1.0,
    )  # fmt: skip
    branch = torch.where(out.accepted == 1, out.nodes[:, 0], 0)
    histogram = torch.bincount(branch, minlength=4)[1:] / n
    expected = branch_chances(p, q, uniforms[:, :3]).mean(dim=0)
    assert torch.allclose(histogram.double(), expected, atol=4e-3)
    first = float(torch.minimum(p[0], q[0]).sum())
    assert float(expected[0]) == pytest.approx(first, abs=4e-3)


def test_equal_laws_accept_the_first_sibling_and_disjoint_ones_none():
    row = torch.softmax(torch.randn(50, 5, generator=torch.Generator().manual_seed(1)), -1)
    uniforms = torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    same = branch_chances(row, row, uniforms)
    assert torch.allclose(same[:, 0], torch.ones(50).double())
    assert same[:, 1].abs().max() < 1e-6
    p = torch.tensor([0.5, 0.5, 0.0, 0.0]).expand(50, -1)
    q = torch.tensor([0.0, 0.0, 0.3, 0.7]).expand(50, -1)
    assert branch_chances(p, q, uniforms).abs().max() == 0


def test_greedy_acceptance_is_the_rank_of_the_targets_choice():
    p = torch.tensor([[0.0, 5, 1, 0], [0, 1, 0, 5], [9, 0, 0, 0], [0, 0, 7, 1]])
    q = torch.tensor([[0.0, 9, 1, 2], [1, 4, 0, 3], [1, 2, 3, 4], [0, 0, 3, 1]])
    measured = measure_acceptance([(p[:1], q[:1]), (p[1:], q[1:])], ranks=3, temperature=0.0)
    assert measured.vector == (0.5, 0.25, 0.0)
    assert measured.positions == 4
    assert measured.none == pytest.approx(0.25)
    with pytest.raises(ValueError, match="there are none"):
        measure_acceptance([], ranks=3, temperature=0.0)


def test_logged_rows_are_those_that_decided(target, draft):
    asked = [Request(id=str(i), prompt=(3 + i, 9), max_new_tokens=12) for i in range(4)]
    for answer in decode(target, asked, Settings(eos=())):
        prompt = asked[int(answer.id)].prompt
        p, q = (model.rows_of(prompt, answer.tokens) for model in (target, draft))
        assert p.argmax(-1).tolist() == answer.tokens
        with torch.inference_mode():
            ids = torch.tensor([[*prompt, *answer.tokens]])
            whole = draft.module(ids).logits[0, len(prompt) - 1 : -1]
        assert torch.allclose(q, whole, atol=1e-4)


def test_every_width_is_timed(target):
    times = measure_widths(target, (4, 1, 2, 4), context=8, rounds=3)
    assert list(times) == [1, 2, 4]
    assert all(t > 0 for t in times.values())


@pytest.mark.parametrize("temperature", ["0", "0.8"])
def test_the_command_measures_the_lab_pair(temperature):
    arguments = (
        "acceptance lab:target lab:draft --limit 1 --max-new-tokens 8 --nodes 6 --depth 3 "
        f"--ranks 4 --temperature {temperature} --json"
    )
    done = CliRunner().invoke(main, arguments.split())
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert sum(found["acceptance"]) + found["none"] == pytest.approx(1)
    assert 0.3 < found["acceptance"][0] <= 1
    assert found["t_by_width"]["1"] == 1
    assert found["chain"]["parents"] == list(range(-1, found["chain"]["nodes"]))
    assert found["tree"]["nodes"] <= 6


def test_the_command_names_what_does_not_fit():
    done = CliRunner().invoke(
        main, ["acceptance", "lab:target", "lab:draft", "--max-new-tokens", "99999"]
    )
    assert done.exit_code == 2
    assert "no prompt fits" in done.output
