"""vLLM inside this process: plain, with a draft model, n-grams, suffixes or trained heads."""

from __future__ import annotations

import importlib
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from draftproof.decoding.pretrained import chat_tokens
from draftproof.lab.models import resolve
from draftproof.records import (
    TEXT_CHANNELS,
    Completion,
    DraftproofError,
    Fingerprint,
    Prompt,
    Proof,
)
from draftproof.stacks import models
from draftproof.stacks.base import PromptStore, rendered, require_same_vocabulary, seed_of
from draftproof.stacks.spec import ArmSpec
from draftproof.stacks.vllm.config import engine_arguments, speculative_config
from draftproof.stacks.vllm.counters import EngineCounters
from draftproof.stacks.vllm.process import attended, engine_processes, shut_down, starting
from draftproof.stacks.weights import heads_of

_FINISHED = {"stop": "stop", "length": "length"}
_LOSSY = frozenset({"synthetic", "fly"})
_QUIET = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
"""Environment of the library before it is imported, where its user has not set it."""


class VLLMEngine:
    """Answers `concurrency` prompts at a time through ``vllm.LLM``, batched by its scheduler.

    Prompts are rendered here with the model's own tokenizer and chat template and handed over as
    token ids. Drafters: a draft model, ``prompt_lookup`` (vLLM's ngram; options ``max_ngram``, 2,
    and ``min_ngram``, 1), ``suffix``, and ``medusa``, ``eagle`` and ``eagle3`` (option ``heads``,
    a checkpoint in vLLM's format). Rules: ``exact`` (vLLM's standard), ``block``, and for
    controls the lossy ``synthetic`` and ``fly``. Other options go on under vLLM's names;
    ``properties`` are engine arguments.

    The engine computes in a process of its own, which ends with this object. ``ready_timeout`` is
    how long it may take to start, ``timeout`` how long one of its steps.

    Activation is read from vLLM's counters of every answer where the version has them, else from
    its totals, which all engines of a process share: ask one arm after the other.
    """

    def __init__(self, spec: ArmSpec) -> None:
        self.spec = spec
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        try:
            self._vllm = importlib.import_module("vllm")
        except ModuleNotFoundError:
            raise
        except ImportError as error:
            raise DraftproofError(
                f"arm {spec.name!r}: vllm is installed but cannot be imported: {error}"
            ) from error
        self._llm: Any = None
        self._config: Any = None
        self._speculative: dict[str, object] | None = None
        self._processes: frozenset[Any] = frozenset()
        self._prompts: PromptStore
        self._asked = 0
        self._finalizer: weakref.finalize[..., Any] | None = None
        self._counters = EngineCounters()

    def open(self, prompts: Sequence[Prompt]) -> None:
        """See `Engine.open`."""
        spec = self.spec
        arguments = engine_arguments(spec, resolve)
        self._speculative = speculative_config(spec, resolve)
        others = engine_processes()
        with starting(spec.name, spec.ready_timeout, lambda: engine_processes() - others):
            self._llm = self._vllm.LLM(**self._where_known(arguments))
        self._processes = engine_processes() - others
        self._finalizer = weakref.finalize(self, shut_down, self._llm)
        self._config = self._llm.llm_engine.vllm_config
        self._require_what_was_declared()
        tokenizer = self._llm.get_tokenizer()
        if spec.draft is not None:
            self._require_same_vocabulary(tokenizer, spec.draft)
        render = partial(chat_tokens, tokenizer)
        self._prompts = PromptStore(
            spec,
            prompts,
            lambda p: rendered(spec.target, p, render),
            self._config.model_config.max_model_len,
        )

    def _where_known(self, arguments: dict[str, object]) -> dict[str, object]:
        """Add what not every version takes, where this one does."""
        known = getattr(self._vllm.EngineArgs, "__dataclass_fields__", {})
        wanted: dict[str, object] = {"use_tqdm_on_load": False}
        if self._speculative is not None:
            wanted["per_request_spec_decode_metrics"] = "summary"
        return {**{k: v for k, v in wanted.items() if k in known}, **arguments}

    def _require_what_was_declared(self) -> None:
        spec = self.spec
        device = str(self._config.device_config.device_type)
        if spec.device not in {"auto", device}:
            raise DraftproofError(
                f"arm {spec.name!r}: device {spec.device}: this build of vLLM computes on {device}"
            )
        if spec.rule == "block" and not self._second_runner:
            raise DraftproofError(
                f"arm {spec.name!r}: rule block: vLLM {self._vllm.__version__} takes the setting "
                "and verifies token by token all the same, because its second model runner is "
                "not in use here (it needs Triton); leave the rule out, or use a build that has it"
            )

    @property
    def _second_runner(self) -> bool:
        return bool(getattr(self._config, "use_v2_model_runner", False))

    def _require_same_vocabulary(self, tokenizer: Any, draft: str) -> None:
        if self.spec.drafter_options.get("use_heterogeneous_vocab"):
            return
        import transformers  # noqa: PLC0415 - vLLM has it

        try:
            other = transformers.AutoTokenizer.from_pretrained(
                resolve(draft), trust_remote_code=self.spec.trust_remote_code
            )
        except (OSError, ValueError) as error:
            raise DraftproofError(f"{draft}: no tokenizer can be read from it: {error}") from error
        require_same_vocabulary(self.spec.target, draft, tokenizer.get_vocab(), other.get_vocab())

    def prompt_hash(self, prompt: Prompt) -> str:
        """See `Engine.prompt_hash`."""
        return self._prompts[prompt.id].digest

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Completion]:
        """See `Engine.answer`.

        Raises:
            DraftproofError: The engine failed, or stood still for longer than ``timeout``.
        """
        engine = self._llm.llm_engine
        yield from (self._prompts.refusal(p) for p in prompts if not self._prompts.fits(p))
        fitting = [p for p in prompts if self._prompts.fits(p)]
        waiting: dict[str, Prompt] = {}
        try:
            self._attended("reading counters", lambda: self._counters.read(self._llm))
            for prompt in fitting:
                # ids of requests are not used twice in the life of an engine
                self._asked += 1
                waiting[f"{self._asked}"] = prompt
            self._attended("taking prompts", lambda: self._hand_over(waiting))
            while waiting:
                for output in self._attended("a step", engine.step):
                    if output.finished:
                        yield self._completion(waiting.pop(output.request_id), output)
            self._attended("reading counters", lambda: self._counters.read(self._llm))
        finally:
            if waiting:
                self._forget(list(waiting))

    def _attended(self, doing: str, call: Callable[[], Any]) -> Any:
        return attended(self.spec.name, doing, self.spec.timeout, self._processes, call)

    def _hand_over(self, waiting: Mapping[str, Prompt]) -> None:
        for name, prompt in waiting.items():
            ids = {"prompt_token_ids": list(self._prompts[prompt.id].ids)}
            self._llm.llm_engine.add_request(name, ids, self._sampling(prompt))

    def _forget(self, names: list[str]) -> None:
        """Abort requests whose answers nobody waits for, if the engine still runs."""
        if all(process.is_alive() for process in self._processes):
            self._llm.llm_engine.abort_request(names)

    def _sampling(self, prompt: Prompt) -> Any:
        spec = self.spec
        only_once = importlib.import_module("vllm.sampling_params").RequestOutputKind.FINAL_ONLY
        seed: dict[str, object] = {}
        if spec.temperature > 0:
            seed["seed"] = seed_of(spec, prompt, 32)
        return self._vllm.SamplingParams(
            temperature=spec.temperature,
            max_tokens=spec.max_new_tokens,
            output_kind=only_once,
            **seed,
        )

    def _completion(self, prompt: Prompt, output: Any) -> Completion:
        (answer,) = output.outputs
        speculation = self._counters.of_answer(answer) if self.spec.speculative else None
        times = output.metrics
        return Completion(
            arm=self.spec.name,
            id=prompt.id,
            text=answer.text,
            finish_reason=_FINISHED.get(answer.finish_reason, "unknown"),
            token_ids=tuple(answer.token_ids),
            channels=TEXT_CHANNELS,
            prompt_hash=self.prompt_hash(prompt),
            speculation=speculation,
            # from its first step to its last token; how long it waited its turn is no part of it
            seconds=times.last_token_ts - times.scheduled_ts if times is not None else None,
        )

    def proof(self) -> Proof:
        """See `Engine.proof`: the engine's totals."""
        return self._counters.proof()

    def fingerprint(self) -> Fingerprint:
        """See `Engine.fingerprint`."""
        spec, config = self.spec, self._config
        drafting = heads_of(spec)
        return Fingerprint(
            engine="vllm",
            promise=self._promise(),
            target=models.directory_fingerprint(spec.target),
            draft=models.directory_fingerprint(drafting) if drafting else None,
            dtype=str(config.model_config.dtype).removeprefix("torch."),
            device=str(config.device_config.device_type),
            versions={"version": self._vllm.__version__, **models.environment()},
            details={
                "quantization": config.model_config.quantization,
                "cache_dtype": str(config.cache_config.cache_dtype),
                "prefix_caching": bool(config.cache_config.enable_prefix_caching),
                "runner": "v2" if self._second_runner else "v1",
                "speculative_config": self._speculative,
                "properties": {k: str(v) for k, v in spec.properties.items()},
                "concurrency": spec.concurrency,
            },
        )

    def close(self) -> None:
        """See `Engine.close`: ends the engine's processes."""
        if self._finalizer is not None:
            self._finalizer()

    def _promise(self) -> str | None:
        if not self.spec.speculative:
            return None
        return "L0" if self.spec.rule in _LOSSY else "L2"
