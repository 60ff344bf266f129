"""A GGUF file answers as the same weights in safetensors do, or is refused in one line."""

import json
import shutil

import gguf
import pytest
import torch
from click.testing import CliRunner
from tests.decoding.gguf_files import write_gguf

from draftproof.cli import main
from draftproof.decoding import SpeculativeDecoder
from draftproof.decoding.loading import checkpoint
from draftproof.decoding.pretrained import load_pretrained
from draftproof.lab.models import model_path
from draftproof.records import DraftproofError
from draftproof.runs import RunDirectory
from draftproof.runs.plan import Plan
from draftproof.screen.run import run_plan
from draftproof.stacks.models import directory_fingerprint, load

DRAFT, TARGET = model_path("draft"), model_path("target")
ASKED = ["How do I bake bread?", "<|user|>What is 12 + 7?<|end|><|assistant|>"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    return {p.name: write_gguf(p, folder / f"{p.name}.gguf") for p in (DRAFT, TARGET)}


def test_weights_tokens_and_template_are_those_of_the_directory(files):
    found, wanted = load_pretrained(files["draft"]), load_pretrained(str(DRAFT))
    weights, others = (m.model.module.state_dict() for m in (found, wanted))
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[k], others[k]) for k in weights)
    assert found.tokenizer.chat_template == wanted.tokenizer.chat_template
    assert found.tokenizer.get_vocab() == wanted.tokenizer.get_vocab()
    assert found.eos == wanted.eos
    assert found.model.dtype == torch.float32


def test_a_pair_of_files_answers_as_the_directories(files):
    """A draft in a file also goes with a target in a directory."""
    pairs = [(files["target"], files["draft"]), (str(TARGET), files["draft"])]
    wanted = SpeculativeDecoder.from_pretrained(str(TARGET), str(DRAFT))
    expected = [wanted.generate(a, max_new_tokens=24) for a in ASKED]
    for target, draft in pairs:
        decoder = SpeculativeDecoder.from_pretrained(target, draft)
        for asked, answer in zip(ASKED, expected, strict=True):
            given = decoder.generate(asked, max_new_tokens=24)
            assert given.tokens == answer.tokens
            assert given.accepted == answer.accepted


def test_quantised_blocks_are_unpacked(tmp_path):
    packed = write_gguf(DRAFT, tmp_path / "q8.gguf", kind=gguf.GGMLQuantizationType.Q8_0)
    found, exact = load_pretrained(packed), load_pretrained(str(DRAFT))
    weights, others = (m.model.module.state_dict() for m in (found, exact))
    off = max(float((weights[k] - others[k]).abs().max() / others[k].abs().max()) for k in weights)
    assert 0 < off < 0.01


def test_what_lies_beside_the_file_is_not_read(tmp_path):
    """The template is the file's own, and so are the digest and the end of an answer."""
    shutil.copytree(TARGET, tmp_path / "m")
    (tmp_path / "m" / "chat_template.jinja").write_text("another")
    ends = {"eos_token_id": 7, "repetition_penalty": 3.0}
    (tmp_path / "m" / "generation_config.json").write_text(json.dumps(ends))
    file = write_gguf(DRAFT, tmp_path / "m" / "a.gguf", template="{{ messages[0].content }}!")
    loaded = load(file, "float32", "cpu")
    assert loaded.tokenizer.chat_template == "{{ messages[0].content }}!"
    assert loaded.eos == {2}
    assert loaded.fingerprint.details == {}
    assert loaded.fingerprint.architecture == "LlamaForCausalLM"
    assert len(loaded.fingerprint.weights_sha256) == 64
    moved = shutil.copy(file, str(tmp_path / "b.gguf"))
    assert directory_fingerprint(moved).weights_sha256 == loaded.fingerprint.weights_sha256
    with open(moved, "ab") as stream:
        stream.write(b"x")
    assert directory_fingerprint(moved).weights_sha256 != loaded.fingerprint.weights_sha256


def test_a_screen_of_files_in_both_engines(files, tmp_path):
    """Baseline, candidates and the forensics of a leaky control read the files."""
    pair = {"target": files["target"], "draft": files["draft"]}
    plan = Plan.model_validate(
        {
            "target": files["target"],
            "limit": 6,
            "half": "quick",
            "max_new_tokens": 32,
            "arms": [
                {"name": "plain", "role": "baseline"},
                {"name": "local", "role": "candidate", **pair},
                {"name": "library", "role": "candidate", "engine": "transformers", **pair},
                {"name": "leaky", "role": "control", "rule": "typical", **pair},
            ],
        }
    )
    with RunDirectory(tmp_path / "run") as run:
        verdict = run_plan(plan, run)
    arms = {a.name: a for a in verdict.arms}
    assert all(arms[n].errors == 0 and arms[n].tokens for n in ("plain", "local", "library"))
    assert (
        json.loads(json.dumps(verdict.environment["arms"]["local"]))["target"]["name"]
        == (files["target"])
    )


def cut(data):
    return data[: len(data) // 2]


def scrambled(data):
    return data[:40] + bytes(reversed(data[40:4000])) + data[4000:]


@pytest.mark.parametrize(
    "harm", [cut, scrambled, lambda d: d[:100], lambda d: b"", lambda d: b"GG"]
)
def test_a_broken_file_is_one_line(files, tmp_path, harm):
    broken = tmp_path / "broken.gguf"
    with open(files["draft"], "rb") as stream:
        broken.write_bytes(harm(stream.read()))
    done = CliRunner().invoke(main, ["check", str(broken)])
    assert done.exit_code == 2, done.output
    assert len(done.stderr.splitlines()) == 1
    assert "broken.gguf" in done.stderr


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DraftproofError, match=r"none\.gguf: there is no such file"):
        load_pretrained(str(tmp_path / "none.gguf"))


def test_without_the_library_the_extra_is_named(files, monkeypatch):
    monkeypatch.setattr(checkpoint.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DraftproofError, match=r"needs gguf.*pip install 'draftproof\[real\]'"):
        load_pretrained(files["draft"])
