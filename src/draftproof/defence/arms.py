"""The arms of a study of defences, on our own decoder: who answers, and how fast.

Every arm runs through one decoder with one set of caches, so that times compare. A SafeDecoding
arm decodes in two parts, as published: the beginning with the expert, then the target alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from draftproof.decoding import Answer, CausalModel, Request
from draftproof.decoding.drafters import DraftModel
from draftproof.decoding.growing_text import GrowingText
from draftproof.decoding.options import Options
from draftproof.decoding.rules import Exact, SafeDecoding, SafetyAware
from draftproof.decoding.rules.timeline import windows
from draftproof.decoding.session import PromptIds, Session, completion_of
from draftproof.defence.records import DefenceTrace, DefenceWindow
from draftproof.defence.study import Option, Study, StudyArm
from draftproof.lab.models import ADAPTERS, adapter_path, resolve
from draftproof.records import Completion, DraftproofError, Prompt
from draftproof.stacks import models

Kind = Literal["target", "safe_decoding", "ssd", "expert", "speculative"]
EXTRA = "this arm needs the package peft; run: pip install 'draftproof[adapters]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Defence:
    """One arm.

    Attributes:
        name: What the arm is called.
        kind: ``target`` and ``expert`` decode plainly, ``speculative`` drafts with the expert and
            keeps the target's answers, in ``ssd`` and ``safe_decoding`` it changes the target
            distribution.
        target: Directory, hub name or ``lab:NAME``.
        expert: The same; SafeDecoding's may be the directory of an adapter of the target.
        options: Parameters of the rule.
        gamma: Tokens drafted a round.
        max_new_tokens: Most tokens of an answer.
        batch: Rows decoded together.
        dtype: As in a plan.
        device: As in a plan.
    """

    name: str
    kind: Kind
    target: str
    expert: str
    options: Mapping[str, Option] = field(default_factory=dict)
    gamma: int = 3
    max_new_tokens: int = 160
    batch: int = 16
    dtype: str = "auto"
    device: str = "auto"


@lru_cache(maxsize=4)
def load_adapted(target: str, adapter: str, dtype: str, device: str) -> CausalModel:
    """Return a copy of the target with an adapter merged into it.

    Raises:
        DraftproofError: PEFT is not installed, or the adapter does not fit the target.
    """
    try:
        from peft import PeftModel  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise DraftproofError(f"{adapter}: {EXTRA}") from error
    import transformers  # noqa: PLC0415 - loaded with the models

    plain = models.load(target, dtype, device)
    module = transformers.AutoModelForCausalLM.from_pretrained(
        resolve(target), dtype=plain.model.dtype, use_safetensors=True
    ).to(plain.model.device)
    try:
        adapted = PeftModel.from_pretrained(module, str(_place(adapter)))
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DraftproofError(f"{adapter}: no adapter of {target}: {first}") from error
    return CausalModel(adapted.merge_and_unload().eval(), f"{target} with {adapter}")


class DefendedEngine:
    """Answers prompts as one arm.

    Raises:
        DraftproofError: A model cannot be loaded, the vocabularies differ, the expert is the
            target, or an option does not exist.
    """

    def __init__(self, arm: Defence) -> None:
        self.arm = arm
        options = (arm.dtype, arm.device)
        self._own = models.load(arm.expert if arm.kind == "expert" else arm.target, *options)
        self._expert: CausalModel | None = None
        self._template = self._own
        if arm.kind in {"ssd", "speculative", "safe_decoding"}:
            if _place(arm.expert) == _place(arm.target):
                raise DraftproofError(
                    f"arm {arm.name!r}: the expert is the target; name another model"
                )
            self._expert, self._template = self._load_expert(options)
        rule = {"ssd": "safety_aware", "safe_decoding": "safe_decoding"}.get(arm.kind, "exact")
        gamma = 1 if arm.kind == "safe_decoding" else arm.gamma
        drafter = DraftModel(self._expert, gamma) if self._expert else None
        try:
            self._session = Session(self._own, drafter, rule=rule, rule_options=arm.options)
        except DraftproofError as error:
            raise DraftproofError(f"arm {arm.name!r}: {error}") from error
        self._rule = self._session.rule
        self._options = Options(max_new_tokens=arm.max_new_tokens)

    @classmethod
    def of_study(cls, study: Study, arm: StudyArm) -> Self:
        """Return what answers as an arm of a study."""
        return cls(
            Defence(
                name=arm.name,
                kind=arm.kind,
                target=study.target,
                expert=arm.expert or study.expert,
                options=arm.options,
                gamma=study.gamma,
                max_new_tokens=study.max_new_tokens,
                batch=study.batch,
                dtype=study.dtype,
                device=study.device,
            )
        )

    def _load_expert(self, options: tuple[str, str]) -> tuple[CausalModel, models.Loaded]:
        arm = self.arm
        if arm.kind == "safe_decoding" and is_adapter(arm.expert):
            return load_adapted(arm.target, arm.expert, *options), self._own
        expert = models.load(arm.expert, *options)
        models.require_same_vocabulary(self._own, expert)
        # an expert without a template of its own reads what the target reads
        template = getattr(expert.tokenizer, "chat_template", None)
        return expert.model, expert if template else self._own

    def answer(self, prompts: Sequence[Prompt]) -> Iterator[Completion]:
        """Yield an answer to each prompt, each as soon as it is there."""
        for prompt, answer in self._answers(prompts):
            yield self._completion(prompt, answer)

    def _answers(self, prompts: Sequence[Prompt]) -> Iterator[tuple[Prompt, Answer]]:
        by_id = {p.id: p for p in prompts}
        requests = [self._request(p) for p in prompts]
        if isinstance(self._rule, SafeDecoding):
            found = self._in_two_parts(requests, self._rule)
        else:
            settings = self._session.settings(self._options, batch=self.arm.batch)
            found = self._session.decode(requests, settings)
        for answer in found:
            yield by_id[answer.id], answer

    def _in_two_parts(self, requests: Sequence[Request], rule: SafeDecoding) -> Iterator[Answer]:
        session, asked = self._session, {r.id: r for r in requests}
        settings = session.settings(self._options, batch=self.arm.batch)
        most = rule.tokens
        short = [replace(r, max_new_tokens=min(most, r.max_new_tokens)) for r in requests]
        begun: dict[str, Answer] = {}
        rest: list[Request] = []
        for answer in session.decode(short, settings):
            whole = asked[answer.id]
            left = whole.max_new_tokens - len(answer.tokens)
            if answer.finish_reason != "length" or left < 1:
                yield answer
                continue
            begun[answer.id] = answer
            text = (*whole.prompt, *answer.tokens)
            rest.append(replace(whole, prompt=text, max_new_tokens=left, draft_prompt=None))
        for answer in session.decode(rest, replace(settings, drafter=None, rule=Exact())):
            first = begun[answer.id]
            answer.modes = [*first.modes, *[2] * len(answer.tokens)]
            answer.tokens = [*first.tokens, *answer.tokens]
            answer.provenance = [*first.provenance, *answer.provenance]
            answer.rounds, answer.drafted = first.rounds, first.drafted
            answer.accepted, answer.histogram = first.accepted, first.histogram
            yield answer

    def _request(self, prompt: Prompt) -> Request:
        expert_prompt = None
        if self._rule.facts.changes_target and self._template is not self._own:
            expert_prompt = models.render(self._template, prompt).ids
        ids = PromptIds(models.render(self._own, prompt).ids, expert_prompt)
        return self._session.request(prompt.id, ids, self._options)

    def _completion(self, prompt: Prompt, answer: Answer) -> Completion:
        speculative = self._expert is not None
        completion = completion_of(
            answer, self._own, arm=self.arm.name, speculative=speculative, task=prompt.task
        )
        # in SafeDecoding's second part there is nothing to match
        if isinstance(self._rule, SafetyAware):
            return completion
        return replace(completion, matches=None)

    def trace(self, completion: Completion) -> DefenceTrace | None:
        """Return how an answer of this arm came about; None unless it kept what matched.

        A character that several tokens make up belongs to the last of them.
        """
        rule, ids = self._rule, completion.token_ids or ()
        if not isinstance(rule, SafetyAware) or len(completion.matches or "") != len(ids):
            return None
        growing = GrowingText(self._own.text_of, self._own.eos)
        growing.add(ids)
        grown = growing.rest()
        pieces = [""] * len(ids)
        for character, owner in zip(grown.text, grown.owners, strict=True):
            pieces[owner] += character
        matches = completion.matches or ""
        return DefenceTrace(
            pieces=tuple(pieces),
            modes=completion.modes or "",
            matches=matches,
            windows=tuple(
                DefenceWindow(**window._asdict())
                for window in windows(rule, (digit == "1" for digit in matches))
            ),
        )

    def seconds_a_token(self, prompts: Sequence[Prompt]) -> float:
        """Answer prompts one at a time and return wall seconds per emitted token."""
        tokens, start = 0, time.perf_counter()
        for prompt in prompts:
            for _, answer in self._answers([prompt]):
                tokens += len(answer.tokens)
        return (time.perf_counter() - start) / max(tokens, 1)

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the arm: digests of weights and templates, versions."""
        return {
            "model": self._own.fingerprint.to_json(),
            "expert": self._template.fingerprint.to_json() if self._expert else None,
            **models.environment(),
        }


def is_adapter(name: str) -> bool:
    """Return whether a name means a directory with an adapter in it."""
    return (_place(name) / "adapter_config.json").is_file()


def _place(name: str) -> Path:
    shipped = name.removeprefix("lab:")
    if shipped != name and shipped in ADAPTERS:
        return adapter_path(shipped)
    return Path(resolve(name))
