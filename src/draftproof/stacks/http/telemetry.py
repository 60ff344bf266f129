"""A server's own counters of speculation, read without guessing.

A counter that is not known by name is never taken for zero: it makes the arm unproven, and says
which names were found.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from draftproof.records import Counters, Speculation

_PREFIXES = ("vllm:", "draftproof:", "llamacpp:", "lmdeploy:", "ray_vllm_", "ray_lmdeploy_")
"""What stands in front of ``spec_decode_…`` in the names of servers that count as vLLM does;
Ray Serve exports the counters of its engines under a prefix of its own."""
_ROUNDS, _DRAFTED, _ACCEPTED = "num_drafts", "num_draft_tokens", "num_accepted_tokens"
_WANTED = (_ROUNDS, _DRAFTED, _ACCEPTED)
_IGNORED = ("num_accepted_tokens_per_pos",)
_WORDS = {"spec": ("decod", "draft", "accept", "verif"), "draft": ("accept", "token")}
"""A name that holds one of these, and behind it one of those, speaks of speculation."""
_RUN = re.compile(r"[_a-z]+", re.ASCII)

_MAX_LINES = 10_000
"""Lines about speculation on one page; servers have a few for every engine."""
_MAX_NAME = 256
"""Characters of a line in which its subject is looked for; a name comes first."""
_MAX_LINE = 4_096
"""Characters of such a line: the parser's time grows with the square of its labels."""


class UnknownCountersError(ValueError):
    """There are counters of speculation, but not under the names that are known."""


def speculation_of(reply: Mapping[str, object]) -> Speculation | None:
    """Return the counters that a response carries about itself, None where it carries none.

    Known are vLLM's per-request metrics (and ours, which have the same names; the histogram maps
    numbers or lists them), SGLang's ``meta_info`` or ``sglext.spec_tokens_details`` under all
    generations of names, llama.cpp's ``timings`` and LM Studio's ``stats``.

    Raises:
        UnknownCountersError: A place that holds such counters holds others.
    """
    metrics = reply.get("metrics")
    if isinstance(metrics, Mapping) and metrics.get("speculative_decoding") is not None:
        return _from_vllm(metrics["speculative_decoding"])
    timings = reply.get("timings")
    if isinstance(timings, Mapping) and any(str(k).startswith("draft") for k in timings):
        return _from_llama_cpp(timings)
    stats = reply.get("stats")
    if isinstance(stats, Mapping) and "draft_model" in stats:
        return _from_lm_studio(stats)
    for fields in _sglang_places(reply):
        if any(str(k).startswith("spec_") for k in fields):
            return _from_sglang(fields)
    return None


