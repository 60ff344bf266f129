"""Names under which oracle files ask for a method."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from draftproof.stats import agreement as agree
from draftproof.stats import (
    dose,
    effects,
    flips,
    operating,
    prevalence,
    proportions,
    sequential,
)
from draftproof.stats.mcnemar import chi_square, holm
from draftproof.stats.proportions import clopper_pearson, wilson
from draftproof.stats.score import score_statistic
from draftproof.stats.sizes import scorer_discordance

# pytest imports this file without its folder on the path
sys.path.insert(0, str(Path(__file__).parent))

import oracle_methods as m
import oracle_sizes as sizes

Function = Callable[[m.Inputs], Any]


def _proportions() -> dict[str, Function]:
    names: dict[str, Function] = {}
    families_ = {
        "clopper_pearson": clopper_pearson,
        "wilson": wilson,
    }
    for name, function in families_.items():
        for suffix in ("", "_ci", "_two_sided", "_two_sided_ci", "_ci_two_sided", "_interval"):
            names[name + suffix] = m.proportion(function, "two-sided")
        for side in ("upper", "lower"):
            for pattern in ("{}_{}_one_sided", "{}_one_sided_{}", "{}_{}", "{}_{}_bound"):
                names[pattern.format(name, side)] = m.proportion(function, side)
    return names


def _paired() -> dict[str, Function]:
    names: dict[str, Function] = {}
    intervals = {
        "tango": "tango", "bonett_price": "bonett_price", "agresti_min": "agresti_min",
        "wald": "wald", "fay_lumbard_melded": "melded", "fay_lumbard": "melded",
        "melded": "melded", "exact_unconditional": "exact",
    }  # fmt: skip
    for name, method in intervals.items():
        for suffix in ("_ci", "_paired_ci", "_interval"):
            names[name + suffix] = m.paired_interval(method)
        names[f"{name}_upper_one_sided"] = m.one_sided(method, upper=True)
        names[f"{name}_lower_one_sided"] = m.one_sided(method, upper=False)
    for name, method in (("tango", "tango"), ("exact_unconditional", "exact"), ("wald", "wald")):
        names[f"{name}_tost_p"] = m.tost(method)
        names[f"{name}_noninferiority_p"] = m.noninferiority(method)
    for suffix, side in (("two_sided", "two-sided"), ("one_sided_greater", "loss"),
                         ("one_sided_less", "gain")):  # fmt: skip
        names[f"mcnemar_exact_{suffix}"] = m.mcnemar("exact", side)
        for spelling in ("midp", "mid_p"):
            names[f"mcnemar_{spelling}_{suffix}"] = m.mcnemar("midp", side)
    for name in ("mcnemar_midp", "mcnemar_mid_p", "mcnemar_midp_p", "mcnemar_mid_p_p"):
        names[name] = m.mcnemar("midp")
    for name in ("mcnemar_asymptotic", "mcnemar_asymptotic_p", "mcnemar_chi2_p"):
        names[name] = m.mcnemar("asymptotic")
    for name in ("mcnemar_corrected_p", "mcnemar_chi2_corrected_p", "mcnemar_cc_p",
                 "mcnemar_asymptotic_cc_p", "mcnemar_asymptotic_corrected_p"):  # fmt: skip
        names[name] = m.mcnemar("corrected")
    names["mcnemar_exact"] = names["mcnemar_exact_p"] = m.mcnemar("exact")
    names["direction_test_one_sided"] = names["loss_p"] = m.mcnemar("exact", "loss")
    for name in (
        "mcnemar_exact_unconditional_p",
        "mcnemar_exact_unconditional",
        "suissa_shuster_p",
    ):
        names[name] = m.mcnemar("exact-unconditional")
    return names


def _unpaired() -> dict[str, Function]:
    names: dict[str, Function] = {}
    for name, method in (
        ("miettinen_nurminen", "miettinen_nurminen"), ("farrington_manning", "farrington_manning"),
        ("newcombe_unpaired", "newcombe"), ("newcombe_independent", "newcombe"),
        ("agresti_caffo", "agresti_caffo"), ("wald_unpaired", "wald"),
    ):  # fmt: skip
        names[f"{name}_ci"] = names[name] = m.unpaired_interval(method)
    for name, corrected in (("farrington_manning", False), ("miettinen_nurminen", True)):
        names[f"{name}_z"] = lambda i, c=corrected: proportions.score_z(
            i["x1"], i["n1"], i["x2"], i["n2"], i.get("null_diff", i.get("margin", 0.0)), c
        )
        names[f"{name}_tost_p"] = lambda i, k=name: (
            m.unpaired(i).tost(i.get("margin", 0.03), k).p_value
        )
    return names


METHODS: dict[str, Function] = {
    **_proportions(),
    **_paired(),
    **_unpaired(),
    "fay_lumbard_melded_ci": m.melded_as_printed,
    "fay_lumbard_ci": m.melded_as_printed,
    "proportion": lambda i: i["x"] / i["n"] if i["n"] else math.nan,
    "proportion_pct": lambda i: 100 * i["x"] / i["n"] if i["n"] else math.nan,
    "newcombe_paired_ci": m.newcombe,
    "newcombe_ci": m.newcombe,
    "paired_delta": lambda i: m.pairs(i).swapped().difference,
    # published tables print candidate minus baseline
    "paired_delta_pp": lambda i: 100 * m.pairs(i).swapped().difference,
    "paired_or_haldane": lambda i: m.pairs({"n": i["b"] + i["c"], **i}).odds_ratio().estimate,
    "paired_or_pooled_haldane": m.pooled,
    "mcnemar_chi2_statistic": lambda i: chi_square(
        i["b"], i["c"], correction=bool(i.get("correction", False))
    ),
    "tango_z": lambda i: float(score_statistic(i["b"], i["c"], i["n"], i["margin"])),
    "tango_upper_one_sided_missing_as_loss": m.missing_as_loss,
    "cohen_h": lambda i: effects.cohen_h(i["p1"], i["p2"]),
    "cohen_h_paired": lambda i: m.table(i).cohen_h().h,
    "cohen_h_paired_se": lambda i: m.table(i).cohen_h().se,
    "cohen_h_paired_ci": lambda i: m.limits(m.table(i).cohen_h().interval(m.level(i))),
    "phi_coefficient": lambda i: effects.phi_coefficient(i["a"], i["b"], i["c"], i["d"]),
    "loss_pp_equivalent_to_h": m.loss_equivalent_to_h,
    "welch_t_from_summary": lambda i: float(m.welch(i).statistic),
    "welch_t_p_from_summary": lambda i: float(m.welch(i).pvalue),
    "pearson_r_pvalue": m.pearson_p_value,
    "weighted_mean": lambda i: float(np.average(i["mean"], weights=i["n"])),
    "difference": lambda i: i["a"] - i["b"],
    "sum": m.total,
    "n_required_zero_discordance_alpha05": sizes.zero_discordance,
    "n_required_zero_discordance_alpha025": sizes.zero_discordance,
    "n_required_zero_discordance": sizes.zero_discordance,
    "n_required_exact_given_balanced": sizes.balanced,
    "n_required_exact_given_losses": sizes.rungs,
    "n_required_exact_given_losses_only": sizes.rungs,
    "n_required_exact_losses_only": sizes.rungs,
    "n_required_exact_given_loss_only": sizes.rungs,
    "n_required_exact_given_b": sizes.rungs,
    "n_required_exact": sizes.needed,
    "n_required_equivalence_exact": sizes.needed,
    "exact_calibrated_critical_z": sizes.calibrated_z,
    "exact_size_of_tango_one_sided": m.exact_size,
    "gate": m.gate_state,
    "gate_probabilities_pass_fail_inconclusive": m.gate_probabilities,
    "wald_tost_pass_probability": m.wald_probability,
    "mcnemar_exact_power_one_sided": lambda i: operating.mcnemar_power(
        i["n"], i["p10"], i["p01"], i["alpha"]
    ),
    "equivalence_power_exact": lambda i: (
        operating.gate_probabilities(
            i["n"],
            i["p10"],
            i["p01"],
            margin=i.get("margin", 0.03),
            alpha=i.get("alpha", 0.05),
            gross_margin=1.0,
        ).pass_
    ),
    "holm": lambda i: holm(i["p"]).tolist(),
    "bonferroni": lambda i: np.minimum(np.asarray(i["p"]) * len(i["p"]), 1.0).tolist(),
    "benjamini_hochberg": lambda i: false_discovery_control(i["p"]).tolist(),
    "holm_first_alpha": lambda i: i["alpha"] / i["m"],
    "intersection_union_p": lambda i: float(np.max(i["p"])),
    "chi2_contingency": m.heterogeneity,
    "chi2_homogeneity": m.heterogeneity,
    "chi2_independence": m.heterogeneity,
    "pearson_chi2": m.heterogeneity,
    "cochran_armitage": lambda i: m.statistic_and_p(
        dose.cochran_armitage(i["x"], i["n"], i["scores"])
    ),
    "conditional_logit": m.conditional,
    "conditional_logit_one_pair_per_id": m.one_pair_per_id,
    "gee_logit_independence": m.marginal,
    "kaplan_meier_survival_at_events": m.survival,
    "logrank_chi2_p": m.log_rank,
    "agreement_kappa_ac1_alpha_pabak": m.agreement,
    "cohen_kappa": m.agreement,
    "kappa": m.agreement,
    "gwet_ac1": m.agreement,
    "ac1": m.agreement,
    "krippendorff_alpha": m.agreement,
    "pabak": m.agreement,
    "cohen_kappa_from_po_pe": lambda i: agree.kappa_from_rates(i["po"], i["pe"]),
    "rogan_gladen_point_raw": lambda i: m.rogan_gladen(i).raw,
    "rogan_gladen_point": lambda i: m.rogan_gladen(i).estimate,
    "rogan_gladen_se": lambda i: m.rogan_gladen(i).se,
    "rogan_gladen_ci": lambda i: m.limits(m.rogan_gladen(i).interval(m.level(i))),
    "implied_true_margin": lambda i: prevalence.implied_true_margin(
        i["margin"], i["fpr"], i["fnr"]
    ),
    "log_e_beta51_mixture": m.log_e,
    "e_beta51_mixture": lambda i: math.exp(m.log_e(i)),
    "loss_e_value": lambda i: math.exp(float(sequential.log_e_loss(i["b"], i["c"]))),
    "e_value_loss": lambda i: math.exp(float(sequential.log_e_loss(i["b"], i["c"]))),
    "log_e_loss": lambda i: float(sequential.log_e_loss(i["b"], i["c"])),
    "aa_replicates_for_upper_bound_q95": lambda i: [
        float(flips.rung(k - 1, 1 - i.get("quantile", 0.95), 1 - i.get("conf", 0.95)))
        for k in i["k"]
    ],
    "cluster_variance": lambda i: m.clustered(i).variance,
    "cluster_se": lambda i: math.sqrt(m.clustered(i).variance),
    "cluster_t_ci": lambda i: m.limits(m.clustered(i).interval(m.level(i), "t")),
    "design_effect": lambda i: m.clustered(i).design_effect,
    "effective_n": lambda i: m.clustered(i).effective_n,
    "scorer_discordance": lambda i: scorer_discordance(i["error"]),
    "flips_tolerated": lambda i: flips.flips_tolerated(
        i["n"], i.get("margin", 0.03), i.get("alpha", 0.05)
    ),
    "cluster_n": lambda i: m.clustered(i).clusters,
}
