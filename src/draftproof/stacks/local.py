"""Our own decoder as an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from draftproof.decoding import Request, Settings, decode
from draftproof.decoding.loop import Batch
from draftproof.decoding.mutants import MUTANTS
from draftproof.decoding.noise_bound import noise_bound
from draftproof.decoding.session import DoesNotFitError, PromptIds, Session, completion_of
from draftproof.records import Completion, DraftproofError, Fingerprint, Prompt
from draftproof.records.rules import PromiseLevel
from draftproof.stacks import models
from draftproof.stacks.base import PromptStore
from draftproof.stacks.drafting import drafter_of, options_of
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
        self._session: Session
        self._rendered: PromptStore
        self._capacity: int | None = None
        self._gamma = 0

    def open(self, prompts: Sequence[Prompt]) -> None:
        """See `Engine.open`."""
        spec = self.spec
        options = (spec.dtype, spec.device, spec.trust_remote_code)
        self._target = models.load(spec.target, *options)
        if spec.draft is not None:
            self._draft = models.load(spec.draft, *options)
            if spec.drafter != "intersection":
                models.require_same_vocabulary(self._target, self._draft, padded=True)
        drafter = drafter_of(spec, self._target, self._draft)
        self._gamma = max(spec.gamma, drafter.gamma if drafter else 0)
        self._options = options_of(spec)
        try:
            self._session = Session(
                self._target, drafter, draft=self._draft, rule=spec.rule, spare=self._gamma + 1,
                rule_options=spec.rule_options,
                ignore_generation_config=spec.ignore_generation_config,
            )  # fmt: skip
        except DraftproofError as error:
            raise DraftproofError(f"arm {spec.name!r}: {error}") from error
        if spec.mutant is not None and spec.mutant not in MUTANTS:
            raise DraftproofError(
                f"arm {spec.name!r}: no mutant is called {spec.mutant!r}; "
                f"there are {', '.join(sorted(MUTANTS))}"
            )
        render = partial(models.render_known, self._target)
        self._rendered = PromptStore(spec, prompts, render, None)
        # one capacity for every arm of a plan, whichever prompts are left to answer
        room, most = self._session.capacity, spec.max_new_tokens + self._gamma + 1
        lengths = [len(self._rendered[p.id].ids) for p in prompts]
        fitting = [n for n in lengths if room is None or n + most <= room]
        if not self._session.rule.facts.changes_target:
            self._capacity = max(fitting, default=1) + most

    def prompt_hash(self, prompt: Prompt) -> str:
        """See `Engine.prompt_hash`."""
        return self._rendered[prompt.id].digest

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Completion]:
        """See `Engine.answer`."""
        spec, session = self.spec, self._session
        requests = []
        for prompt in prompts:
            try:
                requests.append(session.request(prompt.id, self._ids(prompt), self._options))
            except DoesNotFitError as error:
                yield self._rendered.refusal(prompt, str(error))
        settings = session.settings(
            self._options,
            batch=spec.batch,
            capacity=self._capacity,
            width=self._gamma + 1 if spec.exactness == "same_shape" else None,
            exactness=spec.exactness,
            noise_bound=self._noise_bound(requests) if spec.exactness == "recheck" else 0.0,
        )
        batch_type = MUTANTS[spec.mutant] if spec.mutant else Batch
        for answer in session.decode(requests, settings, batch_type):
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

    def _ids(self, prompt: Prompt) -> PromptIds:
        """Return a prompt as target and draft are fed it."""
        ids = self._rendered[prompt.id].ids
        if self._draft is None or not self._session.draft_has_own_prompt:
            return PromptIds(ids)
        return PromptIds(ids, models.render_known(self._draft, prompt).ids)

    def _promise(self) -> str | None:
        if not self.spec.speculative:
            return None
        bits = self.spec.exactness == "same_shape" or self._target.model.shape_free
        if self._session.rule.facts.promise is PromiseLevel.GREEDY and bits:
            return PromiseLevel.BITS.value
        return self._session.rule.facts.promise.value

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
