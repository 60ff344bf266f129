"""What files declare: found with the place, graded, and nothing is run."""

import pytest

from draftproof.decoding.rules import RULES
from draftproof.lab.models import model_path
from draftproof.lint.knowledge import rules
from draftproof.lint.lint import lint_command, lint_path, rule_promises
from draftproof.records import DraftproofError


def found(judged):
    return {f.rule for one in judged for f in one.findings}


VLLM = 'vllm serve m --speculative-config \'{"method": "draft_model", "model": "d"%s}\''


@pytest.mark.parametrize(
    ("name", "text", "promise", "rules"),
    [
        (
            "trt.yaml",
            "speculative_config:\n  decoding_type: Eagle\n  max_draft_len: 3\n",
            "L2",
            set(),
        ),
        (
            "trt.yaml",
            "speculative_config:\n  decoding_type: MTP\n  relaxed_topk: 10\n",
            "L2",
            set(),
        ),
        (
            "trt.yaml",
            "speculative_config:\n  decoding_type: Eagle\n  posterior_threshold: 0.09\n",
            "L0",
            {"DP104"},
        ),
        (
            "trt.yaml",
            (
                "speculative_config:\n  decoding_type: NGram\n"
                "  acceptance_rate_threshold: 0.5\n  draft_len_schedule: {4: 3, 8: 1}\n"
            ),
            "L2",
            {"DP304"},
        ),
        (
            "trt.yaml",
            "kv_cache_config: {dtype: fp8}\nspeculative_config: {decoding_type: MTP}\n",
            "L2",
            {"DP309"},
        ),
        (
            "v.yaml",
            (
                "model: m\nspeculative-config:\n  method: eagle3\n"
                "  rejection_sample_method: synthetic\n"
            ),
            "L0",
            {"DP101"},
        ),
        ("v.json", '{"speculative_config":\n\t{"method": "ngram"}}', "L2", set()),
        (
            "s.yaml",
            "speculative-algorithm: EAGLE\nspeculative-accept-threshold-acc: 0.5\n",
            "L0",
            {"DP202"},
        ),
        (
            "generation_config.json",
            '{"assistant_ensemble_weight": 0.3, "do_sample": true}',
            "L0",
            {"DP501", "DP607"},
        ),
        (
            "generation_config.json",
            '{"num_assistant_tokens_schedule": "heuristic", "assistant_confidence_threshold": 0.4}',
            None,
            {"DP502", "DP503"},
        ),
        (
            "config.json",
            (
                '{"speculators_config": {"proposal_methods": [{"verifier_accept_k": 1, '
                '"accept_tolerance": 0.0}]}, "architectures": ["E"]}'
            ),
            "L2",
            set(),
        ),
        (
            "config.json",
            (
                '{"speculators_config": {"proposal_methods": [{"verifier_accept_k": 3, '
                '"accept_tolerance": 1.5}]}, "dtype": "bfloat16"}'
            ),
            "L0",
            {"DP601", "DP602", "DP604"},
        ),
        (
            "config.json",
            '{"model_type": "mamba2", "architectures": ["M"], "auto_map": {"A": "b"}}',
            None,
            {"DP605", "DP603"},
        ),
    ],
)
def test_files(tmp_path, name, text, promise, rules):
    (tmp_path / name).write_text(text)
    (one,) = lint_path(tmp_path / name)
    assert one.promise == promise
    assert rules <= found([one])
    assert {f.kind for f in one.findings if f.rule not in rules} <= {"load", "width", "note"}


def test_a_checkpoint_is_a_directory(tmp_path):
    (one,) = lint_path(model_path("target"))
    assert one.promise is None
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "generation_config.json").write_text('{\n"assistant_ensemble_weight": 0.5}')
    (tmp_path / "custom_generate").mkdir()
    (one,) = lint_path(tmp_path)
    assert one.lossy
    assert found([one]) == {"DP501", "DP608"}
    assert next(f for f in one.findings if f.rule == "DP501").line == 2


PLAN = """\
battery: lab-core
target: lab:target
arms:
  - {name: plain, role: baseline, concurrency: 1}
  - name: drafted
    role: candidate
    draft: lab:draft
    concurrency: 8
    temperature: 0.7
    rule: %s
  - {name: bad, role: control, draft: lab:draft, rule: typical}
  - name: served
    role: candidate
    engine: openai
    serve: "vllm serve m --port {port} --speculative-config '{\\"rejection_sample_method\\": \\"fly\\"}'"
"""  # noqa: E501


