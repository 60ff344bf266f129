"""What counts as one, and that a further loss never improves a state."""

import dataclasses
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.screen.test_verdicts import SURE, candidate

from draftproof.records import State
from draftproof.screen.counts.units import (
    GAIN,
    LOSS,
    NO_PAIR,
    SAME,
    UNREAD,
    Signs,
    one_a_unit,
    whole_clusters,
)
from draftproof.stats import gate

WORSE = {State.PASS: 0, State.INCONCLUSIVE: 1, State.FAIL: 2}


def column(values, kind=np.uint64):
    return np.array(values, dtype=kind)


@pytest.mark.parametrize(
    ("signs", "worst"),
    [
        ([SAME, SAME], SAME), ([SAME, LOSS], LOSS), ([GAIN, LOSS], LOSS), ([UNREAD, LOSS], LOSS),
        ([SAME, UNREAD], UNREAD), ([NO_PAIR, SAME], NO_PAIR), ([GAIN, SAME], UNREAD),
        ([GAIN, GAIN], GAIN),
    ],
)  # fmt: skip
def test_equal_prompts_are_one_at_their_worst(signs, worst):
    part = Signs(column([4, 4]), column([9, 9]), column(signs, np.int8))
    cluster, sign = one_a_unit([part])
    assert (cluster.tolist(), sign.tolist()) == ([9], [worst])


def test_clusters_count_once_by_the_share_that_is_lost():
    cluster = column([1] * 100 + list(range(2, 101)))
    lost = column([LOSS] * 100 + [SAME] * 99, np.int64)
    assert whole_clusters(cluster, lost) == (1, 0, 100)
    mixed = column([LOSS, SAME, GAIN, SAME], np.int64)
    assert whole_clusters(column([1, 1, 2, 2]), mixed) == (1, 1, 2)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=60),
    data=st.data(),
)
def test_a_further_loss_in_a_cluster_never_improves_a_state(sizes, data):
    cluster = np.repeat(np.arange(len(sizes)), sizes).astype(np.uint64)
    signs = np.array(
        data.draw(st.lists(st.sampled_from([SAME, SAME, LOSS, GAIN]), min_size=cluster.size,
                           max_size=cluster.size)), dtype=np.int64)  # fmt: skip
    at = data.draw(st.sampled_from(range(cluster.size)))
    more = signs.copy()
    more[at] = LOSS
    before, after = whole_clusters(cluster, signs), whole_clusters(cluster, more)
    assert before[2] == after[2] <= len(sizes)
    assert after[0] >= before[0]
    margin = 0.2
    if signs[at] == SAME:
        one, other = (gate(*c, margin=margin, mode="noninferiority").state for c in (before, after))
        assert WORSE[other] >= WORSE[one]


def test_a_further_loss_never_improves_a_state_up_to_60():
    for n, gain in product(range(10, 61, 10), range(4)):
        for mode in ("equivalence", "noninferiority"):
            states = [
                WORSE[gate(loss, gain, n, margin=0.15, mode=mode).state]
                # both ways, a loss offsets a gain: from as many losses as gains on
                for loss in range(gain if mode == "equivalence" else 0, n - gain + 1)
            ]
            assert states == sorted(states), (n, gain, mode)


def test_missing_answers_are_losses_to_a_claim_of_not_being_worse():
    # 3 of 103 lost is not shown to be below 3 %, 0 of 103 is
    options = {"margin": 0.03, "mode": "noninferiority"}
    assert gate(0, 0, 103, **options).state is State.PASS
    assert gate(0, 0, 100, missing=3, **options).state is State.INCONCLUSIVE


def test_ids_that_share_a_prompt_count_once_and_are_said(screen, counted):
    s = screen(n=240)
    asked = s.battery.prompts[0].messages
    s.battery = dataclasses.replace(
        s.battery,
        prompts=tuple(
            dataclasses.replace(p, messages=asked) if i < 141 else p
            for i, p in enumerate(s.battery.prompts)
        ),
    )
    only = s.judge(candidate(s, counted)).candidates[0]
    assert only.state is State.PASS
    assert "240 ids share 100 prompts" in " ".join(r.text for r in only.reasons)
    fewer = dataclasses.replace(s.battery, prompts=s.battery.prompts[:238])
    s.battery = fewer
    assert s.judge(candidate(s, counted)).candidates[0].state is State.INCONCLUSIVE


def test_one_lost_answer_loses_its_prompt(screen, counted, oracle):
    s = screen(n=120)
    prompts = s.battery.prompts
    again = dataclasses.replace(prompts[1], messages=prompts[0].messages)
    s.battery = dataclasses.replace(s.battery, prompts=(prompts[0], again, *prompts[2:]))
    only = s.judge(candidate(s, counted, {"refusal-1": SURE}, oracle(I=0.0))).candidates[0]
    assert only.tasks[0].loss == 1
    assert only.tasks[0].effective_n == 119
