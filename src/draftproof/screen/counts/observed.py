"""How often labels flipped in answers that there are, for planning how many more to ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from draftproof.screen.counts.task_tally import TaskTally
from draftproof.screen.counts.units import LOSS, NO_PAIR, TORN, UNREAD
from draftproof.stats.clusters import ClusteredPairs, cluster_pairs
from draftproof.stats.sizes import discordance_bound

_MOST_ALIKE = 0.99


@dataclass(frozen=True, slots=True)
class ObservedFlips:
    """What the pairs of one task say of chance.

    Attributes:
        flips: Labels that differ, either way.
        n: Pairs.
        clusters: Independent ones among them.
        effective_n: Independent pairs that carry the same information.
        icc: Correlation of flips within a cluster; 0 where nothing flipped or no cluster has two.
        discordance: Upper 80 % bound of the share of labels that flip.
    """

    flips: int
    n: int
    clusters: int
    effective_n: float
    icc: float
    discordance: float


def observed_flips(tallies: Iterable[Mapping[str, TaskTally]]) -> dict[str, ObservedFlips]:
    """Return what was observed of each task, from the pair of arms that flips most.

    Args:
        tallies: The tasks of each pair of arms.
    """
    found: dict[str, ObservedFlips] = {}
    for tally in tallies:
        for name, task in tally.items():
            keys, signs = task.units()
            scored = (signs != NO_PAIR) & (signs != UNREAD)
            if not scored.any():
                continue
            flips = np.where(signs == TORN, LOSS, signs)[scored].astype(np.float64)
            one = _observed(cluster_pairs(keys[scored], flips))
            if name not in found or one.discordance > found[name].discordance:
                found[name] = one
    return found


def _observed(pairs: ClusteredPairs) -> ObservedFlips:
    flips, members = pairs.loss + pairs.gain, pairs.n / pairs.clusters
    known = members > 1 and not math.isnan(pairs.design_effect)
    icc = (pairs.design_effect - 1) / (members - 1) if known else 0.0
    effective = math.floor(pairs.effective_n + 1e-9)
    counted = min(math.ceil(flips * effective / pairs.n - 1e-9), effective)
    return ObservedFlips(
        flips=flips,
        n=pairs.n,
        clusters=pairs.clusters,
        effective_n=pairs.effective_n,
        icc=min(icc, _MOST_ALIKE),
        discordance=discordance_bound(counted, effective),
    )
