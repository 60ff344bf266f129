"""Planted faults, replayed: by helpers as by this process."""

from draftproof.battery import load_battery
from draftproof.rescoring.replay import LocalReplayer
from draftproof.stacks import ArmSpec


class Inline:
    """Helpers that are this process and note what they were asked."""

    jobs = 3

    def __init__(self):
        self.asked = []

    def spread(self, name, function, arguments):
        self.asked += [(name, own[3]) for own in arguments]
        return [function(*own, lambda news: None) for own in arguments]


def test_helpers_replay_what_one_process_replays():
    prompts = load_battery("lab-core").half("quick").limit(1).prompts
    spec = ArmSpec.model_validate({
        "name": "d", "role": "candidate", "target": "lab:target", "draft": "lab:draft", "batch": 4,
    })  # fmt: skip
    helpers, heard = Inline(), []
    alone = LocalReplayer(spec)
    told = LocalReplayer(spec, helpers, lambda *news: heard.append(news))
    answers = {fault: alone(fault, prompts, 12) for fault in alone.faults}
    assert {fault: told(fault, prompts, 12) for fault in told.faults} == answers
    assert helpers.asked == [("replaying 'd'", f) for f in alone.faults for _ in range(2)]
    assert heard[:2] == [("faults of d", 0, len(alone.faults)), ("faults of d", 1, len(heard))]
    assert len({tuple(map(tuple, texts)) for texts in answers.values()}) > 1, "faults tell apart"
    assert "processor_off_by_one" not in alone.faults, "an arm without processors"


def test_another_stack_s_settings_are_not_told_to_our_drafter():
    prompts = load_battery("lab-core").half("quick").limit(1).prompts[:2]
    shared = {"name": "d", "role": "candidate", "target": "lab:target", "draft": "lab:draft"}
    plain = ArmSpec.model_validate(shared)
    foreign = ArmSpec.model_validate({
        **shared, "engine": "vllm", "drafter_options": {"draft_tensor_parallel_size": 1},
        "properties": {"enforce_eager": True},
    })  # fmt: skip
    for fault in LocalReplayer(plain).faults:
        assert LocalReplayer(foreign)(fault, prompts, 8) == LocalReplayer(plain)(fault, prompts, 8)
