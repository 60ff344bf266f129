"""What is known of settings that change answers: data, one entry a piece of knowledge.

Rules 1xx are vLLM's, 2xx SGLang's, 3xx TensorRT-LLM's, 4xx llama.cpp's, 5xx those of
transformers, 6xx of checkpoints, 7xx our own.
"""

from __future__ import annotations

import re

from draftproof.lint.subject import ConfigSetting, LintRule, Subject

_HALF = frozenset({"bfloat16", "float16", "half", "bf16", "fp16", "torch.bfloat16",
                   "torch.float16"})  # fmt: skip
_VLLM_CONFIG = "vLLM, config/speculative.py"
_SGLANG_ARGS = "SGLang, server_args.py"
_TRT_ARGS = "TensorRT-LLM, llmapi/llm_args.py"
_LLAMA_ARGS = "llama.cpp, tools/server/README.md"
_QUANTISED = re.compile(r"(?i)\b(i?q[2-8]_|mxfp4|nvfp4|awq|gptq|fp8|int[48])")

SPECULATIVE_KEYS = frozenset(
    [
        "method",
        "model",
        "num_speculative_tokens",
        "draft_tensor_parallel_size",
        "quantization",
        "kv_cache_dtype",
        "attention_backend",
        "max_model_len",
        "revision",
        "code_revision",
        "disable_padded_drafter_batch",
        "use_local_argmax_reduction",
        "use_heterogeneous_vocab",
        "prompt_lookup_max",
        "prompt_lookup_min",
        "parallel_drafting",
        "num_speculative_tokens_per_batch_size",
        "suffix_decoding_max_tree_depth",
        "suffix_decoding_max_cached_requests",
        "suffix_decoding_max_spec_factor",
        "suffix_decoding_min_token_prob",
        "rejection_sample_method",
        "synthetic_acceptance_rates",
        "synthetic_acceptance_length",
        "draft_sample_method",
        "fly_window_size",
        "fly_entropy_threshold",
        "fly_entropy_top_k",
        "enable_adaptive_verification",
        "dspark_draft_topk",
        "xpress_topc",
        "draft_token_acceptance_method",
        "typical_acceptance_sampler_posterior_threshold",
        "typical_acceptance_sampler_posterior_alpha",
        "disable_by_batch_size",
        "speculative_token_tree",
        "disable_logprobs",
        "disable_log_stats",
        "enforce_eager",
    ]
)
"""Names inside ``speculative_config`` that vLLM has or had."""


def _below_one(setting: ConfigSetting, _: Subject) -> bool:
    return setting.number is not None and setting.number < 1


def _above_zero(setting: ConfigSetting, _: Subject) -> bool:
    return setting.number is not None and setting.number > 0


def _above_one(setting: ConfigSetting, _: Subject) -> bool:
    return setting.number is not None and setting.number > 1


def _on(setting: ConfigSetting, _: Subject) -> bool:
    return setting.on


def _relaxed(test: object) -> object:
    """Both numbers count only where relaxed acceptance is on."""

    def both(setting: ConfigSetting, subject: Subject) -> bool:
        switch = subject.find("use_relaxed_acceptance_for_thinking")
        return switch is not None and switch.on and callable(test) and bool(test(setting, subject))

    return both


def _is(*words: str) -> object:
    def test(setting: ConfigSetting, _: Subject) -> bool:
        return setting.word in words

    return test


def _half(setting: ConfigSetting, subject: Subject) -> bool:
    return setting.word in _HALF and subject.promise is not None


def _rule(
    id_: str,
    kind: str,
    stacks: str,
    keys: str,
    when: object,
    text: str,
    mend: str,
    source: str,
    versions: str,
) -> LintRule:
    if not callable(when):
        raise TypeError("a rule needs a test")
    return LintRule(
        id_, kind, tuple(stacks.split()), tuple(keys.split()), when, text, mend, source, versions
    )


