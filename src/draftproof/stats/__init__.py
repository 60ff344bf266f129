"""Statistics: pure functions on counts and arrays, and frozen results that answer questions.

The names most callers need are here; the rest lives in one file a subject: `paired`, `score`,
`exact`, `mcnemar`, `unpaired`, `clusters`, `families`, `planning`, `noise`, `sensitivity`,
`sequential`, `group_sequential`, `identity`, `survival`, `dose`, `pooling`, `agreement`,
`fingerprints`, `prevalence`, `token_tests`, `mmd`, `decision`, `verdict`, `operating`.
"""

from draftproof.stats.agreement import Agreement
from draftproof.stats.clusters import ClusteredPairs, cluster_pairs
from draftproof.stats.decision import GateResult, gate
from draftproof.stats.decisions import equivalence_decisions, gate_decisions
from draftproof.stats.dose import cochran_armitage, conditional_slope
from draftproof.stats.effects import cohen_h, paired_cohen_h
from draftproof.stats.evidence import EXACT, TAIS, Code, Profile
from draftproof.stats.exact import critical_z, exact_p_value
from draftproof.stats.families import holm
from draftproof.stats.fingerprints import FaultFingerprint, Join, Suspicion, suspicions
from draftproof.stats.flips import flip_upper, flips_tolerated, rung
from draftproof.stats.group_sequential import GroupSequentialPlan, plan_looks
from draftproof.stats.identity import IdentityRate, prompts_needed
from draftproof.stats.mcnemar import mcnemar_test
from draftproof.stats.mmd import MmdResult, mmd_test
from draftproof.stats.noise import Cutoff, excess_divergence, noise_cutoff
from draftproof.stats.operating import GateProbabilities, gate_probabilities
from draftproof.stats.paired import DiscordantPairs, PairedTable
from draftproof.stats.planning import SampleSizePlan, equivalence_power, pairs_needed, plan
from draftproof.stats.pooling import PooledOddsRatio, pool_odds_ratio
from draftproof.stats.prevalence import ScorerValidation, implied_true_margin, rogan_gladen
from draftproof.stats.proportions import clopper_pearson, wilson
from draftproof.stats.results import EffectSize, HypothesisResult, Interval, Ratio, TostResult
from draftproof.stats.score import score_interval, score_statistic
from draftproof.stats.screen_evidence import (
    AssayEvidence,
    ByteEvidence,
    ForensicEvidence,
    Stratum,
)
from draftproof.stats.sensitivity import (
    DetectionCurve,
    Leak,
    canned_leak,
    detection_curve,
    draft_leak,
    minimum_detectable_leak,
)
from draftproof.stats.sequential import confidence_sequence, monitor, sequential_state
from draftproof.stats.survival import SurvivalCurve, kaplan_meier, log_rank
from draftproof.stats.token_tests import TokenTest, g_test, total_variation_upper
from draftproof.stats.unpaired import UnpairedRates
from draftproof.stats.verdict import ScreenResult, screen_verdict

__all__ = [
    "EXACT",
    "TAIS",
    "Agreement",
    "AssayEvidence",
    "ByteEvidence",
    "ClusteredPairs",
    "Code",
    "Cutoff",
    "DetectionCurve",
    "DiscordantPairs",
    "EffectSize",
    "FaultFingerprint",
    "ForensicEvidence",
    "GateProbabilities",
    "GateResult",
    "GroupSequentialPlan",
    "HypothesisResult",
    "IdentityRate",
    "Interval",
    "Join",
    "Leak",
    "MmdResult",
    "PairedTable",
    "PooledOddsRatio",
    "Profile",
    "Ratio",
    "SampleSizePlan",
    "ScorerValidation",
    "ScreenResult",
    "Stratum",
    "SurvivalCurve",
    "Suspicion",
    "TokenTest",
    "TostResult",
    "UnpairedRates",
    "canned_leak",
    "clopper_pearson",
    "cluster_pairs",
    "cochran_armitage",
    "cohen_h",
    "conditional_slope",
    "confidence_sequence",
    "critical_z",
    "detection_curve",
    "draft_leak",
    "equivalence_decisions",
    "equivalence_power",
    "exact_p_value",
    "excess_divergence",
    "flip_upper",
    "flips_tolerated",
    "g_test",
    "gate",
    "gate_decisions",
    "gate_probabilities",
    "holm",
    "implied_true_margin",
    "kaplan_meier",
    "log_rank",
    "mcnemar_test",
    "minimum_detectable_leak",
    "mmd_test",
    "monitor",
    "noise_cutoff",
    "paired_cohen_h",
    "pairs_needed",
    "plan",
    "plan_looks",
    "pool_odds_ratio",
    "prompts_needed",
    "rogan_gladen",
    "rung",
    "score_interval",
    "score_statistic",
    "screen_verdict",
    "sequential_state",
    "suspicions",
    "total_variation_upper",
    "wilson",
]
