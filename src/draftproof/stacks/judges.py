"""Who answers as a judge, greedily: an OpenAI-compatible server, or a model loaded here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from draftproof.records import Completion, DraftproofError, Message, Prompt, Role
from draftproof.stacks import ArmSpec, make_engine

Questions = Sequence[tuple[str, tuple[Message, ...]]]
"""Id and messages of each question."""


class Form(Protocol):
    """How a judge is asked."""

    @property
    def raw(self) -> bool:
        """Whether a question is one text as it is, without a chat template."""
        ...

    @property
    def max_new_tokens(self) -> int:
        """Tokens of the longest answer."""
        ...

    @property
    def options(self) -> Mapping[str, object]:
        """Options of the chat template."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server at a URL; a raw format uses its completions interface.

    Attributes:
        url: Address of the server.
        model: Name in the requests, None for the one that it lists.
        api_key_env: Environment variable that holds the key.
        concurrency: Requests in flight.
        retries: How often a failed request is repeated.
    """

    url: str
    model: str | None = None
    api_key_env: str | None = None
    concurrency: int = 4
    retries: int = 5

    def ask(self, form: Form, questions: Questions) -> Iterator[Completion]:
        """Yield a completion for each question, in any order.

        Raises:
            DraftproofError: The server cannot be reached.
        """
        extra = {"chat_template_kwargs": dict(form.options)} if form.options else {}
        spec = ArmSpec(
            name="judge",
            role=Role.BASELINE,
            engine="openai",
            url=self.url,
            model=self.model,
            api="completions" if form.raw else "chat",
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            retries=self.retries,
            max_new_tokens=form.max_new_tokens,
            temperature=0.0,
            extra_body=extra,
        )
        prompts = [Prompt(id=id_, task="judge", messages=messages) for id_, messages in questions]
        engine = make_engine(spec)
        engine.open(prompts)
        yield from engine.answer(prompts)
        engine.close()


@dataclass(slots=True)
class LocalModel:
    """A transformers model of a directory or the hub cache, one question at a time.

    Attributes:
        name: Directory, hub name or ``lab:NAME``.
        dtype: As `draftproof.stacks.models.load` takes it.
        device: ``auto``, ``cpu``, ``cuda`` and so on.
    """

    name: str
    dtype: str = "auto"
    device: str = "auto"
    _loaded: tuple[Any, Any] | None = field(default=None, repr=False)

    def ask(self, form: Form, questions: Questions) -> Iterator[Completion]:
        """Yield a completion for each question, in their order.

        Raises:
            DraftproofError: torch is not installed, or the model cannot be loaded.
        """
        model, tokenizer = self._load()
        # an extra; `_load` has said so if it is missing
        import torch  # noqa: PLC0415

        from draftproof.stacks.models import quiet  # noqa: PLC0415

        for id_, messages in questions:
            ids = self._ids(tokenizer, form, messages)
            block = torch.tensor([ids], device=model.device)
            with torch.inference_mode(), quiet():
                out = model.generate(
                    block,
                    attention_mask=torch.ones_like(block),
                    max_new_tokens=form.max_new_tokens,
                    do_sample=False,
                )
            new = out[0, len(ids) :].tolist()
            text = tokenizer.decode(new, skip_special_tokens=True)
            cut = len(new) >= form.max_new_tokens
            yield Completion(
                arm="judge", id=id_, text=text, finish_reason="length" if cut else "stop"
            )

    def _ids(self, tokenizer: Any, form: Form, messages: tuple[Message, ...]) -> list[int]:
        if form.raw or not getattr(tokenizer, "chat_template", None):
            text = "\n\n".join(m.content for m in messages)
            # a template that was written out may begin with the token that the tokenizer adds
            start: str = getattr(tokenizer, "bos_token", None) or ""
            begun = bool(start) and text.startswith(start)
            ids: list[int] = tokenizer(text, add_special_tokens=not begun)["input_ids"]
        else:
            turns = [{"role": m.role, "content": m.content} for m in messages]
            try:
                text = tokenizer.apply_chat_template(
                    turns, tokenize=False, add_generation_prompt=True, **form.options
                )
            except Exception as error:  # a template is a program of the checkpoint's author
                raise DraftproofError(
                    f"{self.name}: its chat template fails on an exchange: {error}"
                ) from error
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if not ids:
            raise DraftproofError(f"{self.name}: a question has no tokens")
        return ids

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            try:
                from draftproof.stacks.models import load  # noqa: PLC0415 - needs torch
            except ModuleNotFoundError as error:
                raise DraftproofError(
                    f"a local judge needs {error.name}; run: pip install 'draftproof[local]'"
                ) from error
            loaded = load(self.name, self.dtype, self.device)
            self._loaded = (loaded.model.module, loaded.tokenizer)
        return self._loaded
