"""Scoring again: many positions at once say what one at a time says, and text finds its tokens."""

from dataclasses import replace

import pytest

from draftproof.battery import load_battery
from draftproof.decoding.noise_bound import noise_bound
from draftproof.records import Cause, Pair
from draftproof.rescoring.rescore import LocalRescorer
from draftproof.rescoring.rescorer import ScoreRequest
from draftproof.runs.parallel import Workers
from draftproof.screen.forensics import explain
from draftproof.stacks import ArmSpec, make_engine


def arm(name, **options):
    shared = {"role": "candidate", "target": "lab:target", "batch": 8, "max_new_tokens": 32}
    return ArmSpec.model_validate({"name": name, **shared, **options})


def answers(spec, prompts):
    engine = make_engine(spec)
    engine.open(prompts)
    return {c.id: c for c in engine.answer(prompts)}


@pytest.fixture(scope="module")
def prompts():
    return load_battery("lab-core").half("quick").limit(3).prompts


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def leaky(request, prompts):
    """Pairs of the target and a rule that keeps what is merely plausible, and their rescorer."""
    options = {"dtype": request.param}
    plain = answers(arm("plain", role="baseline", **options), prompts)
    spec = arm("leaky", draft="lab:adversarial", rule="typical", **options)
    given = answers(spec, prompts)
    pairs = [
        Pair(prompt=p, baseline=plain[p.id], candidate=given[p.id])
        for p in prompts
        if plain[p.id].text != given[p.id].text
    ]
    return pairs, LocalRescorer(spec), request.param


BOUNDS = {"float32": 3e-4, "bfloat16": 0.5}
"""Nats that shapes and company may move a row by."""


class Inline:
    """Two helpers that are this process, twice."""

    jobs = 2

    def __init__(self):
        self.sizes = []

    def spread(self, name, function, arguments):
        self.sizes += [len(own[1]) for own in arguments]
        return [function(*own, lambda news: None) for own in arguments]


def positions(pairs):
    """Yield a question about every token of the leaky answers."""
    for pair in pairs:
        ids = pair.candidate.token_ids
        for end in range(len(ids)):
            yield ScoreRequest(pair.prompt, ids[:end], (ids[end],))


def test_helpers_read_what_one_process_reads(leaky):
    pairs, rescorer, dtype = leaky
    asked = list(positions(pairs))[:101]
    alone, inline = rescorer.scores(asked), Inline()
    rescorer._helpers = inline
    try:
        together = rescorer.scores(asked)
        assert inline.sizes == [51, 50]
        assert len(rescorer.scores(asked[:20])) == 20
        assert inline.sizes == [51, 50], "a few are not worth sending"
    finally:
        rescorer._helpers = None
    if dtype == "float32":  # our kernels: company does not move a bit
        assert together == alone
    for one, other in zip(alone, together, strict=True):
        for token, margins in one.margins.items():
            assert margins == pytest.approx(other.margins[token], abs=BOUNDS[dtype])


@pytest.mark.slow
def test_workers_of_their_own_read_the_same(leaky):
    pairs, rescorer, dtype = leaky
    if dtype != "float32":
        pytest.skip("once is enough: the processes share no arithmetic")
    asked = list(positions(pairs))[:80]
    alone = rescorer.scores(asked)
    with Workers(2) as workers:
        rescorer._helpers = workers
        try:
            assert rescorer.scores(asked) == alone
        finally:
            rescorer._helpers = None


def test_many_positions_at_once_are_classed_as_one_at_a_time(leaky):
    pairs, rescorer, dtype = leaky
    assert len(pairs) > 5
    together = [f.divergence for f in explain(pairs, rescorer, BOUNDS[dtype])]
    alone = [explain([p], rescorer, BOUNDS[dtype])[0].divergence for p in pairs]
    assert [d.cause for d in together] == [d.cause for d in alone]
    assert {d.cause for d in together} <= {Cause.LEAK, Cause.TIE}
    for one, other in zip(together, alone, strict=True):
        assert (one.token_index, one.draft_token) == (other.token_index, other.draft_token)
        # the bits of a row depend on its company; the bound was measured for that
        assert one.margin == pytest.approx(other.margin, abs=BOUNDS[dtype])


def test_the_order_of_the_requests_is_that_of_the_scores(leaky):
    pairs, rescorer, dtype = leaky
    asked = [
        ScoreRequest(p.prompt, p.baseline.token_ids[:i], (p.baseline.token_ids[i],))
        for p in pairs
        for i in (0, len(p.baseline.token_ids) // 2)
    ]
    for question, opinion in zip(asked, rescorer.scores(asked), strict=True):
        own = question.tokens[0]
        assert opinion.margin(own) <= BOUNDS[dtype]
        assert opinion.ranks[own] == 0 or opinion.margins[own][0] <= BOUNDS[dtype]
        margins = [m for _, m in opinion.best]
        assert margins == sorted(margins)


def test_company_does_little_to_a_row(leaky):
    pairs, rescorer, dtype = leaky
    asked = [ScoreRequest(p.prompt, (), (p.candidate.token_ids[0],)) for p in pairs]
    together = rescorer.scores(asked)
    for question, opinion in zip(asked, together, strict=True):
        token = question.tokens[0]
        alone = rescorer.scores([question])[0]
        assert abs(opinion.margin(token) - alone.margin(token)) <= BOUNDS[dtype]


def test_text_alone_finds_the_same_first_difference(leaky):
    pairs, rescorer, dtype = leaky
    bare = [
        replace(
            p,
            baseline=replace(p.baseline, token_ids=None, provenance=None),
            candidate=replace(p.candidate, token_ids=None, provenance=None),
        )
        for p in pairs
    ]
    by_ids = [f.divergence for f in explain(pairs, rescorer, BOUNDS[dtype])]
    by_text = [f.divergence for f in explain(bare, rescorer, BOUNDS[dtype])]
    same = [
        (a.cause, a.token_index) == (b.cause, b.token_index)
        for a, b in zip(by_ids, by_text, strict=True)
    ]
    assert sum(same) >= 0.8 * len(same)
    for a, b in zip(by_ids, by_text, strict=True):
        # what text cannot tell is said to be so, and never called a fault
        assert b.cause in {a.cause, Cause.TOKENISATION}
        assert b.confidence != "high"


def test_a_text_that_the_tokenizer_does_not_spell_is_not_explained(leaky):
    pairs, rescorer, dtype = leaky
    odd = replace(
        pairs[0], baseline=replace(pairs[0].baseline, token_ids=None, text="\ufffe\u0007 odd")
    )
    found = explain([odd], rescorer, BOUNDS[dtype])[0].divergence
    assert found.cause in {Cause.TOKENISATION, Cause.LEAK, Cause.FAULT}
    if found.cause is Cause.TOKENISATION:
        assert found.confidence == "none"


def test_nothing_to_calibrate_with_leaves_the_arithmetic_s_own_step(leaky):
    _, rescorer, dtype = leaky
    model = rescorer._target.model
    assert 0 < noise_bound(model, [], 5) < (1e-5 if dtype == "float32" else 0.1)
