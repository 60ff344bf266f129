"""How often the rule of a verdict errs, and whether a plan promises what it gives.

``measure(...)`` returns the figures of ``benchmarks/verdict.py --part rule``. One task of
independent pairs is enumerated; clusters and tasks are simulated, and the settings that come
nearest to a limit are run through the counting and the decision that `compare` uses (`TaskTally`,
`screen_verdict`), with a control that always failed, so that nothing but the statistics stands
between a candidate and a PASS. Every arm is a claim of its own.
"""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
from benchmarks import verdict_text

from draftproof.screen.counts.task_tally import TaskTally
from draftproof.screen.counts.units import GAIN, LOSS, SAME, Signs
from draftproof.stats import AssayEvidence, screen_verdict
from draftproof.stats.chances import TaskDesign, family_decisions, screen_chances
from draftproof.stats.operating import gate_probabilities
from draftproof.stats.sizes import pass_power

MARGIN = 0.03
SIZES = (99, 100, 157, 207, 208, 303, 400, 521, 953, 1000, 1500, 2000)
DISCORDANCES = (0.03, 0.04, 0.05, 0.07, 0.10)
ICCS = (0.1, 0.3, 0.5, 0.8)
CLUSTERS = (25, 50, 100, 200)
MEMBERS = (3, 7)
CHECKED, CHECKS = 8, 100
"""Settings whose decisions are also taken one by one, and how many."""
RECORD = Path(__file__).with_name("mutants.json")


def rates(psi, loss):
    """(p10, p01) at a discordance and a true loss."""
    return (psi + loss) / 2, (psi - loss) / 2


def tally_of(design, rng):
    """Draw one task, pair by pair, and count it as a file of answers is counted."""
    per, members = max(round(design.members), 1), design.units
    means = np.array([design.lost, design.gained, 1 - design.lost - design.gained])
    if design.icc > 0:
        own = rng.standard_gamma(means * (1 - design.icc) / design.icc, (members, 3))
        total = own.sum(axis=1, keepdims=True)
        sure = np.eye(3)[rng.choice(3, size=members, p=means)]
        own = np.where(total > 0, own / np.where(total > 0, total, 1), sure)
    else:
        own = np.broadcast_to(means, (members, 3))
    draws = rng.random((members, per, 1))
    kind = (draws > np.cumsum(own, axis=1)[:, None, :2]).sum(axis=2).ravel()
    signs = np.array([LOSS, GAIN, SAME], dtype=np.int8)[kind]
    n = signs.size
    lost, gained = int(np.sum(signs == LOSS)), int(np.sum(signs == GAIN))
    clusters = np.repeat(np.arange(members, dtype=np.uint64), per)
    return TaskTally(
        place=0, prompts=n, pairs=n, both=n - lost - gained, loss=lost, gain=gained,
        in_clusters=n if per > 1 else 0,
        signs=[Signs(np.arange(n, dtype=np.uint64), clusters, signs)],
    )  # fmt: skip


def decided(designs, runs, rng):
    """Shares of PASS and FAIL of the real decision over simulated screens."""
    states = []
    for _ in range(runs):
        strata = [tally_of(d, rng).stratum(str(k)) for k, d in enumerate(designs)]
        states.append(screen_verdict(strata, assay=AssayEvidence(1.0)).state.value)
    return states.count("PASS") / runs, states.count("FAIL") / runs


def grid(loss):
    """Settings that are simulated: clusters, several tasks, several arms in one family."""
    settings = {}
    for icc in ICCS:
        for units in CLUSTERS:
            for members in MEMBERS:
                for psi in (0.03, 0.05, 0.06):
                    lost, gained = rates(psi, loss)
                    settings[f"{units} clusters of {members}, icc {icc}, discordance {psi}"] = [
                        TaskDesign(units=units, members=members, icc=icc, lost=lost, gained=gained)
                    ]
    for psi in (0.03, 0.05):
        lost, gained = rates(psi, loss)
        one = TaskDesign(units=400, lost=lost, gained=gained)
        still = TaskDesign(units=400, lost=0.002, gained=0.002)
        settings[f"one of three tasks, discordance {psi}"] = [one, still, still]
        settings[f"three of three tasks, discordance {psi}"] = [one] * 3
        small = TaskDesign(units=110, lost=lost, gained=gained)
        settings[f"six small tasks, discordance {psi}"] = [small] * 6
    return settings


def false_pass(runs, seed=51):
    """Largest share of candidates that pass though some task loses as much as the margin."""
    found = {
        f"n {n}, discordance {psi}, {side}": gate_probabilities(n, *order).pass_
        for n in SIZES
        for psi in DISCORDANCES
        for side, order in (("loss", rates(psi, MARGIN)), ("gain", rates(psi, -MARGIN)))
    }
    return worst(found, simulated(grid(MARGIN), runs, seed, 0))


def false_fail(runs, seed=52):
    """Largest share of candidates that fail though nothing was lost and few answers flip.

    With a discordance of twice the margin as many answers flip one way as the margin allows. Beyond
    it a FAIL is right (more answers flip than the margin allows), so there only a loss is counted.
    """
    found = {
        f"n {n}, discordance {psi}": gate_probabilities(
            n, psi / 2, psi / 2, gross_margin=None if psi <= 2 * MARGIN else 1.0
        ).fail
        for n in SIZES
        for psi in (*DISCORDANCES, 0.06)
    }
    return worst(found, simulated(grid(0.0), runs, seed, 1))


