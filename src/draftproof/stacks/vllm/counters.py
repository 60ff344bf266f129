"""What vLLM counts of its own speculation, inside its own process and with every answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from draftproof.records import Proof, ProofState, Speculation
from draftproof.stacks.http.counters import CounterWatch
from draftproof.stacks.http.telemetry import UnknownCountersError, speculation_of


def metrics_page(metrics: Iterable[Any]) -> str:
    """Return ``LLM.get_metrics()`` as the page that a server would show of its counters.

    So the names are read, and unknown ones refused, in one place. Counters have a ``value``;
    lists and histograms, of which none is needed, have not.
    """
    lines = [
        f"{metric.name}_total {metric.value}" for metric in metrics if hasattr(metric, "value")
    ]
    return "\n".join([*lines, ""])


def answer_counters(metrics: Any) -> Speculation | None:
    """Return the counters of one answer's ``spec_decode_metrics``, None where there are none.

    Raises:
        UnknownCountersError: They have other names, or values that are no counts.
    """
    if metrics is None:
        return None
    as_dict = getattr(metrics, "to_dict", None)
    counts = as_dict() if callable(as_dict) else None
    if not isinstance(counts, Mapping):
        raise UnknownCountersError(
            f"an answer's metrics are a {type(metrics).__name__}, no counters"
        )
    histogram = counts.get("acceptance_histogram")
    if isinstance(histogram, list):
        counts = {**counts, "acceptance_histogram": dict(enumerate(histogram))}
    return speculation_of({"metrics": {"speculative_decoding": counts}})


class EngineCounters:
    """Follows the totals of one engine while it answers."""

    def __init__(self) -> None:
        self._watch = CounterWatch()
        self._unknown: str | None = None

    def read(self, llm: Any) -> None:
        """Take a reading of the engine's totals."""
        self._watch.read(metrics_page(llm.get_metrics()))

    def of_answer(self, output: Any) -> Speculation | None:
        """Return an answer's own counters; None where this version of vLLM has none."""
        try:
            return answer_counters(getattr(output, "spec_decode_metrics", None))
        except UnknownCountersError as error:
            self._unknown = self._unknown or str(error)
            return None

    def proof(self) -> Proof:
        """Return what the engine counted."""
        source = "LLM.get_metrics"
        if problem := self._unknown or self._watch.problem:
            return Proof(state=ProofState.UNPROVEN, source=source, problem=problem)
        counters = self._watch.gained
        state = ProofState.ABSENT if counters is None else ProofState.COUNTED
        return Proof(state=state, source=source, counters=counters)
