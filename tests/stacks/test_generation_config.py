"""A checkpoint's own generation_config means the same to the local and transformers engines."""

import json
import shutil

import pytest

from draftproof.battery import load_battery
from draftproof.lab.models import model_path
from draftproof.records import Role
from draftproof.stacks import make_engine
from draftproof.stacks.spec import ArmSpec


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("models") / "penal"
    shutil.copytree(model_path("target"), place)
    file = place / "generation_config.json"
    config = json.loads(file.read_text())
    config |= {"repetition_penalty": 1.4, "suppress_tokens": [40, 41], "min_new_tokens": 5,
               "do_sample": True, "temperature": 0.7, "top_k": 3}  # fmt: skip
    file.write_text(json.dumps(config))
    return str(place)


def asked(place, engine, **options):
    spec = ArmSpec(
        name="arm", role=Role.BASELINE, engine=engine, target=place, max_new_tokens=20, **options
    )
    arm = make_engine(spec)
    prompts = load_battery("lab-core").half("quick").limit(2).prompts
    arm.open(prompts)
    found = {a.id: a.token_ids for a in arm.answer(prompts)}
    return found, arm.fingerprint().to_json()["target"]


def test_it_is_honoured_alike_and_listed(place):
    ours, seen = asked(place, "local")
    theirs, also = asked(place, "transformers")
    assert ours == theirs
    listed = json.loads(seen["generation_config"])
    assert listed == {"repetition_penalty": 1.4, "suppress_tokens": [40, 41], "min_new_tokens": 5}
    assert also["generation_config"] == seen["generation_config"]


def test_it_can_be_left_out_of_both(place):
    ours, _ = asked(place, "local", ignore_generation_config=True)
    theirs, _ = asked(place, "transformers", ignore_generation_config=True)
    assert ours == theirs
    assert ours != asked(place, "local")[0]
    assert ours == asked("lab:target", "local")[0]
