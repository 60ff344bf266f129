"""Planned chances are those of the decision that a screen takes."""

import math

import numpy as np
import pytest

from draftproof.screen.counts.units import GAIN, LOSS, SAME, whole_clusters
from draftproof.stats import AssayEvidence, Stratum, screen_verdict
from draftproof.stats.chances import TaskDesign, screen_chances, sequential_chances
from draftproof.stats.operating import gate_probabilities

RUNS = 250


def decided(designs, rng):
    """Shares of PASS and FAIL of the real decision over simulated screens."""
    drawn = [task.draw(RUNS, rng) for task in designs]
    states = [
        screen_verdict(
            [
                Stratum(str(k), int(b[run]), int(c[run]), task.units)
                for k, (task, (b, c)) in enumerate(zip(designs, drawn, strict=True))
            ],
            assay=AssayEvidence(1.0),
        ).state.value
        for run in range(RUNS)
    ]
    return states.count("PASS") / RUNS, states.count("FAIL") / RUNS


def task(n, lost, gained, **clusters):
    return TaskDesign(units=n, lost=lost, gained=gained, **clusters)


@pytest.mark.parametrize(
    "designs",
    [
        [task(208, 0.005, 0.005)],
        [task(157, 0.02, 0.0), task(300, 0.005, 0.005)],
        [task(120, 0.04, 0.0), task(120, 0.01, 0.01), task(400, 0.05, 0.05)],
        [task(120, 0.01, 0.0, members=4, icc=0.4)],
    ],
)
def test_planned_chances_are_those_of_the_real_decision(designs):
    rng = np.random.default_rng(11)
    planned = screen_chances(designs, rng)
    error = 2.6 * math.sqrt(0.25 / RUNS) + planned.error
    passed, failed = decided(designs, rng)
    assert planned.pass_ == pytest.approx(passed, abs=error)
    assert planned.fail == pytest.approx(failed, abs=error)


def test_one_task_of_independent_pairs_is_what_enumeration_says():
    rng = np.random.default_rng(5)
    drawn = screen_chances([task(303, 0.02, 0.01)], rng)
    exact = gate_probabilities(303, 0.02, 0.01)
    assert drawn.pass_ == pytest.approx(exact.pass_, abs=drawn.error * 1.3)
    assert drawn.fail == pytest.approx(exact.fail, abs=drawn.error * 1.3)
    blind = screen_chances([task(303, 0.01, 0.01)], rng, unexplained=True)
    exact = gate_probabilities(303, 0.01, 0.01, unexplained=True)
    assert blind.pass_ == pytest.approx(exact.pass_, abs=blind.error * 1.3)
    assert blind.fail == pytest.approx(exact.fail, abs=blind.error)


def test_clusters_are_drawn_as_they_are_counted():
    """The draw of whole clusters equals counting the pairs of each cluster."""
    design = task(60, 0.1, 0.05, members=3, icc=0.5)
    b, c = design.draw(4000, np.random.default_rng(3))
    rng, counted = np.random.default_rng(4), []
    for _ in range(2000):
        means = np.array([0.1, 0.05, 0.85])
        own = rng.dirichlet(means, size=60)
        signs = [rng.choice([LOSS, GAIN, SAME], size=3, p=p) for p in own]
        counted.append(whole_clusters(np.repeat(np.arange(60), 3), np.concatenate(signs)))
    loss, gain, n, _ = np.array(counted).T
    assert (n == 60).all()
    assert b.mean() == pytest.approx(loss.mean(), abs=0.25)
    assert c.mean() == pytest.approx(gain.mean(), abs=0.25)
    assert b.std() == pytest.approx(loss.std(), abs=0.2)


def test_a_screen_that_is_looked_at_passes_less_often_than_it_may():
    rng = np.random.default_rng(9)
    at_margin = sequential_chances(task(600, 0.03, 0.0), rng, block=20)
    assert at_margin.pass_ <= 0.05
    harmless = sequential_chances(task(600, 0.001, 0.001), rng, block=20)
    assert harmless.pass_ > 0.97
    assert 114 <= harmless.pairs < 200
    assert sequential_chances(task(600, 0.005, 0.005), rng, block=20).fail <= 0.025
    assert sequential_chances(task(100, 0.0, 0.0), rng, block=20).pass_ == 0.0
