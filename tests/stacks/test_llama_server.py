"""llama.cpp's server from a package, with the models that can be fetched."""

import json

import pytest
from click.testing import CliRunner

from draftproof.cli import main
from draftproof.records import DraftproofError

llama_server = pytest.importorskip("draftproof.stacks.llama_server")


def test_models_are_named_by_file_or_by_lab_name(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "model.gguf"
    file.touch()
    assert llama_server.gguf_file(str(file)) == file
    with pytest.raises(DraftproofError, match="no such GGUF file"):
        llama_server.gguf_file(str(tmp_path / "other.gguf"))
    with pytest.raises(DraftproofError, match="lab:smollm2"):
        llama_server.gguf_file("lab:target")
    with pytest.raises(DraftproofError, match="draftproof lab fetch smollm2"):
        llama_server.gguf_file("lab:smollm2:packed")
    folder = tmp_path / "draftproof" / "models" / "smollm2"
    folder.mkdir(parents=True)
    assert llama_server.gguf_file("lab:smollm2:packed").parent == folder


def test_options_become_the_parameters_of_the_server(tmp_path):
    library = pytest.importorskip("xllamacpp")
    file = tmp_path / "model.gguf"
    file.touch()
    asked = llama_server._parser().parse_args([
        "-m", str(file), "-md", str(file), "--port", "9", "-ctk", "f32", "-ctkd", "q8_0",
        "--spec-type", "draft-simple", "--spec-draft-n-max", "3", "--spec-synth-rates", "0.9,0.5",
    ])  # fmt: skip
    made = llama_server._parameters(library, asked)
    assert made.cache_type_k == library.ggml_type.GGML_TYPE_F32
    assert made.cache_type_v == library.ggml_type.GGML_TYPE_F16
    assert made.speculative.draft.cache_type_k == library.ggml_type.GGML_TYPE_Q8_0
    assert made.speculative.draft.n_max == 3
    assert [round(r, 3) for r in made.speculative.synth_rates] == [0.9, 0.5]
    with pytest.raises(DraftproofError, match="'f31' is none of"):
        llama_server._named(library.ggml_type, "GGML_TYPE_f31")


@pytest.mark.slow
def test_the_float32_file_holds_the_numbers_of_the_converted_model(smollm2):
    gguf, safetensors = pytest.importorskip("gguf"), pytest.importorskip("safetensors")
    file = gguf.GGUFReader(llama_server.gguf_file("lab:smollm2"))
    tensors = {tensor.name: tensor for tensor in file.tensors}
    pairs = {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.0.attn_v.weight": "model.layers.0.self_attn.v_proj.weight",
        "blk.29.ffn_down.weight": "model.layers.29.mlp.down_proj.weight",
        "output_norm.weight": "model.norm.weight",
    }
    with safetensors.safe_open(smollm2 / "model.safetensors", "np") as converted:
        for packed, ours in pairs.items():
            numbers = converted.get_tensor(ours).astype("float32")
            assert (tensors[packed].data == numbers).all(), packed
    assert all(t.tensor_type == gguf.GGMLQuantizationType.F32 for t in file.tensors)


@pytest.mark.slow
def test_a_plan_starts_the_server_and_finds_its_token_ids(smollm2, tmp_path):
    pytest.importorskip("xllamacpp")
    (tmp_path / "prompts.jsonl").write_text(
        '{"id": "a", "prompt": "What is the capital of France?", "task": "t"}\n'
    )
    serve = "{python} -m draftproof.stacks.llama_server -m lab:smollm2 --port {port}"
    arms = [
        {"name": "plain", "role": "baseline", "serve": serve},
        {"name": "ngram", "role": "candidate", "serve": f"{serve} --spec-type ngram-simple"},
    ]
    plan = {
        "battery": str(tmp_path / "prompts.jsonl"), "engine": "openai", "max_new_tokens": 12,
        "target": "lab:smollm2", "arms": arms,
    }  # fmt: skip
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    run = tmp_path / "run"
    done = CliRunner().invoke(main, ["screen", str(tmp_path / "plan.yaml"), "--out", str(run)])
    assert done.exit_code in {0, 4, 5}, done.output
    for arm in ("plain", "ngram"):
        answer = json.loads((run / "answers" / f"{arm}.jsonl").read_text())
        assert answer["text"] == "The capital of France is Paris."
        assert answer["token_ids"] == [504, 3575, 282, 4649, 314, 7042, 30, 2]
