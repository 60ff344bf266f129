"""The methods of oracle files, each as a call of public functions of `draftproof.stats`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import (
    CensoredData,
    beta,
    chi2_contingency,
    ecdf,
    logrank,
    ttest_ind_from_stats,
)

from draftproof.stats import agreement as agree
from draftproof.stats import clusters, dose, effects, operating, prevalence, sequential
from draftproof.stats.decision import gate
from draftproof.stats.exact import TIE, staircase, sup_tail
from draftproof.stats.intervals import melded_probability
from draftproof.stats.mcnemar import mcnemar_test
from draftproof.stats.paired import DiscordantPairs, PairedTable
from draftproof.stats.proportions import UnpairedRates

# pytest imports these files without their folder on the path
sys.path.insert(0, str(Path(__file__).parent))

from oracle_reference import END, brent

Inputs = dict[str, Any]
TOTALS = Path(__file__).parent / "stats" / "data" / "published_totals.json"


class NotOffered(Exception):
    """No public function computes this entry."""


def level(i: Inputs) -> float:
    for name in ("conf", "level", "confidence", "conf_level"):
        if name in i:
            return float(i[name])
    if "alpha" in i:
        return 1 - float(i["alpha"])
    return 0.95


def pairs(i: Inputs) -> DiscordantPairs:
    b = i["b"] if "b" in i else i["loss"]
    c = i["c"] if "c" in i else i["gain"]
    if "n" in i:
        return DiscordantPairs(b, c, i["n"])
    if "n_zero" in i:
        return DiscordantPairs(b, c, b + c + i["n_zero"])
    return DiscordantPairs(b, c, i["a"] + b + c + i["d"])


def table(i: Inputs) -> PairedTable:
    if "both" in i:
        cells = {name: i[name] for name in ("both", "loss", "gain", "neither")}
        return PairedTable(**cells)
    return PairedTable(both=i["a"], loss=i["b"], gain=i["c"], neither=i["d"])


def limits(interval: Any, scale: float = 1.0) -> list[float]:
    return [scale * interval.low, scale * interval.high]


def paired_interval(method: str) -> Callable[[Inputs], Any]:
    return lambda i: limits(pairs(i).interval(level(i), method))


def newcombe(i: Inputs) -> Any:
    variant = int(i.get("method", 10))
    return limits(table(i).interval(level(i), "newcombe" if variant == 10 else "newcombe-8"))


def proportion(function: Callable[..., Any], side: str) -> Callable[[Inputs], Any]:
    def run(i: Inputs) -> Any:
        interval = function(i["x"], i["n"], level(i), side)
        if side == "two-sided":
            return limits(interval)
        return interval.high if side == "upper" else interval.low

    return run


def mcnemar(method: str, alternative: str = "two-sided") -> Callable[[Inputs], Any]:
    def run(i: Inputs) -> Any:
        n = i.get("n")
        extra = {"gamma": i.get("gamma", 0.0)} if method == "exact-unconditional" else {}
        side = {"greater": "loss", "less": "gain"}.get(str(i.get("alternative")), alternative)
        chosen = "corrected" if method == "asymptotic" and i.get("correction") else method
        b, c = (i["b"], i["c"]) if "b" in i else (i["loss"], i["gain"])
        return mcnemar_test(b, c, n, method=chosen, alternative=side, **extra).p_value

    return run


def tost(method: str) -> Callable[[Inputs], Any]:
    return lambda i: pairs(i).tost(i.get("margin", 0.03), method).p_value


def noninferiority(method: str) -> Callable[[Inputs], Any]:
    return lambda i: pairs(i).noninferiority(i.get("margin", 0.03), method).p_value


def one_sided(method: str, upper: bool) -> Callable[[Inputs], Any]:
    def run(i: Inputs) -> Any:
        alpha = float(i.get("alpha", 0.05))
        interval = pairs(i).interval(1 - 2 * alpha, method)
        return interval.high if upper else interval.low

    return run


def missing_as_loss(i: Inputs) -> Any:
    gone = i["n_missing"]
    n = (i["n_complete"] if "n_complete" in i else i["n"]) + gone
    pairs = DiscordantPairs(i["b"] + gone, i["c"], n)
    return pairs.interval(1 - 2 * i.get("alpha", 0.05)).high


def unpaired(i: Inputs) -> UnpairedRates:
    return UnpairedRates(i["x1"], i["n1"], i["x2"], i["n2"])


def unpaired_interval(method: str) -> Callable[[Inputs], Any]:
    return lambda i: limits(unpaired(i).interval(level(i), method))


def gate_state(i: Inputs) -> Any:
    names = ("margin", "alpha", "alpha_fail", "mode")
    options = {name: i[name] for name in names if name in i}
    missing = i.get("n_missing", i.get("missing", 0))
    # these entries are about the equivalence and loss tests; the flip bound is asked for by name
    bound = i.get("gross_margin", i.get("margin_gross", 1.0))
    counts = pairs(i)
    result = gate(
        counts.loss, counts.gain, counts.n, missing=missing, gross_margin=bound, **options
    )
    return result.state.value


def gate_probabilities(i: Inputs) -> Any:
    names = ("margin", "alpha", "alpha_fail", "gross_margin", "mode")
    # without a bound the files leave the flips out
    options = {"gross_margin": 1.0} | {name: i[name] for name in names if name in i}
    probabilities = operating.gate_probabilities(i["n"], i["p10"], i["p01"], **options)
    return [probabilities.pass_, probabilities.fail, probabilities.inconclusive]


def wald_probability(i: Inputs) -> Any:
    names = ("margin", "alpha", "zero_variance_passes")
    options = {name: i[name] for name in names if name in i}
    return operating.wald_tost_probability(i["n"], i["p10"], i["p01"], **options)


def pooled(i: Inputs) -> Any:
    losses, gains = (i["sum_b"], i["sum_c"]) if "sum_b" in i else (sum(i["b"]), sum(i["c"]))
    ratio = effects.paired_odds_ratio(losses, gains)
    return [ratio.estimate, *limits(ratio.interval(level(i)))]


def total(i: Inputs) -> Any:
    for name in ("values", "terms", "addends", "x"):
        if name in i:
            return math.fsum(i[name])
    known = json.loads(TOTALS.read_text(encoding="utf-8"))["totals"]
    key = i["_id"].split(".")[-1]
    if key not in known:
        raise NotOffered("sum without addends")
    return math.fsum(known[key])


def statistic_and_p(result: Any) -> list[float]:
    return [result.statistic, result.p_value]


def conditional(i: Inputs) -> Any:
    slope = dose.conditional_slope(i["id"], i.get("k", i.get("dose")), i["y"])
    return [slope.coefficient, slope.se]


def one_pair_per_id(i: Inputs) -> Any:
    b, c = i["b"], i["c"]
    ids = [number for number in range(b + c) for _ in range(2)]
    outcome = [y for number in range(b + c) for y in ((1, 0) if number < b else (0, 1))]
    return conditional({"id": ids, "k": [0, 1] * (b + c), "y": outcome})


def marginal(i: Inputs) -> Any:
    fit = dose.marginal_slope(i["id"], i.get("k", i.get("dose")), i["y"])
    return [fit.intercept, fit.slope, fit.intercept_se, fit.slope_se]


def agreement(i: Inputs) -> Any:
    both = agree.agreement_from_cells(i["a"], i["b"], i["c"], i["d"])
    every = {"kappa": both.kappa, "ac1": both.ac1, "alpha": both.alpha, "pabak": both.pabak}
    named = [every[word] for word in i["_method"].split("_") if word in every]
    return named if len(named) > 1 else named[0]


def welch(i: Inputs) -> Any:
    return ttest_ind_from_stats(
        i["m1"], i["s1"], i["n1"], i["m2"], i["s2"], i["n2"], equal_var=False
    )


def pearson_p_value(i: Inputs) -> float:
    """Two-sided p-value of a correlation, from its null law r ~ 2·Beta(n/2 - 1, n/2 - 1) - 1."""
    return float(2 * beta.sf((1 + abs(i["r"])) / 2, i["n"] / 2 - 1, i["n"] / 2 - 1))


def rogan_gladen(i: Inputs) -> prevalence.CorrectedRate:
    return prevalence.rogan_gladen(i["pos"], i["n"], i["se"], i["sp"])


def clustered(i: Inputs) -> clusters.ClusteredPairs:
    return clusters.cluster_pairs(i.get("cluster", i.get("id")), i["d"])


def heterogeneity(i: Inputs) -> Any:
    test = chi2_contingency(i["table"], correction=False)
    return [test.statistic, test.pvalue]


def exact_size(i: Inputs) -> float:
    """True size of the score test: the exact tail at the critical value of the normal law."""
    n, margin = i["n"], i["margin"]
    return sup_tail(staircase(float(ndtri(i["alpha"])) - TIE, n, margin), n, margin)


def loss_equivalent_to_h(i: Inputs) -> float:
    """Loss in points at which `cohen_h` against the base rate takes the value h."""
    p, h = i["p"], i["h"]
    if effects.cohen_h(p, 0.0) <= h:
        return 100 * p
    return 100 * float(brentq(lambda loss: effects.cohen_h(p, p - loss) - h, 0.0, p, xtol=1e-14))


def censored(i: Inputs, suffix: str = "") -> CensoredData:
    time, event = np.asarray(i[f"time{suffix}"]), np.asarray(i[f"event{suffix}"], dtype=bool)
    return CensoredData.right_censored(time, ~event)


def survival(i: Inputs) -> list[float]:
    curve = ecdf(censored(i)).sf
    event_times = np.unique(np.asarray(i["time"])[np.asarray(i["event"], dtype=bool)])
    return curve.evaluate(event_times).tolist()


def log_rank(i: Inputs) -> list[float]:
    test = logrank(censored(i, "1"), censored(i, "2"))
    return [test.statistic**2, test.pvalue]


def log_e(i: Inputs) -> float:
    p = pairs(i)
    return float(sequential.log_e_margin(p.loss, p.gain, p.n, i.get("margin", 0.03)))


def melded_as_printed(i: Inputs) -> Any:
    """Limits as exact2x2 prints them: Brent's root finder, stopped within 1.2e-4.

    The package's own limits are exact (test_paired holds them against closed forms) and differ
    from these by up to 6e-5; only the stopping rule is the reference's here.
    """
    p, tail = pairs(i), (1 - level(i)) / 2
    if p.discordant == 0:
        return limits(p.interval(level(i), "melded"))

    def upper(b: int, c: int) -> float:
        def excess(limit: float) -> float:
            return melded_probability(limit, b, c, p.n) - (1 - tail)

        return 1.0 if excess(END) <= 0 else brent(excess, -END, END, 2.0**-13)

    return [-upper(p.gain, p.loss), upper(p.loss, p.gain)]
