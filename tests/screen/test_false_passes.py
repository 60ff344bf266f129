"""Ways to have a PASS that means nothing, in kinds: none of them is one."""

import pytest
from tests.screen.test_channels import WAYS, judge, only, rows

from draftproof.records import DraftproofError, State

COUNTS = {"rounds": 4, "drafted": 16, "accepted": 8, "histogram": [0, 2, 0, 2, 0]}


def counted(**changes):
    """Return 120 equal answers of which the first carries other counters."""
    counters = {k: v for k, v in (COUNTS | changes).items() if v is not None}
    return rows(speculation=lambda i: COUNTS if i else counters)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accepted": 17, "histogram": []}, "17"),
        ({"drafted": -1, "histogram": []}, "-1"),
        ({"rounds": float("nan")}, "nan"),
        ({"rounds": 0, "histogram": []}, "0"),
        ({"histogram": [4, 0, 0, 0, 0]}, "histogram"),
    ],
)
def test_one_answer_with_impossible_counters_is_named(tmp_path, changes, said):
    found = only(judge(tmp_path, rows(), counted(**changes)))
    assert found.state is State.INVALID
    assert "'p0'" in found.sentence
    assert said in found.sentence
    assert found.activation.acceptance_rate is None


@pytest.mark.parametrize(("carry", "state"), [(59, State.INVALID), (60, State.PASS)])
def test_counters_of_less_than_half_of_the_answers_prove_nothing(tmp_path, carry, state):
    after = rows(speculation=lambda i: COUNTS if i < carry else None)
    found = only(judge(tmp_path, rows(), after))
    assert found.state is state
    if state is State.PASS:
        assert "50% of the answers" in found.activation.text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("labels", [("True", "False"), ("jailbroken", "1"), ("refusal", "0")])
def test_labels_that_can_be_read_both_ways_are_never_guessed(tmp_path, way, labels):
    before = rows(label=lambda i: labels[i % 2])
    with pytest.raises(DraftproofError, match="--good"):
        judge(tmp_path, before, [dict(r) for r in before], way, good=())


@pytest.mark.parametrize("way", WAYS)
def test_one_prompt_under_many_ids_is_one_prompt(tmp_path, way):
    one = rows(prompt="What is it?")
    found = only(judge(tmp_path, one, [dict(r) for r in one], way))
    assert found.state is State.INCONCLUSIVE


@pytest.mark.parametrize("way", WAYS)
def test_labels_that_vary_in_one_arm_alone_are_no_pass(tmp_path, way):
    before = rows(300)
    after = [r | {"text": f"Else {i}.", "label": "refusal" if i % 9 else "compliance"}
             for i, r in enumerate(before)]  # fmt: skip
    assert only(judge(tmp_path, before, after, way)).state is State.FAIL


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channel", ["reasoning", "refusal", "tool_calls"])
def test_answers_that_are_empty_in_one_channel_of_one_arm_differ(tmp_path, way, channel):
    value = '[{"name": "f", "arguments": "{}"}]' if channel == "tool_calls" else "Hm."
    before = rows(**{channel: value})
    after = rows(**{channel: ""})
    found = only(judge(tmp_path, before, after, way))
    assert found.counts.channels == {channel: 120}
    assert found.state is State.INCONCLUSIVE
