"""OpenVINO GenAI on the lab pair, exported by the test itself."""

import importlib.util
import json
import shutil
import subprocess
import sys

import pytest
import transformers
from click.testing import CliRunner

from draftproof.battery import load_battery
from draftproof.cli import main
from draftproof.lab.models import resolve
from draftproof.records import DraftproofError, Message, Prompt
from draftproof.rescoring import make_rescorer
from draftproof.rescoring.rescorer import ScoreRequest
from draftproof.stacks import ArmSpec, make_engine
from draftproof.stacks.openvino.model import quietly

if importlib.util.find_spec("openvino_genai") is None:
    pytest.skip("needs the extra 'openvino'", allow_module_level=True)
openvino, openvino_tokenizers = (quietly(n) for n in ("openvino", "openvino_tokenizers"))
FEW = {"properties": {"INFERENCE_NUM_THREADS": 1}}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Folder with the directories target and draft."""
    from draftproof.stacks.openvino.export import export  # noqa: PLC0415 - optional

    folder = tmp_path_factory.mktemp("openvino")
    for name in ("target", "draft"):
        assert export(f"lab:{name}", folder / name) < 1e-3
    return folder


@pytest.fixture(scope="module")
def prompts():
    return load_battery("lab-core").half("quick").limit(3).prompts


def spec(exported, name="arm", role="candidate", **options):
    target = str(exported / "target") if exported else "nowhere"
    given = {"name": name, "role": role, "engine": "openvino", "target": target}
    return ArmSpec.model_validate({**given, **FEW, "max_new_tokens": 48, **options})


def answers(arm, prompts):
    engine = make_engine(arm)
    engine.open(prompts)
    return {c.id: c for c in engine.answer(prompts)}, engine


@pytest.fixture(scope="module")
def plain(exported, prompts):
    return answers(spec(exported, role="baseline"), prompts)[0]


def test_it_writes_what_the_local_decoder_writes(prompts, plain):
    local = ArmSpec(name="local", role="baseline", target="lab:target", max_new_tokens=48)
    ours, _ = answers(local, prompts)
    for field in ("text", "token_ids", "prompt_hash", "finish_reason"):
        wanted = {k: getattr(c, field) for k, c in ours.items()}
        assert {k: getattr(c, field) for k, c in plain.items()} == wanted
    assert all(c.speculation is None for c in plain.values())


def test_a_draft_is_proven_by_the_librarys_counts(exported, prompts, plain):
    given, engine = answers(spec(exported, draft=str(exported / "draft")), prompts)
    assert {k: c.text for k, c in given.items()} == {k: c.text for k, c in plain.items()}
    counted = [c.speculation for c in given.values()]
    for s in counted:
        assert 0 <= s.accepted <= s.drafted <= 4 * s.rounds
        if s.histogram:
            assert s.rounds == sum(s.histogram)
            assert s.accepted == sum(k * n for k, n in enumerate(s.histogram))
    assert sum(bool(s.histogram) for s in counted) > len(counted) / 2
    totals = engine.proof().to_json()
    assert totals["accepted"] == sum(s.accepted for s in counted) > 0


def test_prompt_lookup_is_proven_by_what_its_steps_emit(exported, prompts, plain):
    given, engine = answers(spec(exported, drafter="prompt_lookup"), prompts)
    assert {k: c.text for k, c in given.items()} == {k: c.text for k, c in plain.items()}
    assert engine.proof().to_json()["accepted"] > 0
    for c in given.values():
        assert len(c.token_ids) == c.speculation.rounds + c.speculation.accepted + 1


def test_answers_that_are_batched_share_their_counts(exported, prompts, plain):
    arm = spec(exported, draft=str(exported / "draft"), concurrency=4)
    given, engine = answers(arm, prompts)
    assert {k: c.text for k, c in given.items()} == {k: c.text for k, c in plain.items()}
    assert all(c.speculation is None for c in given.values())
    totals = engine.proof().to_json()
    assert totals["state"] == "counted"
    assert 0 < totals["accepted"] <= totals["drafted"] <= 4 * totals["rounds"]


def test_divergences_are_explained_with_the_originals(exported, prompts, plain):
    arm = spec(exported, draft=str(exported / "draft"))
    asked = ScoreRequest(prompts[0], (), plain[prompts[0].id].token_ids[:1])
    assert make_rescorer(arm).scores([asked])[0].margin(asked.tokens[0]) < 0.1
    lost = shutil.copytree(exported / "target", exported / "lost")
    (lost / "draftproof_export.json").unlink()
    assert make_rescorer(spec(exported, target=str(lost))) is None


def test_what_does_not_fit_is_a_named_state(exported, prompts):
    huge = Prompt(id="huge", task="t", messages=(Message("user", "red moss " * 5000),))
    given, _ = answers(spec(exported), [prompts[0], huge])
    assert given["huge"].finish_reason == "error"
    assert "512" in given["huge"].error
    assert given[prompts[0].id].finish_reason in {"stop", "length"}


def test_what_cannot_be_used_says_what_to_do(exported, prompts, tmp_path):
    with pytest.raises(DraftproofError, match="draftproof export openvino"):
        make_engine(spec(None)).open(prompts)
    with pytest.raises(DraftproofError, match="no option 'n', only 'max_ngram'"):
        make_engine(
            spec(exported, drafter="prompt_lookup", drafter_options={"n": 1})
        ).open(prompts)  # fmt: skip
    torn = shutil.copytree(exported / "target", tmp_path / "torn")
    (torn / "openvino_model.xml").write_text("<net>")
    with pytest.raises(DraftproofError, match="'arm'"):
        make_engine(spec(exported, target=str(torn))).open(prompts)
    other = shutil.copytree(exported / "draft", tmp_path / "other")
    for part in ("tokenizer", "detokenizer"):
        shutil.copy(_other_tokenizer(tmp_path) / f"openvino_{part}.xml", other)
        shutil.copy(_other_tokenizer(tmp_path) / f"openvino_{part}.bin", other)
    with pytest.raises(DraftproofError, match="different vocabularies"):
        make_engine(spec(exported, draft=str(other))).open(prompts)


def _other_tokenizer(folder):
    place = folder / "tokenizer"
    if place.exists():
        return place
    source = shutil.copytree(resolve("lab:draft"), folder / "source")
    document = json.loads((source / "tokenizer.json").read_text())
    vocabulary = document["model"]["vocab"]
    first, second = [t for t, i in vocabulary.items() if i in {500, 501}]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (source / "tokenizer.json").write_text(json.dumps(document))
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    for part, model in zip(
        ("tokenizer", "detokenizer"),
        openvino_tokenizers.convert_tokenizer(tokenizer, with_detokenizer=True),
        strict=True,
    ):
        openvino.save_model(model, place / f"openvino_{part}.xml")
    return place


def test_the_verb_exports_into_a_new_directory_only(tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(main, ["export", "openvino", "lab:draft", str(out)])
    assert done.exit_code == 0, done.output
    assert "nats of lab:draft" in done.output
    assert json.loads((out / "draftproof_export.json").read_text())["source"] == "lab:draft"
    again = CliRunner().invoke(main, ["export", "openvino", "lab:draft", str(out)])
    assert again.exit_code == 2
    missing = CliRunner().invoke(
        main, ["export", "openvino", "nobody/nothing", str(tmp_path / "x")]
    )
    assert missing.exit_code == 2
    assert not (tmp_path / "x").exists()


def test_answering_needs_no_torch():
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'torch', 'transformers'}:\n"
        "            raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import draftproof.stacks.openvino.engine\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_neither_importing_nor_exporting_reports_to_anybody(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from draftproof.stacks.openvino.export import export\n"
        f"export('lab:draft', Path({str(tmp_path / 'out')!r}))\n"
        "import draftproof.stacks.openvino.model as m; m.quietly('openvino_genai')\n"
        "from openvino.tools.ovc import telemetry\n"
        "assert type(telemetry).__module__ == 'openvino.tools.ovc.telemetry_stub', telemetry\n"
        "assert not [n for n in sys.modules if n.startswith('openvino_telemetry')]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
