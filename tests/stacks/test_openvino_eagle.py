"""EAGLE-3 heads in OpenVINO GenAI: the head that ships, exported by the test itself."""

import importlib.util
import json

import pytest
from click.testing import CliRunner

from draftproof.battery import load_battery
from draftproof.cli import main
from draftproof.decoding.drafters.eagle_run import EagleRun
from draftproof.records import DraftproofError
from draftproof.stacks import ArmSpec, make_engine
from draftproof.stacks.openvino.drafting import drafting

if importlib.util.find_spec("openvino_genai") is None:
    pytest.skip("needs the extra 'openvino'", allow_module_level=True)
from draftproof.stacks.openvino.eagle import export_heads
from draftproof.stacks.openvino.export import export

EXACT = {"INFERENCE_NUM_THREADS": 1, "KV_CACHE_PRECISION": "f32"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder with the directories target and eagle3."""
    folder = tmp_path_factory.mktemp("eagle")
    export("lab:target", folder / "target")
    assert export_heads("lab:eagle3", "lab:target", folder / "eagle3") < 1e-3
    return folder


@pytest.fixture(scope="module")
def prompts():
    return load_battery("lab-core").half("quick").limit(3).prompts


def spec(exported, **options):
    given = {
        "name": "arm", "role": "candidate", "engine": "openvino", "dtype": "float32",
        "target": str(exported / "target"), "properties": EXACT, "max_new_tokens": 48,
    }  # fmt: skip
    return ArmSpec.model_validate({**given, **options})


def with_heads(exported, gamma=4, **options):
    heads = {"heads": str(exported / "eagle3"), **options}
    return spec(exported, drafter="eagle3", drafter_options=heads, gamma=gamma)


def answers(arm, prompts):
    engine = make_engine(arm)
    engine.open(prompts)
    return {c.id: c for c in engine.answer(prompts)}, engine


@pytest.fixture(scope="module")
def plain(exported, prompts):
    return answers(spec(exported, role="baseline"), prompts)[0]


@pytest.mark.parametrize(
    ("gamma", "options"),
    [(4, {"dynamic": False}), (8, {"depth": 4, "breadth": 2}), (16, {})],
    ids=["chain", "tree", "wide-tree"],
)
def test_a_head_changes_no_answer_and_is_proven_by_counts(exported, prompts, plain, gamma, options):
    given, engine = answers(with_heads(exported, gamma, **options), prompts)
    assert {k: c.text for k, c in given.items()} == {k: c.text for k, c in plain.items()}
    counts = engine.proof().to_json()
    assert counts["state"] == "counted"
    assert 0 < counts["accepted"] <= counts["drafted"] <= gamma * counts["rounds"]
    assert engine.fingerprint().draft.details["exported_from"] == "lab:eagle3"


def test_the_chain_proposes_what_ours_proposes(exported, prompts, monkeypatch):
    theirs, _ = answers(with_heads(exported, dynamic=False), prompts)
    forward = EagleRun._forward

    def without_the_first_token(self, tokens, features, positions, seen):
        # the library has no slot for it, since no state of the target comes before it
        seen = seen.expand(len(tokens), -1, -1).clone()
        seen[..., 0] &= positions == 0
        return forward(self, tokens, features, positions, seen)

    monkeypatch.setattr(EagleRun, "_forward", without_the_first_token)
    ours = ArmSpec(
        name="ours", role="candidate", target="lab:target", dtype="float32", max_new_tokens=48,
        drafter="eagle3", drafter_options={"heads": "lab:eagle3", "dynamic": False}, gamma=4,
    )  # fmt: skip
    wanted, _ = answers(ours, prompts)
    equal = 0
    for name, one in theirs.items():
        pairs = zip(wanted[name].speculation.histogram, one.speculation.histogram, strict=True)
        more = [own - found for own, found in pairs]
        # it counts neither its first round nor its last
        equal += min(more) >= 0 and sum(more) == 2
    assert equal >= 2 / 3 * len(prompts), equal


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": None}, "names the exported head, got None"),
        ({"heads": "target"}, "holds a model, no EAGLE-3 head"),
        ({"depth": 5}, "gamma allows 4; raise gamma"),
        ({"breadth": 0}, "breadth is a whole number from 1 up"),
        ({"dynamic": 1}, "dynamic is true or false"),
        ({"dynamic": False, "depth": 2}, "no option 'depth', only 'heads' for a chain"),
        ({"taps": 3}, "no option 'taps'"),
    ],
)
def test_what_cannot_be_drafted_with_is_said(exported, options, said):
    if options.get("heads"):
        options = {**options, "heads": str(exported / options["heads"])}
    with pytest.raises(DraftproofError, match=said):
        drafting(with_heads(exported, **options))


def test_trees_are_greedy_and_a_head_is_no_draft_model(exported):
    sampled = with_heads(exported).model_copy(update={"temperature": 1.0})
    with pytest.raises(DraftproofError, match="draws no tokens from trees"):
        drafting(sampled)
    with pytest.raises(DraftproofError, match="holds an EAGLE-3 head, no model; say"):
        drafting(spec(exported, draft=str(exported / "eagle3")))


@pytest.mark.parametrize(
    ("heads", "target", "said"),
    [
        ("lab:medusa", "lab:target", "medusa heads; OpenVINO GenAI drafts with EAGLE-3"),
        ("lab:eagle", "lab:target", "eagle heads; OpenVINO GenAI drafts with EAGLE-3"),
        ("lab:eagle3", "lab:draft", "trained for a target with hidden 256"),
    ],
)
def test_what_cannot_be_exported_is_said(tmp_path, heads, target, said):
    with pytest.raises(DraftproofError, match=said):
        export_heads(heads, target, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_heads_that_read_other_layers_are_refused(tmp_path):
    from draftproof.decoding.drafters import head_files  # noqa: PLC0415 - needs torch

    place = tmp_path / "heads"
    head_files.save(head_files.load("lab:eagle3"), place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "taps": [0, 1, 2]}))
    with pytest.raises(DraftproofError, match=r"reads the states \[0, 1, 2\]"):
        export_heads(str(place), "lab:target", tmp_path / "out")


def test_the_verb_exports_heads(tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(
        main, ["export", "openvino", "lab:eagle3", str(out), "--heads-of", "lab:target"]
    )
    assert done.exit_code == 0, done.output
    assert "nats of lab:eagle3" in done.output
    record = json.loads((out / "draftproof_export.json").read_text())
    assert (record["source"], record["heads_of"]) == ("lab:eagle3", "lab:target")