def test_a_plan_is_judged_arm_by_arm(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN % "exact")
    off, on, bad, served = lint_path(path)
    assert [one.promise for one in (off, on, bad, served)] == [None, "L1", "L0", "L0"]
    assert [one.lossy for one in (off, on, bad, served)] == [False, False, False, True]
    assert {(f.rule, f.line) for f in on.findings} == {("DP703", 8), ("DP703", 9)}
    assert {f.severity for f in bad.findings if f.rule == "DP701"} == {"note"}
    assert [(f.rule, f.line) for f in served.findings if f.kind == "lossy"] == [("DP102", 15)]
    path.write_text(PLAN % "typical")
    assert lint_path(path)[1].lossy


IN_PROCESS = """\
engine: vllm
properties: {enable_prefix_caching: true}
arms:
  - {name: plain, role: baseline}
  - name: lossy
    role: candidate
    draft: lab:draft
    rule: synthetic
    rule_options: {synthetic_acceptance_length: 3.0}
  - {name: suffix, role: candidate, drafter: suffix, drafter_options: {wrong: 1}}
  - {name: ngram, role: candidate, drafter: prompt_lookup, drafter_options: {max_ngram: 3}}
  - {name: fly, role: control, draft: lab:draft, rule: fly}
"""


def test_vllm_in_this_process_is_judged_as_its_server(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(IN_PROCESS)
    plain, lossy, suffix, ngram, fly = lint_path(path)
    promises = [o.promise for o in (plain, lossy, suffix, ngram, fly)]
    assert promises == [None, "L0", "unknown", "L2", "L0"]
    assert [o.lossy for o in (plain, lossy, suffix, ngram, fly)] == [False, True, *[False] * 3]
    assert {f.rule for f in plain.findings} == {"DP119"}
    assert ("DP101", 8) in {(f.rule, f.line) for f in lossy.findings}
    assert found([suffix]) == {"DP111", "DP118", "DP119"}
    assert found([ngram]) == {"DP119"}
    assert {f.severity for f in fly.findings if f.rule == "DP102"} == {"note"}


def test_a_server_that_cannot_be_seen_is_unknown(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(
        "engine: openai\narms:\n  - {name: a, role: baseline, url: 'http://x:1'}\n"
        "  - {name: b, role: candidate, draft: d, serve: 'my-server {port}'}\n"
        "  - {name: c, role: candidate, draft: d, model: m-Q4_K_M, serve: 'llama-server {port}'}\n"
    )
    a, b, c = lint_path(path)
    assert [one.promise for one in (a, b, c)] == ["unknown", "unknown", None]
    assert found([a, b, c]) == {"DP704"}
    assert not any(one.lossy for one in (a, b, c))


def test_promises_are_those_that_the_rules_declare():
    assert rule_promises() == {name: rule.facts.promise.value for name, rule in RULES.items()}


def test_rules_have_ids_of_their_own():
    assert len({rule.id for rule in rules()}) == len(rules())
    assert all(rule.source and rule.versions and rule.mend for rule in rules())


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.yaml", "a: [1\n", "broken YAML"),
        ("a.yaml", "- 1\n", "mapping"),
        ("a.yaml", "", "mapping"),
        ("a.json", '{"a": }', "broken JSON"),
        ("a.yaml", "arms: 3\n", "list of mappings"),
        ("a.yaml", "arms: [3]\n", "list of mappings"),
        ("a.yaml", "a: " + "[" * 5000, "broken YAML"),
        (
            "a.yaml",
            "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n"
                for i in range(8)
            ),
            "more than",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, text, told):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DraftproofError, match=told) as caught:
        lint_path(path)
    assert name in str(caught.value)


def test_what_is_no_text_is_named(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DraftproofError, match="not UTF-8"):
        lint_path(tmp_path / "a")
    with pytest.raises(DraftproofError, match="no such file"):
        lint_path(tmp_path / "b")
    with pytest.raises(DraftproofError, match="neither config"):
        lint_path(tmp_path)
    assert lint_command("ls")[0].promise == "unknown"
