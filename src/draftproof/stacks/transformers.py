"""transformers' own ``generate``: plain, with an assistant model, or with its own drafters."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from draftproof.decoding.checkpoint_options import checkpoint_options
from draftproof.records import (
    TEXT_CHANNELS,
    Completion,
    DraftproofError,
    Fingerprint,
    Prompt,
    Speculation,
)
from draftproof.stacks import models
from draftproof.stacks.base import PromptStore, last_line, seed_of
from draftproof.stacks.spec import ArmSpec

# a draft length that is the same in every round and remembers nothing between answers
_CONSTANT_LENGTH: dict[str, object] = {
    "num_assistant_tokens": None,
    "num_assistant_tokens_schedule": "constant",
    "assistant_confidence_threshold": 0.0,
}


class _Counter:
    """Stands between ``generate`` and its candidate generator and counts what passes."""

    def __init__(self, generator: Any, gamma: int) -> None:
        self._generator = generator
        self._proposed = 0
        self.rounds = self.drafted = self.accepted = 0
        self.histogram = [0] * (gamma + 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def get_candidates(self, input_ids: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        candidates, logits = self._generator.get_candidates(input_ids, *args, **kwargs)
        self._proposed = candidates.shape[1] - input_ids.shape[1]
        return candidates, logits

    def update_candidate_strategy(
        self, input_ids: torch.Tensor, scores: torch.Tensor, num_matches: int
    ) -> None:
        matched = min(int(num_matches), self._proposed)
        if self._proposed:
            self.rounds += 1
            self.drafted += self._proposed
            self.accepted += matched
            self.histogram[matched] += 1
        self._generator.update_candidate_strategy(input_ids, scores, num_matches)


class TransformersEngine:
    """Answers one prompt at a time with ``model.generate``.

    Drafters are a draft model, ``prompt_lookup`` (option ``max_ngram``, 2 by default) and
    ``early_exit`` (option ``layers``, how many of its own the target drafts with). The rule
    ``ensemble`` (option ``weight``, the target's share) is the library's lossy
    ``assistant_ensemble_weight``.

    The library returns no acceptance counts. They are read where it keeps them itself: at the
    candidate generator, which is given the number of matches of every round.
    """

    def __init__(self, spec: ArmSpec) -> None:
        self.spec = spec
        self._target: models.LoadedModule
        self._draft: models.LoadedModule | None = None
        self._prompts: PromptStore

    def open(self, prompts: Sequence[Prompt]) -> None:
        """See `Engine.open`."""
        spec = self.spec
        options = (spec.dtype, spec.device, spec.trust_remote_code)
        self._target = models.load_module(spec.target, *options)
        if spec.draft is not None:
            self._draft = models.load_module(spec.draft, *options)
            models.require_same_vocabulary(self._target, self._draft)
        self._options = speculative_options(spec, self._target.module)
        self._prompts = PromptStore(
            spec,
            prompts,
            lambda p: models.render_known(self._target, p),
            self._target.max_positions,
        )

    def prompt_hash(self, prompt: Prompt) -> str:
        """See `Engine.prompt_hash`."""
        return self._prompts[prompt.id].digest

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Completion]:
        """See `Engine.answer`."""
        for prompt in prompts:
            fits = self._prompts.fits(prompt)
            yield self._answer(prompt) if fits else self._prompts.refusal(prompt)

    def _answer(self, prompt: Prompt) -> Completion:
        spec, module = self.spec, self._target.module
        rendered = self._prompts[prompt.id]
        ids = torch.tensor([rendered.ids], device=module.device)
        options: dict[str, object] = {
            **self._options,
            "max_new_tokens": spec.max_new_tokens,
            "do_sample": spec.temperature > 0,
            "eos_token_id": sorted(self._target.eos),
            "pad_token_id": min(self._target.eos, default=0),
            "attention_mask": torch.ones_like(ids),
        }
        if self._draft is not None:
            options["assistant_model"] = self._draft.module
        if spec.temperature > 0:
            options |= {"temperature": spec.temperature, "top_k": 0, "top_p": 1.0}
            torch.manual_seed(seed_of(spec, prompt, 60))
        start = time.perf_counter()
        try:
            with torch.inference_mode(), models.quiet(), self._asked(), self._counted() as counters:
                tokens = module.generate(ids, **options)[0, ids.shape[1] :].tolist()
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            # a cache that cannot be rolled back, for one: the library's own limit, not the screen's
            return Completion(
                arm=spec.name, id=prompt.id, text="", finish_reason="error",
                prompt_hash=rendered.digest, error=f"generate fails: {last_line(error):.300}",
            )  # fmt: skip
        seconds = time.perf_counter() - start
        ended = bool(tokens) and tokens[-1] in self._target.eos
        answer_tokens = tokens[:-1] if ended else tokens
        return Completion(
            arm=spec.name,
            id=prompt.id,
            text=self._target.tokenizer.decode(answer_tokens, skip_special_tokens=True),
            finish_reason="stop" if ended else "length",
            token_ids=tuple(tokens),
            channels=TEXT_CHANNELS,
            prompt_hash=rendered.digest,
            speculation=_speculation(counters) if spec.speculative else None,
            seconds=seconds,
        )

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Leave of the checkpoint's own generation_config what the local decoder serves too."""
        module = self._target.module
        before = module.generation_config
        own = {} if self.spec.ignore_generation_config else checkpoint_options(module)
        module.generation_config = GenerationConfig(**own)
        try:
            yield
        finally:
            module.generation_config = before

    @contextmanager
    def _counted(self) -> Iterator[list[_Counter]]:
        """Count what every candidate generator made meanwhile proposes and keeps."""
        counters: list[_Counter] = []
        if not self.spec.speculative:
            yield counters
            return
        module = self._target.module
        # with early exit the target is its own assistant
        settings = (self._draft or self._target).module.generation_config
        make = module._get_candidate_generator

        def counted(*args: Any, **kwargs: Any) -> _Counter:
            counters.append(_Counter(make(*args, **kwargs), self.spec.gamma))
            return counters[-1]

        before = {name: getattr(settings, name) for name in _CONSTANT_LENGTH}
        wanted = {**_CONSTANT_LENGTH, "num_assistant_tokens": self.spec.gamma}
        for name, value in wanted.items():
            setattr(settings, name, value)
        module._get_candidate_generator = counted
        try:
            yield counters
        finally:
            del module._get_candidate_generator
            for name, value in before.items():
                setattr(settings, name, value)

    def proof(self) -> None:
        """See `Engine.proof`: every answer has its counters."""

    def fingerprint(self) -> Fingerprint:
        """See `Engine.fingerprint`."""
        return Fingerprint(
            engine="transformers",
            promise=self._promise(),
            target=self._target.fingerprint,
            draft=self._draft.fingerprint if self._draft else None,
            versions=models.environment(),
        )

    def close(self) -> None:
        """See `Engine.close`: models stay loaded for other arms."""

    def _promise(self) -> str | None:
        if not self.spec.speculative:
            return None
        return "L2" if self.spec.rule == "exact" else "L0"


def speculative_options(spec: ArmSpec, module: Any) -> dict[str, object]:
    """Return the arguments of ``generate`` that an arm's drafter and rule mean.

    Raises:
        DraftproofError: An option that they do not take, or a value out of range.
    """
    if spec.drafter == "early_exit":
        most = module.config.num_hidden_layers - 1
        # plans of 0.1.0 call it layer
        options = {"layers" if k == "layer" else k: v for k, v in spec.drafter_options.items()}
        layers = _only(spec, options, "layers", None)
        if type(layers) is not int or not 1 <= layers <= most:
            raise DraftproofError(
                f"arm {spec.name!r}: drafter_options.layers of early_exit is a whole number from 1 "
                f"to {most} for {spec.target}, got {layers!r}"
            )
        return {"assistant_early_exit": layers}
    if spec.drafter == "prompt_lookup":
        longest = _only(spec, spec.drafter_options, "max_ngram", 2)
        if type(longest) is not int or longest < 1:
            raise DraftproofError(
                f"arm {spec.name!r}: drafter_options.max_ngram is a whole number from 1 up, "
                f"got {longest!r}"
            )
        return {"prompt_lookup_num_tokens": spec.gamma, "max_matching_ngram_size": longest}
    if spec.rule == "ensemble":
        weight = _only(spec, spec.rule_options, "weight", 0.5)
        if not isinstance(weight, int | float) or not 0 < weight < 1:
            raise DraftproofError(
                f"arm {spec.name!r}: rule_options.weight lies between 0 and 1, both excluded, "
                f"got {weight!r}"
            )
        return {"assistant_ensemble_weight": float(weight)}
    return {}


def _only(spec: ArmSpec, options: Mapping[str, object], name: str, default: Any) -> Any:
    """Return the one option that there is."""
    unknown = sorted(options.keys() - {name})
    if unknown:
        raise DraftproofError(f"arm {spec.name!r}: no option {unknown[0]!r} here, only {name!r}")
    return options.get(name, default)


def _speculation(counters: Sequence[_Counter]) -> Speculation:
    columns = zip(*(c.histogram for c in counters), strict=True)
    return Speculation(
        rounds=sum(c.rounds for c in counters),
        drafted=sum(c.drafted for c in counters),
        accepted=sum(c.accepted for c in counters),
        histogram=tuple(sum(column) for column in columns),
    )
