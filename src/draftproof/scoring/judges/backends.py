"""Who speaks for a judge: an OpenAI-compatible server, or a model loaded here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from draftproof.records import Completion, DraftproofError, Message, Prompt, Role
from draftproof.scoring.judges.formats import Format
from draftproof.stacks import ArmSpec, make_engine


class Backend(Protocol):
    """Answers the questions that a format makes, greedily."""

    def ask(
        self, format_: Format, questions: Sequence[tuple[str, tuple[Message, ...]]]
    ) -> Iterator[Completion]:
        """Yield a completion for each ``(id, messages)``, in any order."""
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

    def ask(
        self, format_: Format, questions: Sequence[tuple[str, tuple[Message, ...]]]
    ) -> Iterator[Completion]:
        """See `Backend.ask`."""
        extra = {"chat_template_kwargs": dict(format_.options)} if format_.options else {}
        spec = ArmSpec(
            name="judge",
            role=Role.BASELINE,
            engine="openai",
            url=self.url,
            model=self.model,
            api="completions" if format_.raw else "chat",
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            retries=self.retries,
            max_new_tokens=format_.max_new_tokens,
            temperature=0.0,
            extra_body=extra,
        )
        prompts = [Prompt(id=id_, task="judge", messages=asked) for id_, asked in questions]
        engine = make_engine(spec)
        engine.open(prompts)
        yield from engine.answer(prompts)


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

    def ask(
        self, format_: Format, questions: Sequence[tuple[str, tuple[Message, ...]]]
    ) -> Iterator[Completion]:
        """See `Backend.ask`.

        Raises:
            DraftproofError: torch is not installed, or the model cannot be loaded.
        """
        model, tokenizer = self._load()
        import torch  # noqa: PLC0415 - an extra; `_load` has said so if it is missing

        for id_, asked in questions:
            ids = self._ids(tokenizer, format_, asked)
            block = torch.tensor([ids], device=model.device)
            with torch.inference_mode():
                out = model.generate(
                    block,
                    attention_mask=torch.ones_like(block),
                    max_new_tokens=format_.max_new_tokens,
                    do_sample=False,
                )
            new = out[0, len(ids) :].tolist()
            text = tokenizer.decode(new, skip_special_tokens=True)
            cut = len(new) >= format_.max_new_tokens
            yield Completion(
                arm="judge", id=id_, text=text, finish_reason="length" if cut else "stop"
            )

    def _ids(self, tokenizer: Any, format_: Format, asked: tuple[Message, ...]) -> list[int]:
        if format_.raw or not getattr(tokenizer, "chat_template", None):
            text = "\n\n".join(m.content for m in asked)
            start: str = getattr(tokenizer, "bos_token", None) or ""
            given = bool(start) and text.startswith(start)
            ids: list[int] = tokenizer(text, add_special_tokens=not given)["input_ids"]
        else:
            messages = [{"role": m.role, "content": m.content} for m in asked]
            try:
                rendered = tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True, **format_.options
                )
            except Exception as error:  # a template is a program of the checkpoint's author
                raise DraftproofError(
                    f"{self.name}: its chat template fails on an exchange: {error}"
                ) from error
            ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
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
