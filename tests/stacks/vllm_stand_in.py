"""A stand-in of vllm 0.32 with the interface that the engine uses; our decoder answers in it.

Names, shapes and values were taken from the installed library: `RequestOutput`, the dataclass of
an answer's metrics with its `to_dict`, the metrics of `LLM.get_metrics()`, whose totals belong to
the process, and what its configuration holds.
"""

from __future__ import annotations

import itertools
import types
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.drafters import DraftModel
from draftproof.stacks import models

LABELS = {"model_name": "lab:target", "engine": "0"}
COUNTERS = ("num_drafts", "num_draft_tokens", "num_accepted_tokens")


class RequestOutputKind(Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclass
class SamplingParams:
    temperature: float = 1.0
    max_tokens: int = 16
    seed: int | None = None
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE


@dataclass
class EngineArgs:
    per_request_spec_decode_metrics: str = "none"
    use_tqdm_on_load: bool = True


@dataclass
class Counter:
    name: str
    labels: dict[str, str]
    value: int


@dataclass
class Vector:
    name: str
    labels: dict[str, str]
    values: list[int]


@dataclass
class RequestSpecDecodeMetrics:
    num_spec_tokens: int
    histogram: list[int]
    num_draft_tokens: int

    def to_dict(self) -> dict[str, Any]:
        steps = sum(self.histogram)
        accepted = sum(j * count for j, count in enumerate(self.histogram))
        return {
            "mean_acceptance_length": 1.0 + accepted / steps if steps else 1.0,
            "draft_acceptance_rate": accepted / (self.num_draft_tokens or 1),
            "acceptance_histogram": list(self.histogram),
            "num_spec_steps": steps,
            "num_accepted_draft_tokens": accepted,
            "num_draft_tokens": self.num_draft_tokens,
            "num_spec_tokens": self.num_spec_tokens,
        }


@dataclass
class CompletionOutput:
    text: str
    token_ids: list[int]
    finish_reason: str
    spec_decode_metrics: Any = None


@dataclass
class RequestOutput:
    request_id: str
    outputs: list[CompletionOutput]
    finished: bool = True
    metrics: Any = field(
        default_factory=lambda: types.SimpleNamespace(scheduled_ts=1.0, last_token_ts=1.5)
    )


class Engine:
    """`llm.llm_engine`: holds requests, and answers `max_num_seqs` of them a step."""

    def __init__(self, arguments: dict[str, Any], totals: dict[str, int]) -> None:
        self.arguments, self.totals = arguments, totals
        self.target = models.load(arguments["model"], "float32", "cpu")
        self.queue: list[tuple[str, list[int], SamplingParams]] = []
        self.seen: list[SamplingParams] = []
        self.aborted: list[str] = []
        self.ended = False
        self.names = itertools.count()
        self.engine_core = types.SimpleNamespace(shutdown=self._shutdown)
        space = types.SimpleNamespace
        self.vllm_config = space(
            model_config=space(max_model_len=512, dtype="torch.float32", quantization=None),
            cache_config=space(
                cache_dtype="auto", enable_prefix_caching=arguments["enable_prefix_caching"]
            ),
            device_config=space(device_type="cpu"),
            use_v2_model_runner=False,
        )

    def _shutdown(self) -> None:
        self.ended = True

    def add_request(self, request_id: str, prompt: dict[str, Any], params: SamplingParams) -> str:
        assert request_id not in {name for name, *_ in self.queue}
        self.queue.append((request_id, prompt["prompt_token_ids"], params))
        self.seen.append(params)
        return f"{request_id}-{next(self.names)}"

    def abort_request(self, request_ids: list[str]) -> None:
        self.aborted += request_ids
        self.queue = [one for one in self.queue if one[0] not in request_ids]

    def step(self) -> list[RequestOutput]:
        now = self.queue[: self.arguments["max_num_seqs"]]
        self.queue = self.queue[len(now) :]
        return [self._answer(*one) for one in now]

    def _answer(self, name: str, ids: list[int], params: SamplingParams) -> RequestOutput:
        config = self.arguments["speculative_config"]
        drafter = None
        if config is not None:
            draft = models.load(config["model"], "float32", "cpu")
            drafter = DraftModel(draft.model, config["num_speculative_tokens"])
        request = Request(id=name, prompt=tuple(ids), max_new_tokens=params.max_tokens)
        (answer,) = decode(
            self.target.model, [request], Settings(eos=self.target.eos, drafter=drafter, batch=1)
        )
        ended = answer.tokens[-1] in self.target.eos
        shown = answer.tokens[:-1] if ended else answer.tokens
        text = self.target.tokenizer.decode(shown, skip_special_tokens=True)
        metrics = None
        if config is not None:
            counted = (answer.rounds, answer.drafted, answer.accepted)
            for key, value in zip(COUNTERS, counted, strict=True):
                self.totals[key] += value
            if self.arguments.get("per_request_spec_decode_metrics", "none") != "none":
                metrics = RequestSpecDecodeMetrics(4, list(answer.histogram), answer.drafted)
        given = CompletionOutput(text, list(answer.tokens), answer.finish_reason, metrics)
        return RequestOutput(name, [given])


def module() -> types.ModuleType:
    """Return a module `vllm` with totals of its own; `made` lists the engines."""
    vllm = types.ModuleType("vllm")
    vllm.made = []
    totals = dict.fromkeys(COUNTERS, 0)

    class LLM:
        def __init__(self, **arguments: Any) -> None:
            self.llm_engine = Engine(arguments, totals)
            vllm.made.append(self.llm_engine)

        def get_tokenizer(self) -> Any:
            return self.llm_engine.target.tokenizer

        def get_metrics(self) -> list[Any]:
            if self.llm_engine.arguments["speculative_config"] is None:
                return []
            prefix = "vllm:spec_decode_"
            return [
                *(Counter(prefix + name, LABELS, value) for name, value in totals.items()),
                Vector(f"{prefix}num_accepted_tokens_per_pos", LABELS, [0] * 4),
            ]

    vllm.LLM, vllm.EngineArgs, vllm.SamplingParams = LLM, EngineArgs, SamplingParams
    vllm.__version__ = "0.32.0"
    vllm.sampling_params = types.ModuleType("vllm.sampling_params")
    vllm.sampling_params.RequestOutputKind = RequestOutputKind
    return vllm
