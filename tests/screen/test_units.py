"""What counts as one, and that a further loss never improves a state."""

import dataclasses
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.screen.test_verdicts import SURE, candidate

from draftproof.records import State
from draftproof.screen.counts.task_tally import TaskTally
from draftproof.screen.counts.units import (
    GAIN,
    LOSS,
    NO_PAIR,
    SAME,
    TORN,
    UNREAD,
    Signs,
    one_a_unit,
    whole_clusters,
)
from draftproof.stats import gate, gate_decisions

WORSE = {State.PASS: 0, State.INCONCLUSIVE: 1, State.FAIL: 2}


def column(values, kind=np.uint64):
    return np.array(values, dtype=kind)


@pytest.mark.parametrize(
    ("signs", "worst"),
    [
        ([SAME, SAME], SAME), ([SAME, LOSS], LOSS), ([GAIN, LOSS], TORN), ([UNREAD, LOSS], TORN),
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
    assert whole_clusters(cluster, lost) == (1, 0, 100, 0)
    mixed = column([LOSS, SAME, GAIN, SAME], np.int64)
    assert whole_clusters(column([1, 1, 2, 2]), mixed) == (1, 1, 2, 0)


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
    if signs[at] == SAME:
        for mode in ("equivalence", "noninferiority"):
            one, other = (
                gate(loss, gain, n, torn=torn, margin=0.2, mode=mode).state
                for loss, gain, n, torn in (before, after)
            )
            assert WORSE[other] >= WORSE[one]


@settings(max_examples=100, deadline=None)
@given(signs=st.lists(st.sampled_from([SAME, LOSS, GAIN, UNREAD, NO_PAIR]), min_size=30,
                      max_size=60), data=st.data())  # fmt: skip
def test_a_further_loss_behind_a_shared_prompt_never_improves_a_state(signs, data):
    asked = column(data.draw(st.lists(st.integers(0, 40), min_size=len(signs),
                                      max_size=len(signs))))  # fmt: skip
    at = data.draw(st.sampled_from(range(len(signs))))
    more = [LOSS if i == at and s == SAME else s for i, s in enumerate(signs)]
    states = []
    for column_of in (signs, more):
        task = TaskTally(0, prompts=len(signs), in_clusters=1)
        task.signs.append(Signs(asked, asked, column(column_of, np.int8)))
        s = task.stratum("t")
        states.append(gate(s.loss, s.gain, s.n, missing=s.missing, torn=s.torn, margin=0.25).state)
    assert WORSE[states[1]] >= WORSE[states[0]]


def never_improve(n, gains, margin):
    """Check every table of a size, with answers missing and without."""
    for gain, mode, missing in product(gains, ("equivalence", "noninferiority"), (0, 2)):
        states = [
            WORSE[gate(loss, gain, n, missing=missing, margin=margin, mode=mode).state]
            for loss in range(n - gain + 1)
        ]
        assert states == sorted(states), (n, gain, mode, missing)


def test_a_further_loss_never_improves_a_state():
    never_improve(20, range(21), 0.15)
    never_improve(40, (3,), 0.17)


@pytest.mark.parametrize("margin", [0.1, 0.15, 0.25])
@pytest.mark.parametrize("mode", ["equivalence", "noninferiority"])
def test_a_further_loss_never_improves_a_state_of_any_table_up_to_60(mode, margin):
    worse = {1: 0, 0: 1, -1: 2}
    for n in range(61):
        for gain in range(n + 1):
            losses = np.arange(n - gain + 1)
            found = gate_decisions(losses, gain, n, margin=margin, mode=mode).tolist()
            states = [worse[state] for state in found]
            assert states == sorted(states), (n, gain)


def test_a_loss_is_no_credit_against_gains():
    assert gate(0, 3, 40, margin=0.17).state is State.INCONCLUSIVE
    # the difference is nearer to 0, and nothing has become better
    result = gate(1, 3, 40, margin=0.17)
    assert result.p_equivalence <= 0.05
    assert result.state is State.INCONCLUSIVE
    assert [r.code for r in result.reasons] == ["gain-bound"]


def test_a_lost_answer_that_goes_missing_makes_no_pass():
    options = {"margin": 0.03, "mode": "noninferiority"}
    assert gate(3, 2, 210, **options).state is State.INCONCLUSIVE
    assert gate(0, 2, 207, missing=3, **options).state is State.INCONCLUSIVE


def test_missing_answers_are_losses_to_a_claim_of_not_being_worse():
    # 3 of 103 lost is not shown to be below 3 %, 0 of 103 is
    options = {"margin": 0.03, "mode": "noninferiority"}
    assert gate(0, 0, 103, **options).state is State.PASS
    assert gate(0, 0, 100, missing=3, **options).state is State.INCONCLUSIVE
    # the claim itself counts them, without the bound on flips as well
    alone = gate(0, 0, 100, missing=3, gross_margin=1.0, **options)
    assert alone.state is State.INCONCLUSIVE
    assert alone.p_worst_case == gate(3, 0, 103, **options).p_equivalence


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
