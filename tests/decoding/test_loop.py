"""Speculative decoding against plain decoding, and the loop's promises."""

import pytest
import torch

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import DraftModel
from draftproof.decoding.rules import Block, Ensemble, Exact, Threshold, Typical
from draftproof.records import DraftproofError

EOS = {0}


def requests(count: int = 12, new: int = 24, vocab: int = 29):
    generator = torch.Generator().manual_seed(7)
    out = []
    for i in range(count):
        length = 1 + int(torch.randint(1, 40, (1,), generator=generator))
        ids = torch.randint(1, vocab, (length,), generator=generator).tolist()
        out.append(Request(id=str(i), prompt=tuple(ids), max_new_tokens=new, seed=i))
    return out


def run(target, **options):
    asked = options.pop("asked", None) or requests()
    return {a.id: a for a in decode(target, asked, Settings(eos=EOS, **options))}


def test_plain_decoding_is_what_generate_writes(target, greedy_by_generate):
    asked = requests()
    ours = run(target, batch=4)
    for request in asked:
        assert ours[request.id].tokens == greedy_by_generate(target, request, EOS)


@pytest.mark.parametrize("gamma", [1, 2, 4, 7])
@pytest.mark.parametrize("batch", [1, 5])
def test_exact_speculation_writes_what_plain_decoding_writes(target, draft, gamma, batch):
    plain = run(target)
    fast = run(target, drafter=DraftModel(draft, gamma), batch=batch)
    assert {k: a.tokens for k, a in fast.items()} == {k: a.tokens for k, a in plain.items()}
    assert {k: a.finish_reason for k, a in fast.items()} == {
        k: a.finish_reason for k, a in plain.items()
    }
    accepted = sum(a.accepted for a in fast.values())
    drafted = sum(a.drafted for a in fast.values())
    assert 0.2 < accepted / drafted < 1


def test_a_stranger_as_draft_changes_nothing(target, stranger):
    plain = run(target)
    fast = run(target, drafter=DraftModel(stranger, 3), batch=3)
    assert {k: a.tokens for k, a in fast.items()} == {k: a.tokens for k, a in plain.items()}


def test_target_as_its_own_draft_accepts_everything(target):
    answers = run(target, drafter=DraftModel(target, 4)).values()
    for a in answers:
        # only the last round, cut by the end, may keep fewer than all four
        assert sum(a.histogram[:4]) <= 1


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_rows_do_not_feel_their_batch_mates(target, draft, temperature):
    """Bit for bit in fp32: other neighbours, another order, the same answers."""
    asked = requests(10)
    options = {"temperature": temperature, "batch": 4, "capacity": 96}
    forward = run(target, asked=asked, drafter=DraftModel(draft, 3), **options)
    backward = run(target, asked=asked[::-1], drafter=DraftModel(draft, 3), **options)
    alone = {}
    for one in asked:
        alone |= run(target, asked=[one], drafter=DraftModel(draft, 3), **options)
    for other in (backward, alone):
        assert {k: a.tokens for k, a in other.items()} == {k: a.tokens for k, a in forward.items()}


def test_provenance_and_counters_agree(target, draft):
    for a in run(target, drafter=DraftModel(draft, 4), batch=3).values():
        assert len(a.provenance) == len(a.tokens)
        assert a.provenance.count("d") == a.accepted
        assert a.rounds == sum(a.histogram)
        assert a.accepted == sum(k * n for k, n in enumerate(a.histogram))
        assert a.drafted == 4 * a.rounds
        assert len(a.tokens) <= a.accepted + a.rounds
    for a in run(target).values():
        assert set(a.provenance) == {"p"}
        assert a.rounds == a.drafted == a.accepted == 0


def test_length_limit_holds_inside_a_block(target):
    for new in range(1, 8):
        for a in run(target, asked=requests(6, new), drafter=DraftModel(target, 5)).values():
            assert len(a.tokens) <= new
            assert (a.finish_reason == "length") == (a.tokens[-1] not in EOS)


def test_nothing_follows_the_end_of_sequence(target):
    """Every token that plain decoding ever writes serves once as the end of sequence."""
    asked = requests(4)
    plain = {a.id: a.tokens for a in decode(target, asked, Settings(eos=()))}
    for stop in sorted({t for tokens in plain.values() for t in tokens}):
        for a in decode(target, asked, Settings(eos={stop}, drafter=DraftModel(target, 5))):
            whole = plain[a.id]
            expected = whole[: whole.index(stop) + 1] if stop in whole else whole
            assert a.tokens == expected


