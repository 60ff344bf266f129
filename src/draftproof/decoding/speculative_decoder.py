"""The decoder in three lines: load a target and a draft, ask, read the answer."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from draftproof.decoding.drafters import head_files
from draftproof.decoding.drafters.drafter import Drafter
from draftproof.decoding.drafters.registry import Parts, make_drafter
from draftproof.decoding.generation import Generation, Part, finished
from draftproof.decoding.growing_text import GrowingText
from draftproof.decoding.model import CausalModel
from draftproof.decoding.options import Options
from draftproof.decoding.pretrained import (
    Pretrained,
    end_of_sequence,
    load_pretrained,
    require_same_vocabulary,
)
from draftproof.decoding.prompts import is_one
from draftproof.decoding.remembered import settled_once
from draftproof.decoding.session import Session
from draftproof.decoding.settings import Exactness
from draftproof.records import DraftproofError


class SpeculativeDecoder:
    """A target, perhaps with a drafter, that continues prompts.

    Not to be used by two threads at once: the drafter's caches belong to one call.

    Args:
        target: The model whose answers are wanted.
        drafter: Proposes tokens; None decodes plainly.
        exactness: See `draftproof.decoding.decode`.
        noise_bound: See `draftproof.decoding.decode`.
        width: See `draftproof.decoding.decode`.
        batch: Most prompts decoded together.
        session: What `Session` takes besides: draft, rule, rule_options and
            ignore_generation_config.

    Raises:
        DraftproofError: There is no such rule, or it needs a draft and there is none.
    """

    def __init__(
        self,
        target: Pretrained,
        drafter: Drafter | None = None,
        *,
        exactness: Exactness = "fast",
        noise_bound: float = 0.0,
        width: int | None = None,
        batch: int = 8,
        **session: Any,
    ) -> None:
        if batch < 1:
            raise DraftproofError(f"batch must be at least 1, got {batch}")
        self._batch = batch
        self._loop = {"exactness": exactness, "noise_bound": noise_bound, "width": width}
        self._session = Session(target, drafter, spare=width, **session)
        self.target, self.drafter, self.rule = target, drafter, self._session.rule

    @classmethod
    def from_pretrained(
        cls,
        target: str | Path,
        draft: str | Path | None = None,
        *,
        gamma: int = 4,
        dtype: str = "auto",
        device: str = "auto",
        trust_remote_code: bool = False,
        graphs: bool = False,
        **options: Any,
    ) -> SpeculativeDecoder:
        """Load models from directories or the hub.

        Args:
            target: Directory, hub name or ``lab:NAME`` for a model that ships.
            draft: The same of the draft model; None decodes plainly.
            gamma: Most tokens drafted a round.
            dtype: ``auto`` is float32 on a CPU and what the checkpoint says elsewhere.
            device: ``auto`` takes an accelerator if there is one.
            trust_remote_code: Run Python code that a checkpoint brings along.
            graphs: On a GPU, record the steps of Llama-shaped models as CUDA graphs.
            options: As `from_pair` takes them.

        Raises:
            DraftproofError: A model cannot be loaded, or the two have different vocabularies.
        """
        load = partial(
            load_pretrained, dtype=dtype, device=device, graphs=graphs,
            trust_remote_code=trust_remote_code,
        )  # fmt: skip
        return cls.from_pair(load(target), load(draft) if draft else None, gamma=gamma, **options)

    @classmethod
    def from_models(
        cls,
        model: Any,
        tokenizer: Any,
        draft: Any = None,
        draft_tokenizer: Any = None,
        *,
        gamma: int = 4,
        lean: bool = False,
        check: bool = True,
        **options: Any,
    ) -> SpeculativeDecoder:
        """Use models of transformers that are loaded already.

        Args:
            model: The target.
            tokenizer: Its tokenizer.
            draft: The draft model; None decodes plainly.
            draft_tokenizer: Its tokenizer; the target's by default.
            gamma: Most tokens drafted a round.
            lean: The models are left to the decoder: Llama-shaped ones run through a faster
                forward. It may lay their weights out anew, after which transformers cannot save
                them, or read copies, which do not follow later changes in place.
            check: Compare our forward with each model's own, once while it lives; False does
                without.
            options: As `from_pair` takes them.

        Raises:
            DraftproofError: A model cannot be rolled back or our forward differs from its own, or
                the two do not fit.
        """
        pair = []
        for module, tokens in ((model, tokenizer), (draft, draft_tokenizer or tokenizer)):
            if module is not None:
                name = getattr(module.config, "_name_or_path", "") or type(module).__name__
                causal = CausalModel(module.eval(), name, lean=lean)
                if check:
                    settled_once(causal)
                pair.append(Pretrained(name, causal, tokens, end_of_sequence(module, tokens)))
        return cls.from_pair(*pair, gamma=gamma, **options)

    @classmethod
    def from_pair(
        cls,
        target: Pretrained,
        draft: Pretrained | None = None,
        *,
        gamma: int = 4,
        drafter: str | None = None,
        drafter_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> SpeculativeDecoder:
        """Use a target and a draft that come with their tokenizers.

        Args:
            target: The model whose answers are wanted.
            draft: The draft model, for drafters that have one.
            gamma: Most tokens drafted a round.
            drafter: Name of the drafter; by default ``draft_model`` where there is a draft, and
                plain decoding where there is none.
            drafter_options: Its parameters; ``heads`` names trained heads, a directory or
                ``lab:NAME``.
            options: As `SpeculativeDecoder` takes them.

        Raises:
            DraftproofError: The two have different vocabularies, or there is no such drafter.
        """
        name = drafter or ("draft_model" if draft else None)
        if name is None:
            return cls(target, **options)
        if gamma < 1:
            raise DraftproofError(f"gamma must be at least 1, got {gamma}")
        of_drafter = dict(drafter_options or {})
        parts = Parts(target=target.model, gamma=gamma)
        if "heads" in of_drafter:
            parts = replace(parts, heads=head_files.load(of_drafter.pop("heads")))
        if draft is not None:
            if name != "intersection":
                require_same_vocabulary(target, draft, padded=True)
            both = (target.tokenizer, draft.tokenizer)
            parts = replace(parts, draft=draft.model, tokenizers=both)
        try:
            made = make_drafter(name, parts, of_drafter)
        except ValueError as error:
            raise DraftproofError(str(error)) from error
        return cls(target, made, draft=draft, **options)

    def generate(self, prompt: Any, **options: Any) -> Any:
        """Continue a prompt, or a list of them in batches.

        Args:
            prompt: A text (continued as it is), a conversation (messages with role and content;
                the chat template is applied), token ids, or a list of any of these.
            options: Fields of `draftproof.decoding.options.Options` or of transformers'
                `GenerationConfig` (``top_p``, ``repetition_penalty``, …).

        Returns:
            A `Generation`; for a list of prompts a list of them, one a prompt.

        Raises:
            DraftproofError: An option is unknown or not served, or a prompt does not fit.
        """
        answers: dict[int, Generation] = {}
        for part in self._parts(prompt, options, streamed=False):
            if part.generation is not None:
                answers[part.index] = part.generation
        return answers[0] if is_one(prompt) else [answers[i] for i in sorted(answers)]

    def stream(self, prompt: Any, **options: Any) -> Generator[Part]:
        """Do what `generate` does, with its arguments and errors, and yield what each round adds.

        Yields:
            One part for each round and prompt; the last one of a prompt has its `generation`.
            Closing the generator ends the decoding.
        """
        return self._parts(prompt, options, streamed=True)

    def _parts(self, prompt: Any, given: dict[str, Any], *, streamed: bool) -> Generator[Part]:
        options = Options.of(given)
        prompts = [prompt] if is_one(prompt) else list(prompt)
        session, target = self._session, self.target
        requests = [
            session.request(i, session.ids_of(p, i), options) for i, p in enumerate(prompts)
        ]
        texts = [GrowingText(target.text_of, target.eos, options.stops) for _ in requests]
        batch = min(self._batch, max(len(requests), 1))
        settings = session.settings(options, batch=batch, **self._loop)
        for answer, start in session.stream(requests, settings):
            index, fresh = int(answer.id), tuple(answer.tokens[start:])
            text = texts[index]
            text.add(fresh)
            ended = bool(answer.finish_reason)
            shown = text.rest() if ended else text.certain() if streamed else None
            yield Part(
                index=index,
                text=shown.text if shown else "",
                owners=shown.owners if shown else (),
                first=start,
                tokens=fresh,
                answer=answer,
                generation=finished(answer, text.text) if ended else None,
            )
