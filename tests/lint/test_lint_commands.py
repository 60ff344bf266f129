"""What command lines of servers declare: found with the place, graded, and nothing is run."""

import pytest

from draftproof.lint.lint import lint_command, lint_path


def found(judged):
    return {f.rule for one in judged for f in one.findings}


VLLM = 'vllm serve m --speculative-config \'{"method": "draft_model", "model": "d"%s}\''


@pytest.mark.parametrize(
    ("command", "promise", "rules"),
    [
        ("vllm serve m", None, set()),
        ("vllm serve m --dtype bfloat16", None, set()),
        (VLLM % "", "L2", set()),
        (VLLM % ', "rejection_sample_method": "standard"', "L2", set()),
        (VLLM % ', "rejection_sample_method": "block"', "L2", {"DP107"}),
        (VLLM % ', "rejection_sample_method": "fly"', "L0", {"DP102"}),
        (VLLM % ', "rejection_sample_method": "synthetic"', "L0", {"DP101"}),
        (VLLM % ', "rejection_sample_method": "strict"', "L2", {"DP105"}),
        (VLLM % ', "rejection_sample_method": "new"', "unknown", {"DP106"}),
        (VLLM % ', "num_speculative_tokens_per_batch_size": {"1": 4}', "L2", {"DP110"}),
        (VLLM % ', "something": 1', "unknown", {"DP118"}),
        (VLLM % "" + " --dtype half", "L2", {"DP604"}),
        ("VLLM_BATCH_INVARIANT=1 " + VLLM % "", "L2", {"DP116"}),
        ("vllm serve m --speculative-config.method suffix", "L2", {"DP111"}),
        (
            (
                "python -m vllm.entrypoints.openai.api_server --model m "
                "--spec-decoding-acceptance-method typical_acceptance_sampler"
            ),
            "L0",
            {"DP103", "DP709"},
        ),
        (
            (
                "docker run -e SGLANG_SIMULATE_ACC_LEN=3 lmsysorg/sglang python3 -m "
                "sglang.launch_server --speculative-algorithm EAGLE"
            ),
            "L0",
            {"DP203"},
        ),
        (
            "sglang serve --speculative-algorithm=EAGLE --speculative-accept-threshold-single=.001",
            "L0",
            {"DP201"},
        ),
        (
            (
                "sglang serve --speculative-algorithm EAGLE "
                "--speculative-accept-threshold-single 1.0 --speculative-accept-threshold-acc 1.0"
            ),
            "L2",
            set(),
        ),
        (
            "sglang serve --speculative-algorithm EAGLE --speculative-accept-threshold-acc .9",
            "L0",
            {"DP202"},
        ),
        (
            "sglang serve --speculative-algorithm NGRAM --enable-deterministic-inference",
            "L2",
            {"DP205", "DP207"},
        ),
        (
            (
                "sglang serve --speculative-algorithm EAGLE3 --speculative-eagle-topk 4 "
                "--speculative-adaptive"
            ),
            "L2",
            {"DP206", "DP204"},
        ),
        ("llama-server -m t.gguf -md d.gguf --spec-type draft-simple", "L2", set()),
        (
            "./build/bin/llama-server -m t-Q4_K_M.gguf -md d.gguf --spec-draft-p-min 0.75 -np 4",
            "L2",
            {"DP402", "DP403", "DP405"},
        ),
        ("llama-server -m t.gguf --spec-type ngram-mod", "L2", {"DP401"}),
        ("llama-server -m t.gguf -md d.gguf --draft-max 16", "L2", {"DP404"}),
        ("llama-server -m t-Q4_K_M.gguf -np 4 --spec-type none", None, set()),
        ("trtllm-serve m --backend pytorch", None, set()),
        ("draftproof serve --target t --draft d --rule typical", "L0", {"DP701"}),
        ("draftproof serve --target t --draft d", "L2", set()),
        ("draftproof serve --target t --draft d --rule wild", "unknown", {"DP702"}),
    ],
)
def test_commands(command, promise, rules):
    judged = lint_command(command)
    assert [one.promise for one in judged] == [promise]
    assert found(judged) == rules


def test_lines_are_those_of_the_setting(tmp_path):
    path = tmp_path / "start.sh"
    path.write_text(
        "#!/bin/sh\n"
        "# vllm serve is started with fly\n"
        "export SGLANG_SIMULATE_ACC_LEN=2.5\n"
        "python -m sglang.launch_server \\\n"
        "  --model-path m \\\n"
        "  --speculative-algorithm EAGLE \\\n"
        "  --speculative-accept-threshold-single 0.5 &\n"
        'vllm serve "a model" --speculative-config "{\\"method\\": \\"suffix\\"}"; echo done\n'
    )
    places = {f.rule: f.line for one in lint_path(path) for f in one.findings}
    assert places == {"DP203": 3, "DP201": 7, "DP111": 8}


def test_a_checkpoint_that_speculates_by_itself_is_seen(tmp_path):
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "config.json").write_text(
        '{"speculators_config": {"proposal_methods": [{"accept_tolerance": 0.5}]}}'
    )
    (tmp_path / "start.sh").write_text("vllm serve ./head\nvllm serve a/t-speculator.eagle3\n")
    local, hub = lint_path(tmp_path / "start.sh")
    assert local.promise == "L0"
    assert found([local]) == {"DP602"}
    assert (hub.promise, found([hub])) == ("unknown", {"DP706"})


def test_files_that_a_command_names_are_read(tmp_path):
    (tmp_path / "extra.yaml").write_text(
        "speculative_config:\n  decoding_type: MTP\n  use_relaxed_acceptance_for_thinking: true\n"
        "  relaxed_topk: 10\n  relaxed_delta: 0.6\n"
    )
    path = tmp_path / "start.sh"
    path.write_text("trtllm-serve m --extra_llm_api_options extra.yaml\n")
    (one,) = lint_path(path)
    assert one.promise == "L0"
    assert {(f.rule, f.line) for f in one.findings} == {("DP301", 3), ("DP302", 4), ("DP303", 5)}
    assert one.findings[0].file.endswith("extra.yaml")
