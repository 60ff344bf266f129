"""Speculative Safety-Aware Decoding against two oracles.

One is written literally from the published procedure, with loops and sets; the other is the
composite decoded token by token, which the answer must equal for every draft length.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import DraftModel
from draftproof.decoding.rules import SafetyAware
from draftproof.decoding.rules.sample_spaces import (
    sample_spaces,
)
from draftproof.decoding.rules.timeline import timeline


def by_probability(row):
    return sorted(range(len(row)), key=lambda x: (-float(row[x]), x))


def best_of(tokens, p, q, alpha):
    alpha = torch.tensor(alpha, dtype=torch.float64).to(p.dtype)
    scores = {x: float(p[x] + alpha * (q[x] - p[x])) for x in tokens}
    return min(scores, key=lambda x: (-scores[x], x))


def literal_intersection(p, q, c, alpha):
    """Grow k one by one until the two top-k sets share c tokens."""
    order_p, order_q = by_probability(p), by_probability(q)
    k = c
    while k < len(p) and len(set(order_p[:k]) & set(order_q[:k])) < c:
        k += 1
    if order_p[0] not in order_q[:k]:
        return order_p[0]
    return best_of(set(order_p[:k]) & set(order_q[:k]), p, q, alpha)


def literal_union(p, q, c, alpha):
    return best_of(set(by_probability(p)[:c]) | set(by_probability(q)[:c]), p, q, alpha)


def literal_course(rule, rows, tokens):
    """Yield (token, mode, threshold, alpha) of the published controller over rows p, q."""
    mode, threshold, alpha = 1, rule.threshold, rule.alpha_intersection
    log = []
    for p, q in rows:
        choose = literal_intersection if mode == 1 else literal_union
        token = choose(p, q, rule.common, alpha if mode == 1 else rule.alpha_union)
        yield token, mode, threshold, alpha
        log.append(token == by_probability(q)[0])
        if len(log) % rule.window == 0:
            mean = sum(log[-rule.window :]) / rule.window
            new = 2 if mean < threshold else 1
            if new == mode:
                threshold = max(threshold - rule.threshold_step, 0)
                threshold = 0.0 if threshold <= 1e-10 else threshold
                if mode == 1:
                    alpha = max(alpha - rule.alpha_step, rule.alpha_floor)
            else:
                threshold, alpha = rule.reset_threshold, rule.alpha_intersection
            mode = new
        if len(log) == tokens:
            return


def random_rows(seed, n, vocab, likeness):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(n, vocab, generator=generator) * 2
    other = torch.randn(n, vocab, generator=generator) * 2
    p = torch.softmax(base, -1)
    q = torch.softmax(likeness * base + (1 - likeness) * other, -1)
    return p, q


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000), vocab=st.integers(2, 60), common=st.integers(1, 12),
    alpha=st.floats(0, 3), likeness=st.floats(0, 1), few=st.sampled_from([13, 20, 64]),
    digits=st.sampled_from([2, 3, 9]),
)  # fmt: skip
def test_sample_spaces_are_the_literal_ones(seed, vocab, common, alpha, likeness, few, digits):
    """Whatever is looked at first, with vocabularies below C and with ties (rounded rows)."""
    p, q = (rows.round(decimals=digits) for rows in random_rows(seed, 8, vocab, likeness))
    weight = torch.full((8,), alpha, dtype=torch.float64)
    spaces = sample_spaces(p, q, common, few)
    both = spaces.choose(spaces.composite(weight), spaces.both)
    both = torch.where(spaces.argmax_outside_intersection, spaces.argmax, both).tolist()
    either = spaces.choose(spaces.composite(weight), spaces.either).tolist()
    assert both == [literal_intersection(p[i], q[i], common, alpha) for i in range(8)]
    assert either == [literal_union(p[i], q[i], common, alpha) for i in range(8)]
    # every allowed token is allowed once
    for mask in (spaces.both, spaces.either, spaces.best, spaces.first):
        for i in range(8):
            kept = spaces.tokens[i][mask[i]].tolist()
            assert len(kept) == len(set(kept))


def follow(rule, p, q, gamma):
    """Verify round after round over given rows; return token, mode and match, and the state."""
    state = rule.begin(1, torch.device("cpu"))
    got, at = [], 0
    while at + gamma + 1 <= len(p):
        rows = slice(at, at + gamma + 1)
        drafts = q[rows][:gamma].argmax(-1)[None]
        out = rule.verify(drafts, p[rows].log()[None], q[rows][None], None, 0.0, state)
        emitted = [*drafts[0, : int(out.accepted)].tolist(), int(out.token)]
        told = zip(emitted, out.modes[0].tolist(), out.matches[0].tolist(), strict=False)
        got += list(told)
        at += len(emitted)
        state = out.state
        assert int(state.seen) == at % rule.window
    return got, state


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    likeness=st.floats(0.2, 1.0),
    gamma=st.sampled_from([1, 2, 3, 5, 8]),
    window=st.integers(1, 8),
    threshold=st.sampled_from([0.0, 0.3, 0.6, 1.0]),
)
def test_trajectory_is_the_published_one_for_every_draft_length(
    seed, likeness, gamma, window, threshold
):
    """Tokens, modes, thresholds and α, whatever number of tokens is drafted at a time."""
    p, q = random_rows(seed, 64, 40, likeness)
    rule = SafetyAware(window=window, threshold=threshold, common=6, alpha_intersection=0.45)
    got, state = follow(rule, p, q, gamma)
    wanted = list(literal_course(rule, list(zip(p, q, strict=True)), len(got) + 1))
    assert [(token, mode) for token, mode, _ in got] == [w[:2] for w in wanted[: len(got)]]
    # the matches alone tell the whole state
    course_of = timeline(rule, [match for _, _, match in got])
    assert [m.mode for m in course_of] == [w[1] for w in wanted[: len(got)]]
    assert [m.threshold for m in course_of] == [w[2] for w in wanted[: len(got)]]
    assert [m.alpha for m in course_of if m.mode == 1] == [
        w[3] for w in wanted[: len(got)] if w[1] == 1
    ]
    assert all(m.alpha == rule.alpha_union for m in course_of if m.mode == 2)
    if len(wanted) > len(got):
        _, mode, limit, alpha = wanted[len(got)]
        assert (int(state.mode), float(state.threshold)) == (mode, pytest.approx(limit))
        assert float(state.alpha) == pytest.approx(alpha)


def test_six_stable_windows_close_the_safety_mode_for_good_and_fixed_keeps_it_open():
    """A benign beginning of seven windows, then an expert that disagrees about everything."""
    p, other = random_rows(3, 84, 20, 0.0)
    q = p.clone()
    q[49:] = other[49:].roll(7, dims=1)
    for compat, reopened in (("paper", False), ("fixed", True)):
        rule = SafetyAware(compat=compat, common=3)
        told = follow(rule, p, q, 1)[0]
        modes = [mode for _, mode, _ in told]
        state = timeline(rule, [match for _, _, match in told])
        assert [m.mode for m in state] == modes
        assert min(m.threshold for m in state) == (0.0 if compat == "paper" else 0.2)
        assert set(modes[:49]) == {1}
        assert (2 in modes[49:]) is reopened


def composite_autoregressive(target, expert, prompt, draft_prompt, rule, new, eos):
    """One token at a time, without caches: the slow and obvious decoder."""
    text, own = list(prompt), list(draft_prompt)
    rows = []

    def lazily():
        while True:
            with torch.inference_mode():
                p = target.module(torch.tensor([text])).logits[0, -1].float().softmax(0)
                q = expert.module(torch.tensor([own])).logits[0, -1].float().softmax(0)
            yield p, q

    for token, mode, _, _ in literal_course(rule, lazily(), new):
        rows.append((token, mode))
        text.append(token)
        own.append(token)
        if token in eos:
            break
    return rows


@pytest.mark.parametrize("own_prompt", [False, True])
def test_models_decode_the_composite_for_every_draft_length(target, draft, stranger, own_prompt):
    rule = SafetyAware(common=5, window=4, alpha_union=1.5)
    prompts = [(3, 9, 4, 12), (7, 1, 1), (20, 2, 8, 8, 5, 6)]
    for expert in (draft, stranger):
        wanted = []
        for prompt in prompts:
            fed = (11, 13, *prompt) if own_prompt else prompt
            wanted.append(composite_autoregressive(target, expert, prompt, fed, rule, 24, {0}))
        for gamma in (0, 1, 2, 3, 5, 8):
            asked = [
                Request(
                    id=str(i), prompt=prompt, max_new_tokens=24,
                    draft_prompt=(11, 13, *prompt) if own_prompt else None,
                )
                for i, prompt in enumerate(prompts)
            ]  # fmt: skip
            answers = decode(
                target,
                asked,
                Settings(eos={0}, drafter=DraftModel(expert, gamma), rule=rule, batch=2),
            )
            got = {a.id: list(zip(a.tokens, a.modes, strict=True)) for a in answers}
            assert [got[str(i)] for i in range(len(prompts))] == wanted
