"""The checks of the decoder catch every planted defect, and only those."""

import pytest

from draftproof.decoding.loop import Batch
from draftproof.decoding.mutants import MUTANTS
from draftproof.decoding.selftest import CHECKS

# the check that is made for each defect; `draftproof mutants` runs all checks on all of them
MADE_FOR = {
    "lenient_accept": "greedy equality",
    "missing_bonus": "greedy equality",
    "missing_draft": "greedy equality",
    "processor_off_by_one": "processors inside blocks",
    "reused_coin": "exact law",
    "stale_kv": "greedy equality",
    "stop_across_block": "ends inside blocks",
    "wrong_position": "greedy equality",
}


@pytest.mark.parametrize("check", CHECKS)
def test_the_decoder_passes(check):
    assert CHECKS[check](Batch)


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_killed(name):
    assert not CHECKS[MADE_FOR[name]](MUTANTS[name])
