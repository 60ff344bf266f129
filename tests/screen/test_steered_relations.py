"""What a rule that steers says does not depend on what is drafted, on the models that ship."""

import pytest
from pydantic import ValidationError

from draftproof.runs import Plan, RunDirectory
from draftproof.screen.run import run_plan
from draftproof.stacks import ArmSpec

STEERED = {
    "safety_aware": {"preset": "llama2", "window": 4, "compat": "fixed"},
    "safe_decoding": {"tokens": 6},
}


def plan(rule, options, *more, **shared):
    return Plan.model_validate(
        {
            "battery": "lab-core", "half": "quick", "limit": 2, "target": "lab:target",
            "max_new_tokens": 20, "batch": 8, "decision": {"inject": 0}, **shared,
            "arms": [
                {"name": "target", "role": "baseline"},
                {"name": "steered", "role": "candidate", "draft": "lab:expert", "gamma": 3,
                 "rule": rule, "rule_options": options},
                *more,
            ],
        }
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("rule", STEERED)
def test_drafting_changes_nothing_that_a_steering_rule_says(rule, dtype, tmp_path):
    declared = plan(rule, STEERED[rule], metamorphic=True, dtype=dtype)
    assert {a.name: a.gamma for a in declared.arms if a.of == "steered"} == {
        "steered-gamma": 1, "steered-seed": 3, "steered-autoregressive": 0,
    }  # fmt: skip
    with RunDirectory(tmp_path / "run") as run:
        found = run_plan(declared, run)
        alone = run.log("steered-autoregressive").read().values()
    assert {r.changed: r.held for r in found.relations} == {
        "gamma": True, "seed": True, "autoregressive": True,
    }  # fmt: skip
    assert found.candidates[0].counts.identical < found.candidates[0].counts.n
    # one forward a token: nothing was drafted, and the rule was asked all the same
    assert all(set(c.provenance) == {"p"} and c.speculation is None for c in alone)
    assert all(len(c.modes) == len(c.token_ids) for c in alone)


def test_another_weight_of_the_expert_breaks_the_relation(tmp_path):
    options = STEERED["safety_aware"]
    heavy = {**options, "alpha_intersection": 3.0, "alpha_floor": 3.0}
    other = {"name": "other", "role": "variant", "of": "steered", "draft": "lab:expert",
             "rule": "safety_aware", "gamma": 0, "rule_options": heavy}  # fmt: skip
    with RunDirectory(tmp_path / "run") as run:
        found = run_plan(plan("safety_aware", options, other), run)
    relation = found.relations[0]
    assert not relation.held
    assert relation.unexplained == relation.n - relation.identical > 0
    assert "unexplained" in relation.text


@pytest.mark.parametrize(
    "arm",
    [{"role": "candidate", "rule": "safety_aware"}, {"role": "variant", "of": "d", "rule": "exact"},
     {"role": "control", "rule": "exact"}],
)  # fmt: skip
def test_only_a_variant_of_a_steering_rule_drafts_nothing(arm):
    with pytest.raises(ValidationError, match="gamma 0 drafts nothing"):
        ArmSpec.model_validate(
            {"name": "x", "target": "lab:target", "draft": "lab:expert", "gamma": 0, **arm}
        )
