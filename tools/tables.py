"""The tables of docs/statistics.md: ``python -m tools.tables`` writes them anew.

Every table stands between two comments that name it. All but the monitor's are enumerated.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from draftproof.stats.chances import TaskDesign, sequential_chances
from draftproof.stats.operating import gate_probabilities, wald_tost_probability
from draftproof.stats.sizes import SizeNeeded, pairs_needed

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
RUNS = 4000
_SEED = 20260101
_MONITORED = 600
_BLOCK = 16
_TRUTHS = (
    ("loss 3 points, discordance 3 %", 0.03, 0.0),
    ("loss 3 points, discordance 5 %", 0.04, 0.01),
    ("loss 5 points, discordance 5 %", 0.05, 0.0),
    ("no loss, discordance 0.2 %", 0.001, 0.001),
    ("no loss, discordance 1 %", 0.005, 0.005),
    ("no loss, discordance 3 %", 0.015, 0.015),
)


def sizes() -> str:
    """Return the sizes for 80 % power."""
    shares = (0.001, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
    rows = {
        "prompts for 80 % power at ±3 points": [pairs_needed(p) for p in shares],
        "the same without a model that finds causes (LS)": [
            pairs_needed(p, unexplained=True) for p in shares
        ],
    }
    head = "flips per hundred prompts (discordance)"
    lines = [_row(head, (f"{100 * p:g}" for p in shares)), _rule(len(shares))]
    lines += [_row(name, map(_size, needed)) for name, needed in rows.items()]
    return "\n".join(lines)


def _size(needed: SizeNeeded) -> str:
    return "none" if needed.n is None else f"{needed.n:,}"


def wald() -> str:
    """Return how often methods pass a true loss of exactly 3 points."""
    n = (50, 100, 200, 468, 953, 4000)
    rows = {
        "Wald, SE = 0 passes": [wald_tost_probability(k, 0.03, 0.0) for k in n],
        "Wald, SE = 0 does not pass": [
            wald_tost_probability(k, 0.03, 0.0, zero_variance_passes=False) for k in n
        ],
        "exact": [gate_probabilities(k, 0.03, 0.0, gross_margin=1.0).pass_ for k in n],
        "the whole rule": [gate_probabilities(k, 0.03, 0.0).pass_ for k in n],
    }
    lines = [_row("n", map(str, n)), _rule(len(n))]
    return "\n".join((*lines, *(_row(name, map(_percent, row)) for name, row in rows.items())))


def monitor(runs: int = RUNS) -> str:
    """Return the fixed plan beside a screen that is looked at.

    Args:
        runs: Simulated screens of each truth.
    """
    lines = ["| truth | fixed plan, 600 pairs | looked at every 16 pairs |", "| --- | --- | --- |"]
    for name, lost, gained in _TRUTHS:
        fixed = gate_probabilities(_MONITORED, lost, gained)
        task = TaskDesign(units=_MONITORED, lost=lost, gained=gained)
        rng = np.random.default_rng(_SEED)
        looked = sequential_chances(task, rng, block=_BLOCK, runs=runs)
        cells = [f"PASS {100 * x.pass_:.1f} %, FAIL {100 * x.fail:.1f} %" for x in (fixed, looked)]
        lines.append(f"| {name} | {cells[0]} | {cells[1]}, {looked.pairs:.0f} pairs on average |")
    return "\n".join(lines)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share > 0 else "0"


def _row(name: str, cells: object) -> str:
    return f"| {name} | {' | '.join(cells)} |"  # type: ignore[arg-type]


def _rule(columns: int) -> str:
    return f"| --- | {' | '.join(['---:'] * columns)} |"


def replace_table(page: str, name: str, table: str) -> str:
    """Return a page with a table in place of the one of that name.

    Raises:
        ValueError: The page has no table of that name.
    """
    pattern = rf"(<!-- table {name} -->\n).*?(\n<!-- end -->)"
    new, found = re.subn(pattern, lambda m: m[1] + table + m[2], page, flags=re.S)
    if found != 1:
        raise ValueError(f"the page has {found} tables named {name!r}")
    return new


def main() -> None:
    """Write the tables anew."""
    page = PAGE.read_text("utf-8")
    for name, table in (("sizes", sizes()), ("wald", wald()), ("monitor", monitor())):
        page = replace_table(page, name, table)
    PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
