"""What a run says nothing about, said of every arm in the words of its engine."""

import pytest

from draftproof.runs import Plan
from draftproof.screen.deployment import untested


@pytest.mark.parametrize(
    ("engine", "said", "unsaid"),
    [
        ("local", "batches other than 16", "loads"),
        ("transformers", "draft lengths other than 4", "loads"),
        ("openvino", "loads other than 3 requests", "batches"),
        ("vllm", "loads other than 3 requests", "batches"),
    ],
)
def test_gaps_are_those_of_the_engine(engine, said, unsaid):
    plan = Plan.model_validate({
        "target": "T", "engine": engine, "concurrency": 3,
        "arms": [{"name": "t", "role": "baseline"},
                 {"name": "d", "role": "candidate", "draft": "D"}],
    })  # fmt: skip
    gaps = untested(plan, plan.arms[1])
    assert any(gap.startswith(said) for gap in gaps)
    assert not any(gap.startswith(unsaid) for gap in gaps)
    assert "a temperature above 0" in gaps


def test_what_another_candidate_varies_is_no_gap():
    plan = Plan.model_validate({
        "target": "T", "engine": "vllm",
        "arms": [{"name": "t", "role": "baseline"},
                 {"name": "one", "role": "candidate", "draft": "D", "concurrency": 1},
                 {"name": "many", "role": "candidate", "draft": "D", "concurrency": 8}],
    })  # fmt: skip
    assert not any(gap.startswith("loads") for gap in untested(plan, plan.arms[1]))
