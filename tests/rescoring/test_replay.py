"""Planted faults, replayed: by helpers as by this process."""

from draftproof.battery import load_battery
from draftproof.rescoring.replay import local_replayer
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
    prompts = load_battery("lab-core").half("quick").limit(1).prompts[:3]
    spec = ArmSpec.model_validate({
        "name": "d", "role": "candidate", "target": "lab:target", "draft": "lab:draft", "batch": 4,
    })  # fmt: skip
    helpers = Inline()
    alone = local_replayer(spec)(prompts, 12)
    assert local_replayer(spec, helpers)(prompts, 12) == alone
    assert [fault for _, fault in helpers.asked] == list(alone)
    assert {name for name, _ in helpers.asked} == {"replaying 'd'"}
    assert {len(texts) for texts in alone.values()} == {3}
    assert len({tuple(map(tuple, texts)) for texts in alone.values()}) > 1, "faults tell apart"


def test_another_stack_s_settings_are_not_told_to_our_drafter():
    prompts = load_battery("lab-core").half("quick").limit(1).prompts[:2]
    shared = {"name": "d", "role": "candidate", "target": "lab:target", "draft": "lab:draft"}
    plain = ArmSpec.model_validate(shared)
    foreign = ArmSpec.model_validate({
        **shared, "engine": "vllm", "drafter_options": {"draft_tensor_parallel_size": 1},
        "properties": {"enforce_eager": True},
    })  # fmt: skip
    assert local_replayer(foreign)(prompts, 8) == local_replayer(plain)(prompts, 8)
