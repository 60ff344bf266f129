"""What an arm means in vLLM's own words: its speculative_config and its engine arguments."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from draftproof.records import DraftproofError
from draftproof.stacks.spec import ArmSpec

METHODS = {
    "draft_model": "draft_model",
    "prompt_lookup": "ngram",
    "suffix": "suffix",
    "medusa": "medusa",
    "eagle": "eagle",
    "eagle3": "eagle3",
}
"""Our drafters as vLLM calls them; an arm with a draft and no drafter is ``draft_model``."""
REJECTION = {"exact": "standard", "block": "block", "synthetic": "synthetic", "fly": "fly"}
"""Our rules as vLLM calls them. The last two are lossy: they are for controls."""
WITH_HEADS = frozenset({"medusa", "eagle", "eagle3"})
_NGRAM = {"max_ngram": ("prompt_lookup_max", 2), "min_ngram": ("prompt_lookup_min", 1)}
OUR_OPTIONS = frozenset({"heads", *_NGRAM})
"""Options of drafters that are ours; the others have vLLM's names."""
_DECLARED = {
    "model": "target",
    "dtype": "dtype",
    "max_num_seqs": "concurrency",
    "seed": "seed",
    "trust_remote_code": "trust_remote_code",
    "speculative_config": "draft, drafter, drafter_options, rule and rule_options",
}
"""Engine arguments that are fields of the arm itself."""


def speculative_config(spec: ArmSpec, place: Callable[[str], str]) -> dict[str, object] | None:
    """Return vLLM's ``speculative_config`` for an arm, None where it decodes plainly.

    Options of the drafter and of the rule that are not ours are handed on under vLLM's names,
    which vLLM checks itself.

    Args:
        spec: The arm.
        place: Finds the directory or hub name of a model's name.

    Raises:
        DraftproofError: Heads are missing or not in vLLM's format, or an option is declared
            elsewhere.
    """
    if not spec.speculative:
        return None
    config: dict[str, object] = {
        "method": METHODS[spec.drafter or "draft_model"],
        "num_speculative_tokens": spec.gamma,
    }
    options = dict(spec.drafter_options)
    if spec.draft is not None:
        config["model"] = place(spec.draft)
    elif spec.drafter in WITH_HEADS:
        config["model"] = _heads(spec, options.pop("heads", None))
    elif spec.drafter == "prompt_lookup":
        for ours, (theirs, usual) in _NGRAM.items():
            config[theirs] = options.pop(ours, usual)
    if spec.rule != "exact":
        config["rejection_sample_method"] = REJECTION[spec.rule]
    for where, extra in (("drafter_options", options), ("rule_options", spec.rule_options)):
        declared = sorted(extra.keys() & {*config, "method", "model", "rejection_sample_method"})
        if declared:
            raise DraftproofError(
                f"arm {spec.name!r}: {where}.{declared[0]} follows from the arm's other fields"
            )
        config |= extra
    return config


def _heads(spec: ArmSpec, heads: object) -> str:
    ours = "kind" in _names(heads)
    if not isinstance(heads, str) or not heads or heads.startswith("lab:") or ours:
        what = "names no heads" if not heads else f"{heads} is not in vLLM's format"
        raise DraftproofError(
            f"arm {spec.name!r}: drafter {spec.drafter}: {what}; drafter_options.heads is a "
            "checkpoint that vLLM loads (recipes/vllm/convert_head.py makes one of the lab's)"
        )
    return heads


def _names(heads: object) -> set[str]:
    """Return the names in a head's configuration, as far as it can be read."""
    from draftproof.stacks.openvino.model import read_json  # noqa: PLC0415 - rarely needed

    if not isinstance(heads, str) or heads.startswith("lab:"):
        return set()
    return set(read_json(Path(heads) / "config.json"))


def engine_arguments(spec: ArmSpec, place: Callable[[str], str]) -> dict[str, object]:
    """Return the arguments of ``vllm.LLM`` that an arm means.

    The cache of common beginnings is off unless ``properties`` switches it on: with it, what was
    answered before decides which rows of a prompt are computed and in which shape, so an answer
    would depend on history. Statistics are on, because they are the proof of speculation.

    Raises:
        DraftproofError: A property is a field of the arm itself, or see `speculative_config`.
    """
    declared = sorted(_DECLARED.keys() & spec.properties.keys())
    if declared:
        raise DraftproofError(
            f"arm {spec.name!r}: properties.{declared[0]} is declared by {_DECLARED[declared[0]]}"
        )
    return {
        "model": place(spec.target),
        "dtype": spec.dtype,
        "max_num_seqs": spec.concurrency,
        "seed": spec.seed,
        "trust_remote_code": spec.trust_remote_code,
        "speculative_config": speculative_config(spec, place),
        "enable_prefix_caching": False,
        "disable_log_stats": False,
        **spec.properties,
    }
