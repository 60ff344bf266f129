"""Proof and fingerprint: what a manifest holds of them, also one that version 0.1.0 wrote."""

import pytest

from draftproof.records import (
    Counters,
    DraftproofError,
    Fingerprint,
    ModelFingerprint,
    Proof,
    ProofState,
    ServerFingerprint,
)

# as 0.1.0 wrote them
WRITTEN = [
    {"source": "responses", "state": "counted", "problem": None, "answers": 4,
     "rounds": 9, "drafted": 36, "accepted": 20},
    {"source": "prometheus", "state": "counted", "problem": None,
     "rounds": 9, "drafted": 36, "accepted": 20},
    {"source": "none", "state": "absent", "problem": None},
    {"source": "none", "state": "unproven", "problem": "went backwards"},
    {"source": "prometheus", "state": "unproven", "problem": "went backwards",
     "rounds": 9, "drafted": 36, "accepted": 20},
]  # fmt: skip


@pytest.mark.parametrize("document", WRITTEN)
def test_a_manifest_of_the_last_version_is_read_and_written_alike(document):
    assert Proof.from_json(document).to_json() == document


@pytest.mark.parametrize(
    "change", [{"state": "maybe"}, {"rounds": -1}, {"drafted": "9"}, {"accepted": None},
               {"rounds": True}, {"answers": 1.5}],
)  # fmt: skip
def test_counters_that_are_none_are_an_error_and_no_number(change):
    with pytest.raises(DraftproofError, match="counters of an arm"):
        Proof.from_json(WRITTEN[0] | change)
    missing = {k: v for k, v in WRITTEN[0].items() if k not in change}
    if "answers" not in change:
        with pytest.raises(DraftproofError, match="counters of an arm"):
            Proof.from_json(missing)


def test_what_was_counted_has_counters():
    with pytest.raises(ValueError, match="needs its counters"):
        Proof(state=ProofState.COUNTED, source="responses")
    assert Counters(3, 12, 5) - Counters(1, 4, 2) == Counters(2, 8, 3)


def test_a_fingerprint_lies_flat_in_a_manifest():
    model = ModelFingerprint(name="M", weights_sha256="0", eos=(2,), details={"exported_from": "N"})
    local = Fingerprint(
        engine="openvino",
        promise="L2",
        target=model,
        versions={"openvino": "1"},
        details={"concurrency": 4},
    ).to_json()
    assert local.keys() == {"engine", "promise", "target", "draft", "openvino", "concurrency"}
    assert local["target"]["eos"] == [2]
    assert local["target"]["exported_from"] == "N"
    assert local["target"]["revision"] is None
    assert "details" not in local["target"]
    server = ServerFingerprint(
        stack="vllm", version="1", models=("m",), url="http://h", command=None, api="chat",
        stream=False, concurrency=1, attempts=3,
    )  # fmt: skip
    served = Fingerprint(engine="openai", server=server).to_json()
    assert served["models"] == ["m"]
    assert "target" not in served
