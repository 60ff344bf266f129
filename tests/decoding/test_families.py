"""A quarter of the architectures, by turns: none is answered wrong, none crashes.

``DRAFTPROOF_FAMILIES=2/4`` chooses the quarter; without it the day of the year does.
"""

import os
import time
import warnings

import pytest
import transformers
from tests.families import compared, families, outcomes, shard


def quarter():
    return os.environ.get("DRAFTPROOF_FAMILIES", f"{time.gmtime().tm_yday % 4 + 1}/4")


@pytest.fixture(autouse=True)
def quiet():
    transformers.utils.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(
    ("family", "attention"),
    [("gemma2", "eager"), ("gemma3_text", "sdpa"), ("gpt_oss", "eager"), ("gpt_neo", "eager"),
     ("gptj", "eager"), ("mistral", "sdpa"), ("phi3", "sdpa"), ("llama4_text", "sdpa")],
)  # fmt: skip
def test_windows_chunks_caps_and_sinks_are_served(family, attention):
    found = compared(family, "", {}, attention)
    assert found.outcome in {"identical", "tie"}, found


@pytest.mark.slow
@pytest.mark.parametrize("family", shard(families(), quarter()))
def test_no_architecture_is_answered_wrong(family):
    wrong = [one for one in outcomes([family]) if one.outcome in {"WRONG", "crash"}]
    assert not wrong
