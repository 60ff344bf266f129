"""The demo asks what it says it asks."""

from collections import Counter

from draftproof.cli.demo import demo_plan, real_plan
from draftproof.records import Role


def test_the_whole_battery_is_more_than_the_quick_half():
    quick, full = (demo_plan(full=full).load_battery() for full in (False, True))
    assert {p.id for p in quick.prompts} < {p.id for p in full.prompts}
    assert len(full.prompts) > 3 * len(quick.prompts)
    counts = Counter(p.task for p in quick.prompts)
    assert min(counts.values()) >= 99, "fewer cannot show three points"


def test_a_control_is_in_it():
    assert {arm.role for arm in demo_plan(full=False).arms} >= {Role.NOISE, Role.CONTROL}


def test_the_real_model_is_asked_enough_of_every_deciding_task():
    plan = real_plan()
    counts = Counter(p.task for p in plan.load_battery().prompts)
    assert min(counts.values()) >= 100
    assert {arm.role for arm in plan.arms} == {
        Role.BASELINE, Role.NOISE, Role.CANDIDATE, Role.CONTROL,
    }  # fmt: skip
    assert {arm.target for arm in plan.arms} == {"lab:smollm2"}
