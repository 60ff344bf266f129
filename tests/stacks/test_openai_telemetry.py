"""Counters: known names are read, unknown ones are said, none is ever taken for zero."""

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from draftproof.records import Completion, Counters, Proof, ProofState, Speculation
from draftproof.screen.activation import activation
from draftproof.screen.counts.arm_tally import tally_arm
from draftproof.stacks.http.counters import CounterWatch
from draftproof.stacks.http.telemetry import (
    UnknownCountersError,
    iteration_counters,
    prometheus_counters,
    speculation_of,
)

VLLM = {
    "mean_acceptance_length": 2.5, "draft_acceptance_rate": 0.375, "num_spec_steps": 4,
    "num_draft_tokens": 16, "num_accepted_draft_tokens": 6, "num_spec_tokens": 4,
    "acceptance_histogram": {"0": 1, "1": 1, "2": 1, "3": 1},
}  # fmt: skip
SGLANG = {"spec_verify_ct": 3, "spec_num_proposed_drafts": 24, "spec_num_correct_drafts": 9}


@pytest.mark.parametrize(
    ("reply", "seen"),
    [
        ({"metrics": {"speculative_decoding": VLLM}}, (4, 16, 6, (1, 1, 1, 1))),
        ({"metrics": {"speculative_decoding": {**VLLM, "acceptance_histogram": None}}},
         (4, 16, 6, ())),
        ({"metrics": {"speculative_decoding": {**VLLM, "acceptance_histogram": {"2": 3}}}},
         (4, 16, 6, (0, 0, 3))),
        ({"meta_info": SGLANG | {"spec_correct_drafts_histogram": [0, 0, 0, 3]}},
         (3, 24, 9, (0, 0, 0, 3))),
        ({"choices": [{"meta_info": {"spec_verify_ct": 3, "spec_draft_token_num": 24,
                                     "spec_accept_token_num": 9}}]}, (3, 24, 9, ())),
        ({"sglext": {"spec_tokens_details": SGLANG}}, (3, 24, 9, ())),
        # 16 tokens: 9 of the draft, 1 of the prompt's own forward, 6 of later ones
        ({"timings": {"predicted_n": 16, "draft_n": 12, "draft_n_accepted": 9}}, (6, 12, 9, ())),
        ({"metrics": {"speculative_decoding": VLLM | {"acceptance_histogram": [1, 1, 1, 1]}}},
         (4, 16, 6, (1, 1, 1, 1))),
        ({"stats": {"draft_model": "d", "total_draft_tokens_count": 12,
                    "accepted_draft_tokens_count": 9, "predicted_tokens_count": 16}},
         (6, 12, 9, ())),
        ({"timings": {"predicted_n": 16}}, None),
        ({"choices": None, "error": {"message": "no"}}, None),
        ({"metrics": {"speculative_decoding": None}}, None),
        ({"metrics": None, "choices": [None]}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_counters_of_a_response(reply, seen):
    found = speculation_of(reply)
    if seen is None:
        assert found is None
    else:
        rounds, drafted, accepted, histogram = seen
        assert found == Speculation(
            rounds=rounds, drafted=drafted, accepted=accepted, histogram=histogram
        )


@pytest.mark.parametrize(
    "reply",
    [
        {"metrics": {"speculative_decoding": {"drafts": 3}}},
        {"metrics": {"speculative_decoding": 7}},
        {"metrics": {"speculative_decoding": VLLM | {"num_draft_tokens": "16"}}},
        {"metrics": {"speculative_decoding": VLLM | {"num_draft_tokens": -1}}},
        {"metrics": {"speculative_decoding": VLLM | {"num_draft_tokens": True}}},
        {"metrics": {"speculative_decoding": VLLM | {"num_draft_tokens": 2}}},
        {"metrics": {"speculative_decoding": VLLM | {"acceptance_histogram": {"x": 1}}}},
        {"metrics": {"speculative_decoding": VLLM | {"acceptance_histogram": {"999999": 1}}}},
        {"timings": {"draft_total": 4, "predicted_n": 9}},
        {"timings": {"draft_n": 4, "draft_n_accepted": 2}},
        {"meta_info": {"spec_accept_length": 2.5}},
        {"meta_info": {"completion_tokens": 20, "spec_verify_ct": 30}},
    ],
)
def test_unknown_counters_are_said(reply):
    with pytest.raises(UnknownCountersError):
        speculation_of(reply)


def test_verifying_steps_alone_prove_what_was_accepted():
    seen = speculation_of({"meta_info": {"completion_tokens": 100, "spec_verify_ct": 30}})
    assert (seen.rounds, seen.accepted) == (30, 69)
    assert seen.drafted_at_least
    shown = activation(tally_arm([Completion(arm="a", id="1", text="x", speculation=seen)]))
    assert shown.proven
    assert shown.acceptance_rate is None
    assert shown.text.startswith("at least 69 tokens drafted, 69 accepted in 30 rounds")


@pytest.mark.parametrize("prefix", ["ray_vllm_", "llamacpp:", "lmdeploy:", "vllm:"])
def test_pages_of_other_servers_and_of_older_versions_count(prefix):
    page = (
        f'{prefix}spec_decode_num_draft_tokens_total{{a="b"}} 300.0\n'
        f'{prefix}spec_decode_num_accepted_tokens_total{{a="b"}} 150.0\n'
        f"{prefix}spec_decode_draft_acceptance_rate 0.5\n"
    )
    counters = prometheus_counters(page)
    assert (counters.rounds, counters.drafted, counters.accepted) == (None, 300, 150)
    assert counters.impossible is None
    server = Proof(state=ProofState.COUNTED, source="page", counters=counters).to_json()
    shown = activation(tally_arm([]), Proof.from_json(server).to_json())
    assert shown.proven
    assert shown.rounds is None
    assert shown.text == "300 tokens drafted, 150 accepted (50.0%)"


PAGE = """\
# HELP vllm:spec_decode_num_drafts_total Number of spec decoding drafts.
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="m"} 308.0
vllm:spec_decode_num_drafts_total{engine="1",model_name="m"} 2.0
vllm:spec_decode_num_drafts_created{engine="0",model_name="m"} 1.7e+09
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="m"} 1232.0
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="m"} 1155.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",position="0"} 300.0
vllm:num_requests_running{engine="0"} 0.0
"""


def test_a_prometheus_page_is_added_up():
    found = prometheus_counters(PAGE)
    assert (found.rounds, found.drafted, found.accepted) == (310, 1232, 1155)


@pytest.mark.parametrize("page", ["", "vllm:num_requests_running 0\n", "\x00\xff garbage {"])
def test_a_page_without_such_counters_says_nothing(page):
    assert prometheus_counters(page) is None


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (PAGE.replace("num_draft_tokens_total", "num_proposals_total"), "has no vllm:spec_decode"),
        ("sglang:spec_accept_length 2.5\n", "sglang:spec_accept_length"),
        ("vllm:spec_decode_draft_acceptance_rate 0.5\n", "unknown counters"),
        (PAGE.replace("1155.0", "NaN"), "no count"),
        (PAGE.replace("1155.0", "-1"), "no count"),
        (PAGE.replace("1155.0", "+Inf"), "no count"),
    ],
)
def test_a_page_that_cannot_be_believed_is_an_error(page, told):
    with pytest.raises(UnknownCountersError, match=told):
        prometheus_counters(page)


@pytest.mark.parametrize(
    "line",
    [
        "vllm:spec_decode_num_drafts_total",
        "vllm:spec_decode_num_drafts_total many",
        'vllm:spec_decode_num_drafts_total{engine="0" 3',
        'vllm:spec_decode_num_drafts_total{engine="0} 3',
        "{spec_decode_rounds 3",
    ],
)
def test_a_malformed_line_about_speculation_is_named(line):
    with pytest.raises(UnknownCountersError, match="cannot be read"):
        prometheus_counters(PAGE + line + "\n")
    assert prometheus_counters(PAGE + line.replace("spec_decode", "cache") + "\n") is not None


@pytest.mark.parametrize(
    "page",
    [
        "vllm:spec_decode_num_drafts_total{" + 'a="b",' * 500_000 + "} 1\n",
        'vllm:spec_decode_num_drafts_total{engine="0"} 1\n' * 200_000,
    ],
)
def test_a_page_without_end_is_refused_at_once(page):
    start = time.perf_counter()
    with pytest.raises(UnknownCountersError, match="more than"):
        prometheus_counters(page)
    assert time.perf_counter() - start < 5


@given(st.text(), st.text(alphabet='{}="\\\t #,x1.:_', max_size=40))
def test_no_page_is_a_crash(text, tail):
    for page in (text, "vllm:spec_decode_num_drafts_total" + tail, "spec_decode" + text):
        with suppress(UnknownCountersError):
            prometheus_counters(page)


def page(drafts, drafted, accepted):
    names = ("num_drafts", "num_draft_tokens", "num_accepted_tokens")
    values = (drafts, drafted, accepted)
    return "".join(f"vllm:spec_decode_{n}_total {v}\n" for n, v in zip(names, values, strict=True))


def watch(*pages):
    counters = CounterWatch()
    for one in pages:
        counters.read(one)
    return counters


def test_what_was_gained_counts():
    gained = watch(page(5, 20, 9), page(6, 24, 10), page(9, 36, 15)).gained
    assert (gained.rounds, gained.drafted, gained.accepted) == (4, 16, 6)
    late = watch("up 1\n", page(3, 12, 5)).gained
    assert (late.rounds, late.drafted, late.accepted) == (3, 12, 5)


@pytest.mark.parametrize(
    ("pages", "told"),
    [
        ((page(5, 20, 9), page(6, 24, 2), page(9, 36, 15)), "went backwards"),
        ((page(5, 20, 9), "up 1\n"), "disappeared"),
        ((page(5, 20, 9), None), "stopped answering"),
        ((page(5, 20, 9), "vllm:spec_decode_num_drafts_total 7\n"), "has no"),
    ],
)
def test_a_broken_row_of_readings_proves_nothing(pages, told):
    counters = watch(*pages)
    assert counters.gained is None
    assert told in counters.problem


def test_no_page_and_no_counters_are_no_problem():
    for pages in ((None, None), ("up 1\n", "up 1\n"), (page(5, 20, 9),)):
        counters = watch(*pages)
        assert counters.gained is None
        assert counters.problem is None


def iterations(*counts):
    """A page of TensorRT-LLM's, with the documented names; never seen from the real server."""
    names = ("numRequestsWithDraftTokens", "numDraftTokens", "numAcceptedTokens")
    return json.dumps(
        [{"iter": 0, "iterLatencyMS": 9.5}]
        + [{"specDecodingStats": {**dict(zip(names, c, strict=True)), "acceptanceLength": 2.0}}
           for c in counts]
    )  # fmt: skip


def test_iterations_are_added_and_what_was_there_before_is_not_ours():
    watch = CounterWatch()
    for page in (iterations((5, 20, 9)), iterations((1, 4, 3), (2, 8, 1)), "[]", iterations()):
        watch.read(page)
    watch.read(iterations((1, 4, 4)))
    assert watch.problem is None
    assert watch.gained == Counters(4, 16, 8)


def test_iterations_without_speculation_are_absent_and_later_ones_count():
    watch = CounterWatch()
    watch.read(iterations())
    watch.read(iterations())
    assert watch.gained is None
    assert watch.problem is None
    watch.read(iterations((1, 4, 2)))
    assert watch.gained == Counters(1, 4, 2)


@pytest.mark.parametrize(
    "page",
    ["[", "[1]", '[{"specDecodingStats": {}}]',
     '[{"specDecodingStats": {"numDraftTokens": 3, "accepted": 2}}]'],
)  # fmt: skip
def test_iterations_under_other_names_prove_nothing(page):
    watch = CounterWatch()
    watch.read(iterations())
    watch.read(page)
    assert watch.problem
    assert watch.gained is None


def test_what_other_ranks_repeat_is_counted_once():
    rows = json.loads(iterations((1, 4, 2)))
    rows += [{**rows[-1], "attentionDpRank": 1}]
    assert iteration_counters(json.dumps(rows)) == Counters(1, 4, 2)


def test_llama_cpp_s_page_counts_drafts():
    page = (
        "# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 37\n"
        "llamacpp:spec_decode_num_draft_tokens_total 206\n"
        "llamacpp:spec_decode_num_accepted_tokens_total 72\n"
        "llamacpp:spec_decode_num_drafts_total 53\n"
        'llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 28\n'
    )
    counters = prometheus_counters(page)
    assert (counters.rounds, counters.drafted, counters.accepted) == (53, 206, 72)