def _sglang_places(reply: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    extension = reply.get("sglext")
    choices = reply.get("choices")
    places = [
        extension.get("spec_tokens_details") if isinstance(extension, Mapping) else None,
        reply.get("meta_info"),
        *(c.get("meta_info") for c in _list(choices) if isinstance(c, Mapping)),
    ]
    return [p for p in places if isinstance(p, Mapping)]


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _count(fields: Mapping[str, object], *names: str) -> int:
    """Return the first of several names for one counter."""
    for name in names:
        value = fields.get(name)
        if type(value) is int and value >= 0:
            return value
        if name in fields:
            raise UnknownCountersError(f"counter {name!r} is no whole number from zero up")
    raise UnknownCountersError(
        f"no counter {names[0]!r}; there are {', '.join(sorted(map(str, fields))) or 'none'}"
    )


def _checked(rounds: int, drafted: int, accepted: int, histogram: tuple[int, ...]) -> Speculation:
    if accepted > drafted:
        raise UnknownCountersError(f"{accepted} accepted of {drafted} drafted tokens")
    return Speculation(rounds=rounds, drafted=drafted, accepted=accepted, histogram=histogram)


def _from_vllm(fields: object) -> Speculation:
    if not isinstance(fields, Mapping):
        raise UnknownCountersError("metrics.speculative_decoding is no object")
    histogram = fields.get("acceptance_histogram")
    dense: tuple[int, ...] = _integers(histogram) or ()
    if isinstance(histogram, Mapping) and histogram:
        try:
            sparse = {int(k): int(v) for k, v in histogram.items()}
        except (TypeError, ValueError) as error:
            raise UnknownCountersError("acceptance_histogram maps no numbers") from error
        if not 0 <= min(sparse) <= max(sparse) <= 4096:
            raise UnknownCountersError("acceptance_histogram has impossible keys")
        dense = tuple(sparse.get(k, 0) for k in range(max(sparse) + 1))
    return _checked(
        _count(fields, "num_spec_steps"),
        _count(fields, "num_draft_tokens"),
        _count(fields, "num_accepted_draft_tokens"),
        dense,
    )


def _from_lm_studio(fields: Mapping[str, object]) -> Speculation:
    """Read LM Studio's statistics, which count tokens and no rounds.

    Its ``predicted_tokens_count`` is every emitted token; see `_from_llama_cpp` for the rounds.
    """
    accepted = _count(fields, "accepted_draft_tokens_count")
    drafted = _count(fields, "total_draft_tokens_count")
    emitted = _count(fields, "predicted_tokens_count")
    return _checked(max(emitted - accepted - 1, 1 if drafted else 0), drafted, accepted, ())


def _from_sglang(fields: Mapping[str, object]) -> Speculation:
    """Read SGLang's counters; its first versions count only verifying steps.

    A step emits one token that was not drafted, so the others were, and were accepted. The first
    token is the prompt's own.
    """
    counted = [str(name) for name in fields if str(name).startswith("spec_")]
    if counted == ["spec_verify_ct"] and "completion_tokens" in fields:
        rounds, emitted = _count(fields, "spec_verify_ct"), _count(fields, "completion_tokens")
        if rounds > emitted:
            raise UnknownCountersError(f"{rounds} verifying steps for {emitted} tokens")
        accepted = max(emitted - 1 - rounds, 0)
        return Speculation(
            rounds=rounds, drafted=accepted, accepted=accepted, drafted_at_least=True
        )
    names = ("spec_correct_drafts_histogram", "spec_accept_histogram")
    histograms = (_integers(fields.get(name)) for name in names)
    return _checked(
        _count(fields, "spec_verify_ct"),
        _count(fields, "spec_num_proposed_drafts", "spec_draft_token_num"),
        _count(fields, "spec_num_correct_drafts", "spec_accept_token_num"),
        next((h for h in histograms if h is not None), ()),
    )


def _integers(value: object) -> tuple[int, ...] | None:
    integers = isinstance(value, list) and all(type(v) is int for v in value)
    return tuple(_list(value)) if integers else None  # type: ignore[arg-type]


def _from_llama_cpp(fields: Mapping[str, object]) -> Speculation:
    """Read llama.cpp's timings, which are there only where something was drafted.

    It counts no rounds. Every forward emits one token that is not a draft's, and the first of
    them is the prompt's own, so the forwards after it are the emitted tokens less the accepted
    ones less one.
    """
    drafted, accepted = _count(fields, "draft_n"), _count(fields, "draft_n_accepted")
    emitted = _count(fields, "predicted_n")
    return _checked(max(emitted - accepted - 1, 1 if drafted else 0), drafted, accepted, ())


def prometheus_counters(text: str) -> Counters | None:
    """Return a server's totals from its Prometheus page, None where it has no such counters.

    Only lines that speak of speculation are parsed, so a page costs little however long it is,
    and a line of another subject that is broken does no harm.

    Raises:
        UnknownCountersError: Counters of speculation under other names, drafted or accepted
            tokens missing, a line that cannot be parsed, or values that are no counts.
    """
    totals: dict[str, dict[str, float]] = {}
    unknown = set()
    for name, value in _samples(text):
        prefix = next((p for p in _PREFIXES if name.startswith(f"{p}spec_decode_")), None)
        plain = name.removeprefix(f"{prefix}spec_decode_").removesuffix("_total")
        if prefix is not None and plain in _WANTED and name.endswith("_total"):
            family = totals.setdefault(prefix, {})
            family[plain] = family.get(plain, 0.0) + _total(name, value)
            continue
        known = name.endswith("_created") or (prefix is not None and plain in _IGNORED)
        if not known and _is_suspect(name):
            unknown.add(name)
    if not totals:
        if unknown:
            raise UnknownCountersError(
                f"the metrics page has {', '.join(sorted(unknown)[:6])}, which are unknown counters"
            )
        return None
    prefix, family = next(iter(totals.items()))
    for wanted in (_DRAFTED, _ACCEPTED):
        if wanted not in family:
            raise UnknownCountersError(
                f"the metrics page has no {prefix}spec_decode_{wanted}_total"
            )
    # the first versions counted no rounds; what was drafted and accepted is proof without them
    rounds = int(family[_ROUNDS]) if _ROUNDS in family else None
    return Counters(rounds, int(family[_DRAFTED]), int(family[_ACCEPTED]))


def iteration_counters(text: str) -> Counters | None:
    """Add up a page of TensorRT-LLM's iteration statistics, None where none of them speculated.

    Written against the documented ``/metrics`` of trtllm-serve, which needs
    ``enable_iter_perf_stats`` and hands out every iteration once. An iteration's drafting requests
    are rounds. Rows that other ranks repeat are left out.

    Raises:
        UnknownCountersError: No JSON list of objects, or other names.
    """
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnknownCountersError("the metrics page is no JSON") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UnknownCountersError("the metrics page is no list of iterations")
    statistics = [
        row["specDecodingStats"]
        for row in rows
        if isinstance(row.get("specDecodingStats"), dict) and not row.get("attentionDpRank")
    ]
    if not statistics:
        return None
    names = ("numRequestsWithDraftTokens", "numDraftTokens", "numAcceptedTokens")
    return Counters(*(sum(_count(row, name) for row in statistics) for name in names))


def _is_suspect(name: str) -> bool:
    """Whether a name speaks of speculation; takes time in proportion to its length.

    >>> _is_suspect("sglang:spec_accept_length"), _is_suspect("vllm:num_requests_running")
    (True, False)
    """
    name = name.lower()
    if not any(first in name for first in _WORDS):
        return False
    runs = _RUN.findall(name)
    return any(
        (at := run.find(first)) >= 0 and any(run.find(w, at + len(first)) >= 0 for w in seconds)
        for run in runs
        for first, seconds in _WORDS.items()
    )


def _samples(text: str) -> list[tuple[str, float]]:
    """Return name and value of every sample whose line speaks of speculation."""
    lines = [
        line.strip()
        for line in text.splitlines()
        if not line.startswith("#") and _is_suspect(line[:_MAX_NAME])
    ]
    if len(lines) > _MAX_LINES or any(len(line) > _MAX_LINE for line in lines):
        raise UnknownCountersError(
            f"the metrics page cannot be read: more than {_MAX_LINES:,} lines about speculation, "
            f"or one of more than {_MAX_LINE:,} characters"
        )
    try:
        families = list(text_string_to_metric_families("\n".join([*lines, ""])))
    # the parser has no errors of its own, and a page may hold anything
    except Exception as error:
        raise UnknownCountersError(f"the metrics page cannot be read: {error!s:.200}") from error
    return [(sample.name, sample.value) for family in families for sample in family.samples]


def _total(name: str, value: float) -> float:
    if not math.isfinite(value) or value < 0:
        raise UnknownCountersError(f"{name} reads {value}, which is no count")
    return value
