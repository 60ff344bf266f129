"""From what a caller calls a prompt to token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from draftproof.decoding.pretrained import Pretrained, chat_tokens
from draftproof.records import DraftproofError

Chat = Sequence[Mapping[str, str]]
Prompt = str | Chat | Sequence[int] | torch.Tensor
"""A text that is continued as it is, a conversation (messages with role and content), or ids."""


_KINDS = "a prompt is a text, a conversation, or a list or tensor of token ids"


def is_one(prompt: Any) -> bool:
    """Return whether this is one prompt, and not a list of them.

    >>> is_one("a"), is_one([5, 6]), is_one(["a"]), is_one([])
    (True, True, False, False)
    """
    if isinstance(prompt, torch.Tensor):
        return prompt.dim() == 1
    if isinstance(prompt, str):
        return True
    if not isinstance(prompt, Sequence):
        raise TypeError(f"{_KINDS}, not {type(prompt).__name__}")
    return len(prompt) > 0 and isinstance(prompt[0], int | Mapping)


def is_ids(prompt: Prompt) -> bool:
    """Return whether a prompt is token ids already."""
    if isinstance(prompt, str):
        return False
    return isinstance(prompt, torch.Tensor) or not (prompt and isinstance(prompt[0], Mapping))


def tokens_of(
    prompt: Prompt, of: Pretrained, name: str | int, prefill: str = ""
) -> tuple[int, ...]:
    """Return a prompt as a model is fed it.

    Args:
        prompt: What to continue.
        of: The model.
        name: The prompt's name or position, for messages.
        prefill: Beginning of the answer to a conversation.

    Raises:
        DraftproofError: It has no tokens, or some that the model does not have.
        TypeError: It is no prompt, or its ids are no whole numbers.
    """
    if isinstance(prompt, str):
        ids = tuple(of.tokenizer(prompt)["input_ids"])
    elif isinstance(prompt, torch.Tensor):
        ids = tuple(prompt.tolist())
    elif not isinstance(prompt, Sequence):
        raise TypeError(f"prompt {name!r}: {_KINDS}, not {type(prompt).__name__}")
    elif prompt and isinstance(prompt[0], Mapping):
        ids = chat_tokens(of.tokenizer, cast(Chat, prompt), prefill)
    else:
        ids = tuple(cast(Sequence[int], prompt))
    if not ids:
        raise DraftproofError(f"prompt {name!r} has no tokens")
    strange = next((i for i in ids if not isinstance(i, int)), None)
    if strange is not None:
        raise TypeError(f"prompt {name!r}: token ids are whole numbers, not {strange!r:.40}")
    if not all(0 <= i < of.model.vocab_size for i in ids):
        raise DraftproofError(f"prompt {name!r} holds ids that are no tokens of {of.name}")
    return ids