def test_one_token_prompts_work(target, draft):
    asked = [Request(id="x", prompt=(5,), max_new_tokens=12)]
    plain = run(target, asked=asked)
    assert run(target, asked=asked, drafter=DraftModel(draft, 3))["x"].tokens == plain["x"].tokens


def test_sampling_keeps_the_law_of_the_target(target, draft):
    """Two-token law of speculative sampling against the exact one, 2,000 answers."""
    prompt = (3, 9, 4)
    n, vocab = 2000, target.vocab_size
    asked = [Request(id=str(i), prompt=prompt, max_new_tokens=2, seed=i) for i in range(n)]
    counts = torch.zeros(vocab, vocab, dtype=torch.float64)
    for a in decode(
        target, asked, Settings(eos=(), drafter=DraftModel(draft, 2), temperature=1.0, batch=250)
    ):
        counts[a.tokens[0], a.tokens[1]] += 1
    with torch.inference_mode():
        first = target.module(torch.tensor([prompt])).logits[0, -1].double().softmax(0)
        pairs = torch.tensor([[*prompt, v] for v in range(vocab)])
        second = target.module(pairs).logits[:, -1].double().softmax(1)
    law = first[:, None] * second
    big = law * n >= 5
    pearson = ((counts - n * law) ** 2 / (n * law))[big].sum().item()
    rest = 1 - law[big].sum().item()
    pearson += (n * rest - counts[~big].sum().item()) ** 2 / (n * rest)
    degrees = int(big.sum())
    assert pearson < degrees + 5 * (2 * degrees) ** 0.5


def test_same_width_gives_the_same_bits(target, draft):
    """Plain decoding at the width of verification computes the very rows that it verifies."""
    seen = []
    real = target.forward_with_states

    def spy(ids, starts, cache, **kwargs):
        logits, states = real(ids, starts, cache, **kwargs)
        seen.append((starts.clone(), logits.clone()))
        return logits, states

    asked = requests(1)
    rows = {}
    for name, drafter in [("plain", None), ("fast", DraftModel(draft, 3))]:
        seen.clear()
        target.forward_with_states = spy
        try:
            list(
                decode(
                    target,
                    asked,
                    Settings(
                        eos=EOS, drafter=drafter, width=4, capacity=96, exactness="same_shape"
                    ),
                )
            )
        finally:
            del target.forward_with_states
        rows[name] = {int(s[0]): x[0, 0] for s, x in seen if x.shape[1] == 4}
    shared = rows["plain"].keys() & rows["fast"].keys()
    assert len(shared) > 3
    for position in shared:
        assert torch.equal(rows["plain"][position], rows["fast"][position])


def test_lossy_rule_differs_and_says_so(target, draft):
    plain = run(target)
    for rule in (Typical(epsilon=0.01, delta=0.05), Ensemble(weight=0.1), Threshold(single=0.01)):
        assert rule.facts.promise == "L0"
        lossy = run(target, drafter=DraftModel(draft, 4), rule=rule)
        assert any(lossy[k].tokens != plain[k].tokens for k in plain), rule
    for rule in (Exact(), Block(), Ensemble(weight=1.0), Threshold()):
        assert rule.facts.promise == "L2" or rule.name in {"ensemble", "threshold"}
        same = run(target, drafter=DraftModel(draft, 4), rule=rule)
        assert all(same[k].tokens == plain[k].tokens for k in plain), rule


def test_logits_that_are_not_finite_are_an_error_state(target, draft):
    broken = target.forward_with_states

    def poisoned(ids, starts, cache, **kwargs):
        logits, states = broken(ids, starts, cache, **kwargs)
        if logits.shape[1] > 1 and int(starts[0]) > 12:
            return logits * float("nan"), states
        return logits, states

    target.forward_with_states = poisoned
    try:
        answers = run(target, asked=requests(6, 30), drafter=DraftModel(draft, 2))
    finally:
        del target.forward_with_states
    assert {a.finish_reason for a in answers.values()} >= {"error"}
    bad = next(a for a in answers.values() if a.finish_reason == "error")
    assert "not finite" in bad.error


def test_requests_that_do_not_fit_are_refused(target):
    with pytest.raises(DraftproofError, match="256"):
        run(target, asked=[Request(id="long", prompt=(1,) * 250, max_new_tokens=20)])
    with pytest.raises(ValueError, match="capacity"):
        run(target, capacity=8)
    with pytest.raises(ValueError, match="no tokens"):
        Request(id="empty", prompt=(), max_new_tokens=3)
