"""OpenVINO GenAI's continuous batching: plain, with a draft model, EAGLE-3 trees, prompt lookup.

Needs no torch: a directory made by ``draftproof export openvino`` carries its own tokenizer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from draftproof.records import (
    TEXT_CHANNELS,
    Completion,
    Counters,
    DraftproofError,
    Fingerprint,
    Prompt,
    Proof,
    ProofState,
    Speculation,
)
from draftproof.stacks.base import (
    PromptStore,
    Rendered,
    last_line,
    rendered,
    require_same_vocabulary,
    seed_of,
    template_ids,
)
from draftproof.stacks.openvino.drafting import Drafting, drafting
from draftproof.stacks.openvino.model import fingerprint, model_directory, quietly, read_json
from draftproof.stacks.spec import ArmSpec

_PRECISION = {"auto": None, "float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_FINISHED = {"STOP": "stop", "LENGTH": "length"}


class OpenVINOEngine:
    """Answers `concurrency` prompts at a time, batched by the pipeline itself.

    ``properties`` of the arm are handed to the device as they are. The cache of common beginnings
    stays off: with it an answer would depend on what was answered before.

    The library counts drafted and accepted tokens with a draft model, without the last round of
    an answer. With prompt lookup it counts nothing; what a step emits beyond one token an answer
    was drafted and accepted, so both counts are then the least that they can have been.
    """

    def __init__(self, spec: ArmSpec) -> None:
        self.spec = spec
        self._openvino = quietly("openvino")
        self._genai = quietly("openvino_genai")
        self._pipeline: Any = None
        self._tokenizer: Any = None
        self._prompts: PromptStore
        self._config: Any = None
        self._totals = Counters(0, 0, 0)
        self._drafting = Drafting(None)

    def open(self, prompts: Sequence[Prompt]) -> None:
        """See `Engine.open`."""
        spec = self.spec
        place = model_directory(spec.target)
        device = "CPU" if spec.device == "auto" else spec.device.upper()
        properties = _properties(spec)
        self._drafting = drafting(spec)
        # read from the properties, not an argument of its own
        special: dict[str, object] = {}
        if (drafts := self._drafting.directory) is not None:
            draft_model = self._genai.draft_model
            special["draft_model"] = draft_model(model_directory(drafts), device, **properties)
        elif spec.drafter is not None:
            special["prompt_lookup"] = True
        try:
            self._tokenizer = self._genai.Tokenizer(place)
            if drafts is not None:
                other = self._genai.Tokenizer(model_directory(drafts))
                require_same_vocabulary(
                    spec.target, drafts, self._tokenizer.get_vocab(), other.get_vocab()
                )
            self._pipeline = self._genai.ContinuousBatchingPipeline(
                place, self._genai.SchedulerConfig(), device, {**properties, **special}
            )
        except RuntimeError as error:
            raise DraftproofError(f"arm {spec.name!r}: {last_line(error)}") from error
        self._config = self._generation_config()
        limit = read_json(place / "config.json").get("max_position_embeddings")
        self._prompts = PromptStore(
            spec, prompts, self._render, limit if isinstance(limit, int) else None
        )

    def _generation_config(self) -> Any:
        spec = self.spec
        config = self._pipeline.get_config()
        config.max_new_tokens = spec.max_new_tokens
        config.apply_chat_template = False
        config.do_sample = spec.temperature > 0
        if spec.temperature > 0:
            config.temperature = spec.temperature
        if spec.speculative:
            config.num_assistant_tokens = spec.gamma
        for name, value in self._drafting.settings.items():
            setattr(config, name, value)
        return config

    def _render(self, prompt: Prompt) -> Rendered:
        tokenizer = self._tokenizer

        def template(messages: list[dict[str, str]]) -> str:
            text: str = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
            return text

        def encode(text: str, special: bool) -> Sequence[int]:
            encoded = tokenizer.encode(text, add_special_tokens=special)
            ids: list[int] = encoded.input_ids.data[0].tolist()
            return ids

        render = template_ids(template if tokenizer.chat_template else None, encode)
        return rendered(self.spec.target, prompt, render)

    def prompt_hash(self, prompt: Prompt) -> str:
        """See `Engine.prompt_hash`."""
        return self._prompts[prompt.id].digest

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Completion]:
        """See `Engine.answer`."""
        yield from (self._prompts.refusal(p) for p in prompts if not self._prompts.fits(p))
        fitting = [p for p in prompts if self._prompts.fits(p)]
        width = self.spec.concurrency
        for start in range(0, len(fitting), width):
            yield from self._answer_together(fitting[start : start + width])

    def _answer_together(self, prompts: Sequence[Prompt]) -> Iterator[Completion]:
        spec = self.spec
        inputs, configs = [], []
        for prompt in prompts:
            ids = np.array([self._prompts[prompt.id].ids], dtype=np.int64)
            inputs.append(self._openvino.Tensor(ids))
            config = (
                self._genai.GenerationConfig(self._config) if spec.temperature else self._config
            )
            if spec.temperature:
                config.rng_seed = seed_of(spec, prompt, 32)
            configs.append(config)
        begin = time.perf_counter()
        try:
            results = self._pipeline.generate(inputs, configs)
        except RuntimeError as error:
            raise DraftproofError(f"arm {spec.name!r}: {last_line(error)}") from error
        seconds = time.perf_counter() - begin
        speculation = _speculation(spec, results[0], len(prompts)) if spec.speculative else None
        if speculation is not None:
            self._totals += Counters(speculation.rounds, speculation.drafted, speculation.accepted)
        for prompt, result in zip(prompts, results, strict=True):
            tokens = tuple(result.m_generation_ids[0])
            yield Completion(
                arm=spec.name,
                id=prompt.id,
                text=self._tokenizer.decode(list(tokens), skip_special_tokens=True),
                finish_reason=_FINISHED.get(result.finish_reasons[0].name, "unknown"),
                token_ids=tokens,
                channels=TEXT_CHANNELS,
                prompt_hash=self.prompt_hash(prompt),
                # counts of answers that were batched cannot be told apart
                speculation=speculation if len(prompts) == 1 else None,
                seconds=seconds / len(prompts),
            )

    def proof(self) -> Proof | None:
        """See `Engine.proof`."""
        if not self.spec.speculative:
            return None
        return Proof(state=ProofState.COUNTED, source="perf metrics", counters=self._totals)

    def fingerprint(self) -> Fingerprint:
        """See `Engine.fingerprint`."""
        spec = self.spec
        return Fingerprint(
            engine="openvino",
            promise="L2" if spec.speculative else None,
            target=fingerprint(spec.target),
            draft=fingerprint(drafts) if (drafts := self._drafting.directory) else None,
            versions={
                "openvino": self._openvino.__version__,
                "openvino_genai": self._genai.__version__,
            },
            details={
                "properties": {k: str(v) for k, v in _properties(spec).items()},
                "concurrency": spec.concurrency,
            },
        )

    def close(self) -> None:
        """See `Engine.close`: the pipeline ends with this object."""


def _properties(spec: ArmSpec) -> dict[str, object]:
    precision = _PRECISION[spec.dtype]
    if precision is None and spec.device in {"auto", "cpu"}:
        precision = "f32"
    hint = {"INFERENCE_PRECISION_HINT": precision} if precision else {}
    return {**hint, **spec.properties}


def _speculation(spec: ArmSpec, result: Any, answers: int) -> Speculation:
    """Read what the pipeline counted for `answers` prompts that it answered together."""
    emitted = [int(n) for n in result.perf_metrics.raw_metrics.m_batch_sizes]
    metrics = result.extended_perf_metrics
    if metrics is None:
        accepted = sum(n - answers for n in emitted if n > answers)
        # a round emits one token that was not drafted, the prompt's own step is none
        rounds = max(sum(emitted) - answers - accepted, 0)
        return Speculation(
            rounds=rounds, drafted=accepted, accepted=accepted, drafted_at_least=True
        )
    drafted, accepted = metrics.get_num_draft_tokens(), metrics.get_num_accepted_tokens()
    histogram = [0] * (spec.gamma + 1)
    # the prompt's own step is no round, and the library leaves out the last
    accepted_by_round = [n - 1 for n in emitted[1:-1]]
    if answers == 1 and sum(accepted_by_round) == accepted:
        for count in accepted_by_round:
            histogram[count] += 1
        return Speculation(
            rounds=len(accepted_by_round),
            drafted=drafted,
            accepted=accepted,
            histogram=tuple(histogram),
        )
    return Speculation(rounds=-(-drafted // spec.gamma), drafted=drafted, accepted=accepted)
