"""A model with its tokenizer: loading both, feeding them prompts, checking that two fit."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
import transformers
from huggingface_hub import constants
from safetensors import SafetensorError

from draftproof.decoding.agreement import settled
from draftproof.decoding.model import CausalModel
from draftproof.lab.models import resolve
from draftproof.records import DraftproofError


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A causal LM with its tokenizer and the tokens that end its answers."""

    name: str
    model: CausalModel
    tokenizer: Any
    eos: frozenset[int]

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return what tokens say, special tokens left out."""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


def load_pretrained(
    name: str | Path,
    *,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    graphs: bool = False,
    check: bool = True,
) -> Pretrained:
    """Load a causal LM with its tokenizer.

    Args:
        name: Directory, hub name or ``lab:NAME`` for a model that ships.
        dtype: ``auto`` is float32 on a CPU and what the checkpoint says elsewhere.
        device: ``auto`` takes an accelerator if there is one.
        trust_remote_code: Run Python code that the checkpoint brings along.
        graphs: See `CausalModel`.
        check: Compare our forward with the checkpoint's own, see `agreement.settled`; who leaves
            it out does so himself.

    Raises:
        DraftproofError: Not found, no tokenizer, not safetensors, tensors missing or too many,
            not a causal LM, or one that our forward cannot compute.
    """
    name = str(name)
    place = resolve(name)
    kind, device = _placed(name, dtype, device)
    common: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    if Path(place).is_dir():
        common["local_files_only"] = True
    elif looks_like_path(place):
        raise DraftproofError(
            f"{name}: there is no such directory; models that ship are called lab:NAME "
            "(`draftproof lab list`)"
        )
    elif not hub_answers():
        common["local_files_only"] = True
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, **common)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DraftproofError(_unreadable(name, place, "tokenizer", error)) from error
    if len(tokenizer) == 0:
        raise DraftproofError(f"{name}: the directory holds no tokenizer")
    try:
        module, loading = transformers.AutoModelForCausalLM.from_pretrained(
            place, dtype=kind, use_safetensors=True, output_loading_info=True,
            ignore_mismatched_sizes=True, **common,
        )  # fmt: skip
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError
    ) as error:  # fmt: skip
        raise DraftproofError(_unreadable(name, place, "model", error)) from error
    _require_all_tensors(name, module, loading)
    module = module.to(device).eval()
    causal = CausalModel(module, name, graphs=graphs)
    if check:
        settled(causal)
    return Pretrained(name, causal, tokenizer, end_of_sequence(module, tokenizer))


def _placed(name: str, dtype: str, device: str) -> tuple[Any, str]:
    """Return the type and the device that are meant, both known to exist.

    Raises:
        DraftproofError: There is no such type, or no such device here.
    """
    if device == "auto":
        available = torch.accelerator.is_available()
        device = str(torch.accelerator.current_accelerator()) if available else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DraftproofError(
            f"{name}: no device {device!r} can be used here: {first:.200}; "
            "choose device cpu, or auto for what there is"
        ) from error
    kind: Any = dtype
    if dtype != "auto":
        kind = getattr(torch, dtype, None)
        if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
            raise DraftproofError(f"{name}: no floating point type is called {dtype!r}")
    elif device == "cpu":
        kind = torch.float32
    return kind, device


def _require_all_tensors(name: str, module: Any, loading: Mapping[str, Any]) -> None:
    """Check that the checkpoint holds the model's tensors, no others, and in their shapes.

    Raises:
        DraftproofError: With their names.
    """
    said = []
    for what, key in (
        ("missing from the checkpoint", "missing_keys"),
        ("not of this architecture", "unexpected_keys"),
        ("of another shape", "mismatched_keys"),
    ):
        names = sorted(str(k[0] if isinstance(k, tuple) else k) for k in loading.get(key) or ())
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            said.append(f"{', '.join(names[:3])}{more} ({what})")
    if said:
        raise DraftproofError(
            f"{name}: its tensors are not those of {type(module).__name__}: {'; '.join(said)}"
        )


def _unreadable(name: str, place: str, what: str, error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(place).exists():
        return f"{name}: no {what} can be read from it: {first:.300}"
    return (
        f"{name}: no {what} has that name: it is no directory, it is not in the hub cache, and the "
        f"hub has none or cannot be reached: {first:.300}; name a directory, a hub "
        f"name, or a model "
        "that ships as lab:NAME (`draftproof lab list`)"
    )


def hub_answers() -> bool:
    """Return whether the hub can be reached, so that nobody waits for what cannot come.

    Asked once and briefly; a proxy is believed.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    place = urlsplit(constants.ENDPOINT)
    if getproxies().get(place.scheme):
        return True
    try:
        port = place.port or (443 if place.scheme == "https" else 80)
        socket.create_connection((place.hostname or "", port), timeout=3).close()
    except OSError:
        return False
    return True


def looks_like_path(place: str) -> bool:
    """Return whether a name cannot be a hub's: those are ``name`` or ``owner/name``."""
    return place.startswith((".", "/", "~")) or place.count("/") > 1 or "\\" in place


def end_of_sequence(module: Any, tokenizer: Any = None) -> frozenset[int]:
    """Return the tokens that end an answer: the generation config's, else the tokenizer's."""
    ends = module.generation_config.eos_token_id
    if ends is None and tokenizer is not None:
        ends = tokenizer.eos_token_id
    given = ends if isinstance(ends, Sequence) else [ends]
    return frozenset(int(e) for e in given if e is not None)


def chat_tokens(
    tokenizer: Any, messages: Sequence[Mapping[str, str]], prefill: str = ""
) -> tuple[int, ...]:
    """Return the ids that a model is fed for a conversation, its chat template applied.

    A tokenizer without a chat template is fed the messages' contents, one a paragraph.

    Args:
        tokenizer: Of the model.
        messages: With ``role`` and ``content``.
        prefill: Beginning of the answer, put into the assistant's mouth.

    Raises:
        DraftproofError: The template fails (it is a program of the checkpoint's author).
    """
    if getattr(tokenizer, "chat_template", None):
        try:
            text = tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except Exception as error:
            raise DraftproofError(f"the chat template fails: {error}") from error
        return tuple(tokenizer(text + prefill, add_special_tokens=False)["input_ids"])
    text = "\n\n".join(m["content"] for m in messages)
    return tuple(tokenizer(text + ("\n\n" + prefill if prefill else ""))["input_ids"])


def require_same_vocabulary(target: Pretrained, draft: Pretrained, *, padded: bool = False) -> None:
    """Check that drafted token ids mean the same to both models.

    Args:
        target: The one.
        draft: The other.
        padded: Numbers of rows may differ, where every token has one in both: the rest is padding
            (`CausalModel.speaking`).

    Raises:
        DraftproofError: They do not, with how they differ.
    """
    first, second = target.tokenizer.get_vocab(), draft.tokenizer.get_vocab()
    rows = (target.model.vocab_size, draft.model.vocab_size)
    fits = padded and max(first.values(), default=0) < min(rows)
    if first == second and (rows[0] == rows[1] or fits):
        return
    other = sum(1 for token, index in first.items() if second.get(token) != index)
    if not other and first == second and not padded:
        raise DraftproofError(
            f"{target.name} and {draft.name} share their tokens but have {rows[0]} and {rows[1]} "
            "rows, which this engine cannot bring together; use --engine local"
        )
    raise DraftproofError(
        f"{target.name} and {draft.name} have different vocabularies "
        f"({target.model.vocab_size} and {draft.model.vocab_size} rows, {other} tokens with "
        "another id); token-level speculation needs one vocabulary, choose a draft of the "
        "target's family"
    )