def simulated(settings, runs, seed, state):
    """Shares of a state (0 PASS, 1 FAIL) over simulated screens of every setting.

    They are decided in columns; where the share is largest, files are counted and decided one by
    one as well, and the two must not differ once.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for name, designs in settings.items():
        chances = screen_chances(designs, rng, runs=runs)
        found[name] = (chances.pass_, chances.fail)[state]
    for name in sorted(found, key=lambda name: -found[name])[:CHECKED]:
        differing = sum(not alike(settings[name], rng) for _ in range(CHECKS))
        assert not differing, f"{name}: {differing} of {CHECKS} decisions differ"
    return found


def alike(designs, rng):
    """Whether the decision over one drawn screen is the one that is taken in columns."""
    strata = [tally_of(d, rng).stratum(str(k)) for k, d in enumerate(designs)]
    whole = screen_verdict(strata, assay=AssayEvidence(1.0)).state.value
    counts = [(np.array([s.loss]), np.array([s.gain])) for s in strata]
    (column,) = family_decisions(counts, [s.n for s in strata])
    return {"PASS": 1, "FAIL": -1}.get(whole, 0) == column


def worst(exact, drawn):
    """The largest figures and where they are."""
    every = exact | drawn
    place = max(every, key=lambda name: every[name])
    return {
        "max": round(every[place], 4), "at": place, "settings": len(every),
        "enumerated_max": round(max(exact.values()), 4),
        "simulated_max": round(max(drawn.values()), 4),
    }  # fmt: skip


PLANNED = {
    "n 99, discordance 1 %": [(99, 0.005, 0.005, 1, 0.0)],
    "n 157, discordance 1 %": [(157, 0.005, 0.005, 1, 0.0)],
    "n 208, discordance 1 %": [(208, 0.005, 0.005, 1, 0.0)],
    "n 400, discordance 3 %": [(400, 0.015, 0.015, 1, 0.0)],
    "n 726, discordance 3 %": [(726, 0.015, 0.015, 1, 0.0)],
    "n 1000, discordance 5 %": [(1000, 0.025, 0.025, 1, 0.0)],
    "n 300, loss 2 points": [(300, 0.02, 0.0, 1, 0.0)],
    "two tasks of 208, discordance 1 %": [(208, 0.005, 0.005, 1, 0.0)] * 2,
    "three tasks, 110 to 500": [
        (110, 0.001, 0.001, 1, 0.0), (300, 0.005, 0.005, 1, 0.0), (500, 0.01, 0.01, 1, 0.0),
    ],
    "120 clusters of 4, icc 0.1": [(120, 0.002, 0.002, 4, 0.1)],
    "200 clusters of 3, icc 0.5": [(200, 0.005, 0.005, 3, 0.5)],
    "200 clusters of 7, icc 0.8": [(200, 0.005, 0.005, 7, 0.8)],
}  # fmt: skip
"""Units, losses, gains, members and ICC of each task of a dozen plans."""


def plan_error(runs, seed=53):
    """Largest difference between P(PASS) as `plan` says and as the real decision gives."""
    rng = np.random.default_rng(seed)
    errors = {}
    for name, tasks in PLANNED.items():
        designs = [
            TaskDesign(units=n, lost=lost, gained=gained, members=members, icc=icc)
            for n, lost, gained, members, icc in tasks
        ]
        if len(designs) == 1 and designs[0].enumerable and tasks[0][1] == tasks[0][2]:
            planned = pass_power(designs[0].units, designs[0].lost + designs[0].gained)
        else:
            planned = screen_chances(designs, rng).pass_
        errors[name] = round(abs(planned - decided(designs, runs, rng)[0]), 4)
    return {"max": max(errors.values()), "by_setting": errors, "runs": runs}


def mutants_killed():
    """Share of planted faults that tests notice, from the committed record; None without one."""
    if not RECORD.is_file():
        return None
    return json.loads(RECORD.read_text("utf-8")).get("mutants_killed")


def texts(quick, clean):
    """The figures of texts and scorers; None for all without the data set."""
    data = os.environ.get("DRAFTPROOF_DATA")
    if data is None or not (Path(data) / "xstest").is_dir():
        return {}
    repetitions = 6 if quick else 30
    with tempfile.TemporaryDirectory() as folder:
        if clean is None:
            arms = ("f32", "bf16", "t07a", "t07b") if quick else tuple(verdict_text.CLEAN_ARMS)
            verdict_text.write_clean_arms(folder, tokens=48 if quick else 96, arms=arms)
            clean = folder
        return verdict_text.measure(data, clean, repetitions, repetitions, varied=not quick)


def measure(*, quick=False, clean=None):
    """Return the figures by their names; nested ones say where they come from."""
    runs = 8000 if quick else 40_000
    passed, failed, planned = false_pass(runs), false_fail(runs), plan_error(4000)
    seen = texts(quick, clean)
    faults = seen.get("text_faults_named") or {}
    accused = seen.get("text_checks_accused_clean") or {}
    assay = seen.get("assay_power") or {}
    return {
        "false_pass_max": passed["max"],
        "false_fail_max": failed["max"],
        "plan_error_max": planned["max"],
        "text_faults_named": faults.get("least"),
        "text_checks_accused_clean": accused.get("rate"),
        "assay_power": assay.get("power"),
        "mutants_killed": mutants_killed(),
        "rule_details": {
            "false_pass": passed, "false_fail": failed, "plan_error": planned,
            "text_faults_named": faults, "text_checks_accused_clean": accused,
            "assay_power": assay,
        },
    }  # fmt: skip
