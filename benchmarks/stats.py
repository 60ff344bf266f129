"""Speed and error rates of `draftproof.stats`, beside statsmodels where it has the method.

Usage: python benchmarks/stats.py [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.weightstats import DescrStatsW

from draftproof.stats.decisions import critical_values, gate_decisions
from draftproof.stats.exact import exact_p_value
from draftproof.stats.mcnemar import loss_p_values
from draftproof.stats.operating import gate_probabilities, wald_tost_probability
from draftproof.stats.score import score_interval

TABLES = 1_000_000
SIZES = (50, 100, 150, 200, 300, 468, 953, 1000, 2000, 4000)
DISCORDANCES = (0.03, 0.05, 0.10)
MARGIN = 0.03
PEER_TABLES = 300


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    found = {**speeds(), **peers(), **error_rates(), "configuration": configuration()}
    if asked.json:
        print(json.dumps(found))
    else:
        show(found)
    return 0


def speeds() -> dict[str, float]:
    rng = np.random.default_rng(20)
    n = rng.integers(50, 1001, TABLES)
    loss = rng.binomial(n, 0.03)
    gain = rng.binomial(n - loss, 0.02)
    critical_values(np.arange(50, 1001))
    decisions = best_of(lambda: gate_decisions(loss, gain, n))
    intervals = best_of(lambda: score_interval(loss, gain, n))
    tests = best_of(lambda: loss_p_values(loss.astype(float), gain.astype(float)))
    tracemalloc.start()
    gate_decisions(loss, gain, n)
    score_interval(loss, gain, n)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    cases = {(7, 4, 403): 0.0, (9, 7, 953): 0.0, (40, 32, 4000): 0.0}
    for counts in cases:
        exact_p_value(*counts, MARGIN)
        cases[counts] = 1000 * best_of(partial(exact_p_value, *counts, MARGIN), 7)
    return {
        "decisions_per_s": TABLES / decisions,
        "intervals_per_s": TABLES / intervals,
        "mcnemar_tests_per_s": TABLES / tests,
        "exact_p_ms": max(cases.values()),
        "exact_p_ms_n403": cases[7, 4, 403],
        "exact_p_ms_n953": cases[9, 7, 953],
        "peak_memory_mb": peak / 2**20,
    }


def peers() -> dict[str, float]:
    """Statsmodels in a loop: it has McNemar's test and a paired t-type TOST, no score interval."""
    rng = np.random.default_rng(21)
    n = 400
    tables = [(int(b), int(c)) for b, c in rng.binomial(n, [0.03, 0.02], size=(PEER_TABLES, 2))]

    def loop_mcnemar() -> None:
        for b, c in tables:
            mcnemar([[n - b - c, b], [c, 0]], exact=True)

    def loop_tost() -> None:
        for b, c in tables:
            differences = np.repeat([1.0, -1.0, 0.0], [b, c, n - b - c])
            DescrStatsW(differences).ttost_mean(-MARGIN, MARGIN)

    return {
        "statsmodels_mcnemar_per_s": PEER_TABLES / best_of(loop_mcnemar, 3),
        "statsmodels_wald_tost_per_s": PEER_TABLES / best_of(loop_tost, 3),
        "statsmodels_zero_discordance_n5_p": zero_variance_p(),
    }


def zero_variance_p() -> float:
    """What a t-type TOST says of five equal pairs: p = 0, a PASS from no evidence."""
    with np.errstate(divide="ignore"):
        return float(DescrStatsW(np.zeros(5)).ttost_mean(-MARGIN, MARGIN)[0])


def error_rates() -> dict[str, Any]:
    """False PASS with a true loss exactly at the margin, by enumeration."""
    rows = []
    for psi in DISCORDANCES:
        lost, gained = (psi + MARGIN) / 2, (psi - MARGIN) / 2
        for n in SIZES:
            exact = gate_probabilities(n, lost, gained, margin=MARGIN)
            null = gate_probabilities(n, psi / 2, psi / 2, margin=MARGIN)
            rows.append(
                {
                    "n": n,
                    "discordance": psi,
                    "false_pass": exact.pass_,
                    "false_pass_wald": wald_tost_probability(n, lost, gained, margin=MARGIN),
                    "pass_without_loss": null.pass_,
                    "false_fail": null.fail,
                }
            )
    return {
        "false_pass_max": max(row["false_pass"] for row in rows),
        "false_pass_max_wald": max(row["false_pass_wald"] for row in rows),
        "false_fail_max": max(row["false_fail"] for row in rows),
        "grid": rows,
    }


def best_of(run: Callable[[], object], times: int = 3) -> float:
    """Fastest of a few runs, in seconds: what the machine can do when nobody interferes."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


def configuration() -> dict[str, str]:
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tables": str(TABLES),
        "timing": "fastest of 3 (exact p: of 7)",
    }


def show(found: dict[str, Any]) -> None:
    print(f"{'what':<44}{'here':>14}{'statsmodels, in a loop':>26}")
    lines = [
        ("decisions per second (exact rule)", "decisions_per_s", "statsmodels_wald_tost_per_s"),
        ("score intervals per second", "intervals_per_s", None),
        ("exact McNemar tests per second", "mcnemar_tests_per_s", "statsmodels_mcnemar_per_s"),
    ]
    for name, ours, theirs in lines:
        other = f"{found[theirs]:,.0f}" if theirs else "has none"
        print(f"{name:<44}{found[ours]:>14,.0f}{other:>26}")
    for n, key in ((403, "exact_p_ms_n403"), (953, "exact_p_ms_n953"), (4000, "exact_p_ms")):
        print(
            f"{f'one exact p-value, n = {n}, milliseconds':<44}{found[key]:>14.1f}{'has none':>26}"
        )
    print(f"{'peak memory for a million tables, MiB':<44}{found['peak_memory_mb']:>14.0f}")
    print()
    print("true loss exactly 3 points (false PASS), and no loss (PASS, false FAIL)")
    print(f"{'discordance':>12}{'n':>6}{'false PASS':>12}{'Wald':>8}{'PASS':>8}{'false FAIL':>12}")
    for row in found["grid"]:
        print(
            f"{row['discordance']:>12.0%}{row['n']:>6}{row['false_pass']:>12.4f}"
            f"{row['false_pass_wald']:>8.3f}{row['pass_without_loss']:>8.3f}"
            f"{row['false_fail']:>12.4f}"
        )
    print(
        f"largest false PASS {found['false_pass_max']:.4f} "
        f"(Wald {found['false_pass_max_wald']:.3f}), "
        f"largest false FAIL {found['false_fail_max']:.4f}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
