"""The studies that ship are plans that can be read, with what their names promise."""

from importlib.resources import files

import pytest

from draftproof.records import Role
from draftproof.runs import Plan, read_plan

OURS = ("demo", "mutants", "noise", "sequential", "sampled")


def study(name) -> Plan:
    return read_plan(files("draftproof") / "studies" / f"{name}.yaml")


@pytest.mark.parametrize("name", OURS)
def test_every_study_is_a_plan_with_a_control(name):
    plan = study(name)
    assert plan.name == name
    assert any(a.role is Role.CONTROL for a in plan.arms)


def test_studies_ask_for_what_they_are_called():
    assert {"target-shuffled", "draft-again", "draft-shuffled"} <= {
        a.name for a in study("noise").arms
    }
    assert study("sequential").stop is not None
    assert study("sampled").samples == 10
    mutants = [a for a in study("mutants").arms if a.mutant]
    assert all(a.name == a.mutant for a in mutants)
    assert len(mutants) == 7


def test_run_directories_of_the_last_version_are_gone_on_with():
    """The digest is what 0.1.0 wrote for its demo; a field that is added must not move it."""
    assert study("demo").digest.startswith("14ee8f4041bebccf")
