"""Our own decoder as an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.loop import Batch
from draftproof.decoding.mutants import MUTANTS
from draftproof.decoding.noise_bound import noise_bound
from draftproof.decoding.rules import make_rule
from draftproof.decoding.session import Session, completion_of, seed_of
from draftproof.records import Completion, DraftproofError, Fingerprint, Prompt
from draftproof.records.rules import PromiseLevel
from draftproof.stacks import models
from draftproof.stacks.drafting import Shaper, drafter_of
from draftproof.stacks.spec import ArmSpec
from draftproof.stacks.weights import heads_of

_SAMPLE = 8
_SAMPLE_TOKENS = 32


class LocalEngine:
    """Answers with `draftproof.decoding`, batched, with or without a draft."""

    def __init__(self, spec: ArmSpec) -> None:
        self.spec = spec
        self._target: models.Loaded
        self._draft: models.Loaded | None = None
        self._rendered: dict[str, models.Rendered] = {}
        self._capacity = self._gamma = 0
        self._shaper: Shaper

    def open(self, prompts: Sequence[Prompt]) -> None:
        """See `Engine.open`."""
        spec = self.spec
        options = (spec.dtype, spec.device, spec.trust_remote_code)
        self._target = models.load(spec.target, *options)
        if spec.draft is not None:
            self._draft = models.load(spec.draft, *options)
            if spec.drafter != "intersection":
                models.require_same_vocabulary(self._target, self._draft, padded=True)
        try:
            self._rule = make_rule(spec.rule, spec.rule_options)
        except ValueError as error:
            raise DraftproofError(f"arm {spec.name!r}: {error}") from error
        if spec.mutant is not None and spec.mutant not in MUTANTS:
            raise DraftproofError(
                f"arm {spec.name!r}: no mutant is called {spec.mutant!r}; "
                f"there are {', '.join(sorted(MUTANTS))}"
            )
        self._session = Session(self._target, self._draft, self._rule)
        drafter = drafter_of(spec, self._target, self._draft)
        self._gamma = max(spec.gamma, drafter.gamma if drafter else 0)
        self._shaper = Shaper(spec, self._target)
        self._rendered = {p.id: models.render_known(self._target, p) for p in prompts}
        # one capacity for every arm of a plan, whichever prompts are left to answer
        fitting = [len(r.ids) for r in self._rendered.values() if not self._too_long(r)]
        self._capacity = max(fitting, default=1) + self._room()

    def _room(self) -> int:
        return self.spec.max_new_tokens + self._gamma + 1

    def _too_long(self, rendered: models.Rendered) -> bool:
        limit = self._target.model.max_positions
        return limit is not None and len(rendered.ids) + self._room() > limit

    def prompt_hash(self, prompt: Prompt) -> str:
        """See `Engine.prompt_hash`."""
        return self._rendered[prompt.id].digest

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Completion]:
        """See `Engine.answer`."""
        spec = self.spec
        requests = []
        for prompt in prompts:
            rendered = self._rendered[prompt.id]
            if self._too_long(rendered):
                yield self._refused(prompt, len(rendered.ids))
                continue
            requests.append(
                Request(
                    id=prompt.id,
                    prompt=rendered.ids,
                    max_new_tokens=spec.max_new_tokens,
                    seed=seed_of(spec.seed, prompt.id),
                    draft_prompt=self._draft_prompt(prompt),
                    shaping=self._shaper.shaping(len(rendered.ids)),
                )
            )
        for answer in decode(
            self._target.model,
            requests,
            Settings(
                eos=self._target.eos,
                drafter=drafter_of(spec, self._target, self._draft),
                rule=self._rule,
                temperature=spec.temperature,
                batch=spec.batch,
                capacity=None if self._rule.facts.changes_target else self._capacity,
                width=self._gamma + 1 if spec.exactness == "same_shape" else None,
                exactness=spec.exactness,
                noise_bound=self._noise_bound(requests) if spec.exactness == "recheck" else 0.0,
            ),
            batch_type=MUTANTS[spec.mutant] if spec.mutant else Batch,
        ):
            yield completion_of(
                answer,
                self._target,
                arm=spec.name,
                speculative=spec.speculative,
                prompt_hash=self._rendered[answer.id].digest,
            )

    def _noise_bound(self, requests: Sequence[Request]) -> float:
        """Measure how near two tokens must lie to be decided again, on some plain answers."""
        sample = [replace(r, max_new_tokens=min(r.max_new_tokens, _SAMPLE_TOKENS))
                  for r in requests[:_SAMPLE]]  # fmt: skip
        asked = {r.id: r.prompt for r in sample}
        target = self._target.model
        answers = decode(target, sample, Settings(eos=self._target.eos, batch=len(sample) or 1))
        texts = [(asked[a.id], a.tokens) for a in answers]
        return noise_bound(target, texts, self._gamma + 1)

    def _draft_prompt(self, prompt: Prompt) -> tuple[int, ...] | None:
        """Return the prompt in the draft's own chat template, where the rule needs that."""
        if self._draft is None or not self._session.draft_has_own_prompt:
            return None
        return models.render_known(self._draft, prompt).ids

    def _refused(self, prompt: Prompt, tokens: int) -> Completion:
        return Completion(
            arm=self.spec.name,
            id=prompt.id,
            text="",
            finish_reason="error",
            prompt_hash=self._rendered[prompt.id].digest,
            error=(
                f"the prompt has {tokens} tokens and the answer needs up to {self._room()}; "
                f"{self.spec.target} holds {self._target.model.max_positions}"
            ),
        )

    def _promise(self) -> str | None:
        if not self.spec.speculative:
            return None
        bits = self.spec.exactness == "same_shape" or self._target.model.shape_free
        if self._rule.facts.promise is PromiseLevel.GREEDY and bits:
            return PromiseLevel.BITS.value
        return self._rule.facts.promise.value

    def proof(self) -> None:
        """See `Engine.proof`: every answer has its counters."""

    def fingerprint(self) -> Fingerprint:
        """See `Engine.fingerprint`."""
        heads = heads_of(self.spec)
        heads_alone = models.directory_fingerprint(heads) if heads else None
        return Fingerprint(
            engine="local",
            promise=self._promise(),
            target=self._target.fingerprint,
            draft=self._draft.fingerprint if self._draft else heads_alone,
            versions=models.environment(),
            details={"forward": self._target.model.forward_kind},
        )

    def close(self) -> None:
        """See `Engine.close`: models stay loaded for other arms."""