RULES: tuple[LintRule, ...] = (
    _rule("DP101", "lossy", "vllm", "rejection_sample_method", _is("synthetic"),
          "drafted tokens are accepted by a coin, whatever the target thinks of them",
          "drop it: it is for benchmarks only (the CPU build ends in an assertion)",
          f"{_VLLM_CONFIG}; #40651", "April 2026 to 0.33"),
    _rule("DP102", "lossy", "vllm", "rejection_sample_method", _is("fly"),
          "a draft that the target would not have chosen is kept where the target is unsure",
          "use standard or block", f"{_VLLM_CONFIG}; arXiv 2511.22972", "0.33"),
    _rule("DP103", "lossy", "vllm",
          "draft_token_acceptance_method spec_decoding_acceptance_method "
          "speculative_draft_token_acceptance_method",
          _is("typical_acceptance_sampler"),
          "typical acceptance keeps what the target finds merely plausible",
          "use rejection_sampler", "vLLM V0, spec_decode", "before 0.11"),
    _rule("DP104", "lossy", "vllm sglang trtllm transformers checkpoint speculators",
          "posterior_threshold posterior_alpha typical_acceptance_sampler_posterior_threshold "
          "typical_acceptance_sampler_posterior_alpha",
          _above_zero, "a threshold of typical acceptance: lossy above temperature 0",
          "drop it", "arXiv 2401.10774; TensorRT-LLM EagleDecodingConfig", "where the name occurs"),
    _rule("DP105", "unknown", "vllm", "rejection_sample_method", _is("strict", "probabilistic"),
          "a name of early 2026 that later versions refuse (now standard and block)",
          "name the version beside the setting", "vLLM #35461, #40651, #41035",
          "February to April 2026"),
    _rule("DP106", "unknown", "vllm", "rejection_sample_method",
          lambda s, _: s.word not in {"standard", "block", "fly", "synthetic", "strict",
                                      "probabilistic"},
          "not a method that is known", "check it against the version's documentation",
          _VLLM_CONFIG, "0.33"),
    _rule("DP107", "note", "vllm", "rejection_sample_method", _is("block"),
          "without the second model runner, so on every build without Triton, the setting is taken "
          "and tokens are verified one by one all the same",
          "read the server's log for the runner before you compare the two",
          "vLLM, v1/sample/rejection_sampler.py", "0.32"),
    _rule("DP110", "load", "vllm", "num_speculative_tokens_per_batch_size", _on,
          "the draft length follows the batch size: the same prompt meets other shapes under load",
          "fix num_speculative_tokens while screening", _VLLM_CONFIG, "0.33"),
    _rule("DP111", "history", "vllm", "method", _is("suffix"),
          "drafts come from answers given before: what is verified depends on history",
          "screen with suffix_decoding_max_cached_requests 0, or compare in one fixed order",
          _VLLM_CONFIG, "0.33"),
    _rule("DP112", "load", "vllm", "enable_adaptive_verification", _on,
          "how much is verified adapts while serving", "switch it off while screening",
          _VLLM_CONFIG, "0.33"),
    _rule("DP113", "load", "vllm", "disable_by_batch_size speculative_disable_by_batch_size", _on,
          "speculation goes off above a batch size", "screen at the concurrency that is served",
          "vLLM V0, spec_decode", "before 0.11"),
    _rule("DP114", "unknown", "vllm", "use_heterogeneous_vocab", _on,
          "drafts cross from one tokenizer to another by their common tokens",
          "prove identity by a screen; nothing is promised", _VLLM_CONFIG, "0.33"),
    _rule("DP116", "note", "vllm", "VLLM_BATCH_INVARIANT",
          lambda s, subject: s.on and subject.promise is not None,
          "batch invariance does not promise that verification computes what decoding does",
          "do not read it as bit equality", "vLLM #27433, RFC #54506", "0.33"),
    _rule("DP117", "unknown", "vllm", "method", _is("medusa", "mlp_speculator"),
          "a method that current versions do not have", "name the version", _VLLM_CONFIG,
          "removed by 0.33; 0.32 has medusa"),
    _rule("DP119", "history", "vllm", "enable_prefix_caching", _on,
          "which rows of a prompt are computed depends on the prompts before it",
          "switch it off while screening (it is vLLM's default)", "vLLM, config/cache.py", "0.33"),
    _rule("DP201", "lossy", "sglang", "speculative_accept_threshold_single", _below_one,
          "any draft is kept whose probability reaches the threshold",
          "leave it at 1.0", _SGLANG_ARGS, "0.5.23"),
    _rule("DP202", "lossy", "sglang", "speculative_accept_threshold_acc", _below_one,
          "acceptance is raised by dividing by the threshold",
          "leave it at 1.0", _SGLANG_ARGS, "0.5.23"),
    _rule("DP203", "lossy", "sglang", "SGLANG_SIMULATE_ACC_LEN SIMULATE_ACC_LEN",
          lambda s, _: s.on and (s.number is None or s.number > 0),
          "a number of drafts is accepted whatever they are", "unset it: it is for benchmarks only",
          "SGLang, speculative/spec_utils.py", "0.5.23"),
    _rule("DP204", "load", "sglang",
          "speculative_adaptive speculative_adaptive_config enable_adaptive_speculative_num_steps",
          _on, "the draft length adapts while serving", "fix it while screening", _SGLANG_ARGS,
          "0.5.23"),
    _rule("DP205", "history", "sglang", "speculative_algorithm", _is("ngram"),
          "drafts come from a cache of answers given before", "compare in one fixed order",
          _SGLANG_ARGS, "0.5.23"),
    _rule("DP206", "width", "sglang", "speculative_eagle_topk", _above_one,
          "trees: in a batch that also holds sampled requests a tie may keep another token",
          "screen greedy requests alone", "SGLang tree kernels", "0.5.23"),
    _rule("DP207", "note", "sglang", "enable_deterministic_inference", _on,
          "deterministic means repeatable across batches, not equal to speculation off",
          "do not read it as bit equality", "SGLang #11789", "0.5.23"),
    _rule("DP301", "lossy", "trtllm", "use_relaxed_acceptance_for_thinking", _on,
          "inside thinking spans a draft is kept that is merely among the target's best",
          "leave it false", _TRT_ARGS, "1.2"),
    _rule("DP302", "lossy", "trtllm", "relaxed_topk", _relaxed(_above_one),
          "more than the best token counts as right", "leave it at 1", _TRT_ARGS, "1.2"),
    _rule("DP303", "lossy", "trtllm", "relaxed_delta", _relaxed(_above_zero),
          "tokens near the best one count as right", "leave it at 0", _TRT_ARGS, "1.2"),
    _rule("DP304", "history", "trtllm", "acceptance_rate_threshold", _on,
          "speculation goes off for good once acceptance falls below the threshold",
          "drop it while screening, and look at the counters of every answer", _TRT_ARGS, "1.2"),
    _rule("DP305", "load", "trtllm", "draft_len_schedule max_concurrency", _on,
          "the draft length follows the batch size", "fix max_draft_len while screening",
          _TRT_ARGS, "1.2"),
    _rule("DP401", "history", "llama.cpp", "spec_type", _is("ngram-mod", "ngram-cache"),
          "drafts come from a pool that answers given before have filled",
          "use draft-simple or ngram-simple, or keep one fixed order", _LLAMA_ARGS, "as of 2026"),
    _rule("DP402", "width", "llama.cpp", "spec_draft_p_min draft_p_min", _above_zero,
          "the draft length follows the draft's confidence, so verification has many widths",
          "set it to 0 while screening", _LLAMA_ARGS, "as of 2026"),
    _rule("DP403", "width", "llama.cpp", "model m hf_repo hf_file",
          lambda s, subject: bool(_QUANTISED.search(str(s.value))) and subject.promise is not None,
          "quantised kernels depend on the number of rows: answers change between widths",
          "screen it; expect divergences, and judge them by their margins",
          "llama.cpp #25618, #23302", "as of 2026"),
    _rule("DP404", "unknown", "llama.cpp", "draft draft_n draft_max draft_min draft_n_min", _on,
          "a flag that current versions do not have (now spec-draft-n-max and spec-draft-n-min)",
          "name the version", _LLAMA_ARGS, "before 2026"),
    _rule("DP405", "load", "llama.cpp", "parallel np",
          lambda s, subject: _above_one(s, subject) and subject.promise is not None,
          "slots are computed together: shapes follow the load",
          "screen at the concurrency that is served", _LLAMA_ARGS, "all"),
    _rule("DP406", "lossy", "llama.cpp", "spec_synth_rates spec_synth_len", _on,
          "drafted tokens are accepted by a coin, whatever the target thinks of them",
          "drop it: it is for benchmarks only", f"{_LLAMA_ARGS}; run on 0.5.0-dev", "0.5"),
    _rule("DP501", "lossy", "transformers checkpoint vllm sglang draftproof",
          "assistant_ensemble_weight", _above_zero,
          "the draft's distribution is mixed into the one that is verified against",
          "leave it out", "transformers 5.23; arXiv 2604.07622", "5.23"),
    _rule("DP502", "history", "transformers checkpoint", "num_assistant_tokens_schedule",
          _is("heuristic"), "the draft length is carried over from one answer to the next",
          "set it to constant", "transformers, candidate_generator.py", "5.23"),
    _rule("DP503", "width", "transformers checkpoint", "assistant_confidence_threshold",
          _above_zero, "the draft length follows the draft's confidence",
          "set it to 0 while screening", "transformers, generation/configuration_utils.py",
          "5.23"),
    _rule("DP601", "lossy", "checkpoint speculators vllm", "verifier_accept_k", _above_one,
          "the checkpoint asks that more than the best token be taken for right",
          "set it to 1; vLLM 0.33 does not read it, others may", "speculators, proposals/greedy.py",
          "as of 2026"),
    _rule("DP602", "lossy", "checkpoint speculators vllm", "accept_tolerance", _above_zero,
          "the checkpoint asks for a tolerance in what is accepted",
          "set it to 0; vLLM 0.33 does not read it, others may", "speculators, proposals/greedy.py",
          "as of 2026"),
    _rule("DP603", "note", "checkpoint", "auto_map", _on,
          "the checkpoint brings code of its own, which decides how it answers",
          "read it; run it only where trust_remote_code is meant", "transformers", "all"),
    _rule("DP604", "width", "vllm sglang checkpoint trtllm draftproof", "dtype torch_dtype", _half,
          "in half precision the width of verification decides near ties",
          "expect ties; float32 and equal widths make fewer", "vLLM #54506; transformers #25420",
          "all"),
    _rule("DP605", "history", "checkpoint", "model_type",
          lambda s, _: any(w in s.word for w in ("mamba", "rwkv", "jamba", "_next", "falcon_h1",
                                                 "bamba", "zamba", "lfm2")),
          "layers with a recurrent state, which rejected drafts must not leave traces in",
          "look for faults, not only for ties", "vLLM #39273", "all"),
    _rule("DP606", "width", "checkpoint vllm sglang trtllm",
          "quantization quant_method quant_algo kv_cache_dtype",
          lambda s, _: s.word not in {"auto", "none", "", *_HALF, "float32"},
          "quantised kernels are often chosen by the number of rows",
          "screen it; expect divergences, and judge them by their margins",
          "llama.cpp #25618; vLLM #54506", "all"),
    _rule("DP607", "note", "checkpoint", "do_sample", _on,
          "servers that read generation_config sample unless a request says temperature 0",
          "send the temperature with every request", "transformers; vLLM", "all"),
    _rule("DP608", "note", "checkpoint", "custom_generate", _on,
          "the checkpoint brings a decoding method of its own",
          "read it; run it only where trust_remote_code is meant",
          "transformers, custom generation", "5.23"),
)  # fmt: skip
