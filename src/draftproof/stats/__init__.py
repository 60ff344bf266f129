"""Statistics: pure functions on counts and arrays, and frozen results that answer questions.

The names most callers need are here, imported on first use: one function does not load what the
others need (scipy.stats alone takes a second). The rest lives in one file a subject.
"""

# ruff: noqa: F401 - the imports for type checkers are the names that are offered
# mypy: implicit-reexport

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as in the table, for type checkers; a test compares them
    from draftproof.stats.clusters import ClusteredPairs, cluster_pairs
    from draftproof.stats.decision import GateResult, gate
    from draftproof.stats.decisions import equivalence_decisions, gate_decisions
    from draftproof.stats.evidence import (
        EXACT,
        TAIS,
        AssayEvidence,
        ByteEvidence,
        Code,
        ForensicEvidence,
        Profile,
        Stratum,
    )
    from draftproof.stats.exact import exact_p_value
    from draftproof.stats.flips import flip_upper, flips_tolerated, rung
    from draftproof.stats.mcnemar import holm, mcnemar_test
    from draftproof.stats.paired import DiscordantPairs, PairedTable, excess_divergence
    from draftproof.stats.proportions import clopper_pearson, wilson
    from draftproof.stats.results import HypothesisResult, Interval, TostResult
    from draftproof.stats.sampling import g_test, mmd_test
    from draftproof.stats.sensitivity import canned_leak, minimum_detectable_leak
    from draftproof.stats.sequential import monitor, sequential_state
    from draftproof.stats.sizes import pairs_needed
    from draftproof.stats.verdict import ScreenResult, screen_verdict

_FILES = {
    "clusters": ("ClusteredPairs", "cluster_pairs"),
    "decision": ("GateResult", "gate"),
    "decisions": ("equivalence_decisions", "gate_decisions"),
    "evidence": (
        "EXACT",
        "TAIS",
        "AssayEvidence",
        "ByteEvidence",
        "Code",
        "ForensicEvidence",
        "Profile",
        "Stratum",
    ),
    "exact": ("exact_p_value",),
    "flips": ("flip_upper", "flips_tolerated", "rung"),
    "mcnemar": ("holm", "mcnemar_test"),
    "paired": ("DiscordantPairs", "PairedTable", "excess_divergence"),
    "proportions": ("clopper_pearson", "wilson"),
    "results": ("HypothesisResult", "Interval", "TostResult"),
    "sampling": ("g_test", "mmd_test"),
    "sensitivity": ("canned_leak", "minimum_detectable_leak"),
    "sequential": ("monitor", "sequential_state"),
    "sizes": ("pairs_needed",),
    "verdict": ("ScreenResult", "screen_verdict"),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its file on first use."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILE_OF})
