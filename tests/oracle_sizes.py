"""Sizes and critical values of oracle files, as calls of public functions."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from draftproof.stats import flips
from draftproof.stats.exact import critical_z, exact_p_value
from draftproof.stats.paired import PairedTable
from draftproof.stats.sizes import pass_power

# pytest imports these files without their folder on the path
sys.path.insert(0, str(Path(__file__).parent))

from oracle_methods import Inputs, NotOffered


def _smallest(passes: Callable[[int], bool], start: int = 1) -> float:
    n = start
    while not passes(n):
        n += 1
        if n > 30_000:
            return math.nan
    return float(n)


def zero_discordance(i: Inputs) -> Any:
    digits = re.search(r"alpha(\d+)", i["_method"])
    alpha = float(i.get("alpha", f"0.{digits.group(1)}" if digits else 0.05))
    rule = str(i.get("rule", i.get("interval", i["_id"].split(".")[-1] if "." in i["_id"] else "")))
    name = re.sub(r"[^a-z]", "", rule.lower().replace("newcombe10", "newcombe"))
    margins = i["margins"] if "margins" in i else [i["margin"]]
    return [_zero_rung(name, alpha, m) for m in margins]


def _zero_rung(name: str, alpha: float, margin: float) -> float:
    if name.startswith("exact"):
        return float(flips.rung(0, margin, alpha))
    method = {
        "tango": "tango", "rmle": "tango", "score": "tango", "bonettprice": "bonett_price",
        "agrestimin": "agresti_min", "faylumbard": "melded", "melded": "melded",
        "newcombeceiling": "newcombe", "newcombe": "newcombe",
    }.get(name)  # fmt: skip
    if method is None:
        raise NotOffered(f"zero discordance by {name}")

    def passes(n: int) -> bool:
        table = PairedTable(both=n, loss=0, gain=0, neither=0)
        return table.interval(1 - 2 * alpha, method).high < margin

    return _smallest(passes)


def rungs(i: Inputs) -> Any:
    losses = next(i[k] for k in ("b", "k", "losses", "k_loss", "b_values") if k in i)
    rungs = [
        float(flips.rung(k, i.get("margin", 0.03), i.get("alpha", 0.05)))
        for k in (losses if isinstance(losses, list) else [losses])
    ]
    return rungs if isinstance(losses, list) else rungs[0]


def balanced(i: Inputs) -> Any:
    margin, alpha = i.get("margin", 0.03), i.get("alpha", 0.05)
    sizes, start = [], 1
    for k in i["k_each"]:
        start = max(start, 2 * k, 1)
        n = _smallest(lambda n, k=k: exact_p_value(k, k, n, margin) <= alpha, start)
        sizes.append(n)
        start = int(n)
    return sizes


def needed(i: Inputs) -> Any:
    options = {k: i[k] for k in ("margin", "alpha") if k in i}
    psi = next(i[k] for k in ("psi", "discordance") if k in i)
    rule, power = str(i.get("rule", i.get("method", "exact"))), i.get("power", 0.80)
    if rule != "exact":
        raise NotOffered(f"sizes by {rule}")

    def first(p: float) -> float:
        """Smallest size that shows equivalence alone, as do the next three."""

        def shown(n: int) -> bool:
            # the bound on flips is no part of the files' rule
            return pass_power(n, p, gross_margin=1.0, **options) >= power

        return _smallest(lambda n: all(shown(n + k) for k in (3, 0, 1, 2)), 50)

    run = [first(p) for p in _as_list(psi)]
    return run if isinstance(psi, list) else run[0]


def calibrated_z(i: Inputs) -> float:
    """Critical value as the file defines it: over 120 fixed nuisance values.

    The full search of the package finds peaks between them, so its own values are a little
    more extreme at some sizes; the tests show that the fixed grid is liberal there.
    """
    high = (1 - i["margin"]) / 2
    grid = np.unique(np.r_[0, np.geomspace(1e-6, high, 60), np.linspace(0, high, 60)])
    return critical_z(i["n"], i["margin"], i["alpha"], tuple(grid.tolist()))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
