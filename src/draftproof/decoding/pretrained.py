"""A model with its tokenizer: loading both, feeding them prompts, checking that two fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from tokenizers import Tokenizer
from transformers import GenerationConfig, GgufConfig

from draftproof.decoding.agreement import settled
from draftproof.decoding.loading.checkpoint import UNREADABLE, Checkpoint
from draftproof.decoding.loading.room import bytes_needed, placed, require_disk, require_memory
from draftproof.decoding.model import CausalModel
from draftproof.records import DraftproofError


@dataclass(frozen=True, slots=True)
class Opened:
    """A causal LM of transformers, as its files say, with its tokenizer and its ends of answers."""

    name: str
    module: Any
    tokenizer: Any
    eos: frozenset[int]

    @property
    def rows(self) -> int:
        """How many tokens it has logits for."""
        return int(self.module.config.get_text_config(decoder=True).vocab_size)

    @property
    def max_positions(self) -> int | None:
        """Tokens that a text may have; None where its configuration does not say."""
        config = self.module.config.get_text_config(decoder=True)
        most: int | None = getattr(config, "max_position_embeddings", None)
        return most


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A causal LM with its tokenizer and the tokens that end its answers."""

    name: str
    model: CausalModel
    tokenizer: Any
    eos: frozenset[int]

    @property
    def rows(self) -> int:
        """How many tokens it has logits for."""
        return self.model.vocab_size

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
        name: Directory, hub name, GGUF file, which is read de-quantised, or ``lab:NAME`` for a
            model that ships.
        dtype: ``auto`` is float32 on a CPU and what the checkpoint says elsewhere.
        device: ``auto`` takes an accelerator if there is one.
        trust_remote_code: Run Python code that the checkpoint brings along.
        graphs: See `CausalModel`.
        check: Compare our forward with the checkpoint's own, see `agreement.settled`; who leaves
            it out does so himself.

    Raises:
        DraftproofError: Not found, no tokenizer, not safetensors, tensors missing or too many,
            not a causal LM, one that our forward cannot compute, or more than the machine holds.
    """
    checkpoint = Checkpoint.at(str(name), trust_remote_code=trust_remote_code)
    opened = open_pretrained(checkpoint, dtype=dtype, device=device)
    return served(opened, graphs=graphs, check=check)


def open_pretrained(checkpoint: Checkpoint, *, dtype: str, device: str) -> Opened:
    """Load a causal LM as transformers runs it.

    Args:
        checkpoint: Its files.
        dtype: See `load_pretrained`.
        device: See `load_pretrained`.

    Raises:
        DraftproofError: See `load_pretrained`.
    """
    kind, device = placed(checkpoint.name, dtype, device)
    require_disk(checkpoint)
    outline = checkpoint.outline(kind)
    require_memory(checkpoint.name, bytes_needed(checkpoint, outline), device)
    with checkpoint.readable() as (where, options):
        tokenizer = _tokenizer(checkpoint, where, options, outline)
        module = _module(checkpoint, where, options, outline.dtype).to(device).eval()
    return Opened(checkpoint.name, module, tokenizer, end_of_sequence(module, tokenizer))


def preview(checkpoint: Checkpoint, dtype: torch.dtype | None) -> Opened:
    """Return a model without its weights, with its tokenizer.

    Args:
        checkpoint: Its files.
        dtype: Of the weights; None is the checkpoint's own.

    Raises:
        DraftproofError: See `load_pretrained`, but for what only weights can show.
    """
    module = checkpoint.outline(dtype)
    with checkpoint.readable() as (where, options):
        tokenizer = _tokenizer(checkpoint, where, options, module)
        if not checkpoint.is_gguf:
            with suppress(OSError):  # has none of its own
                module.generation_config = GenerationConfig.from_pretrained(where, **options)
    return Opened(checkpoint.name, module, tokenizer, end_of_sequence(module, tokenizer))


def served(opened: Opened, *, graphs: bool = False, check: bool = False) -> Pretrained:
    """Return a model as our decoder runs it.

    Args:
        opened: The model.
        graphs: See `CausalModel`.
        check: See `load_pretrained`.

    Raises:
        DraftproofError: It cannot be served.
    """
    causal = CausalModel(opened.module, opened.name, graphs=graphs)
    if check:
        settled(causal)
    return Pretrained(opened.name, causal, opened.tokenizer, opened.eos)


def _tokenizer(
    checkpoint: Checkpoint, where: str, options: Mapping[str, object], outline: Any
) -> Any:
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
    except UNREADABLE as error:
        raise checkpoint.unreadable("tokenizer", error) from error
    if len(tokenizer) == 0:
        raise DraftproofError(f"{checkpoint.name}: the directory holds no tokenizer")
    if checkpoint.is_gguf:
        _keep_tokens_below(tokenizer, outline.config.get_text_config(decoder=True).vocab_size)
    return tokenizer


def _keep_tokens_below(tokenizer: Any, rows: int) -> None:
    """Take out the special tokens that transformers adds to a GGUF file's own.

    The model has no rows for them, and the same model in safetensors does not know them.
    """
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    whole["added_tokens"] = [t for t in whole["added_tokens"] if t["id"] < rows]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(whole))


def _module(
    checkpoint: Checkpoint, where: str, options: Mapping[str, object], dtype: torch.dtype
) -> Any:
    more: dict[str, object] = {"use_safetensors": True}
    if checkpoint.is_gguf:
        file = str(options["gguf_file"])
        more = {"quantization_config": GgufConfig(gguf_file=file, dequantize=True)}
    try:
        module, loading = transformers.AutoModelForCausalLM.from_pretrained(
            where, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True,
            **more, **options,
        )  # fmt: skip
    except (*UNREADABLE, SafetensorError) as error:
        raise checkpoint.unreadable("model", error) from error
    _require_all_tensors(checkpoint.name, module, loading)
    return module


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


def require_same_vocabulary(
    target: Pretrained | Opened, draft: Pretrained | Opened, *, padded: bool = False
) -> None:
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
    rows = (target.rows, draft.rows)
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
        f"{target.name} and {draft.name} have different vocabularies ({rows[0]} and {rows[1]} "
        f"rows, {other} tokens with another id); token-level speculation needs one vocabulary, "
        "choose a draft of the target's family"
    )
