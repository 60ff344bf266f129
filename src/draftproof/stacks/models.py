"""Loading models and tokenizers, once each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import torch
import transformers

from draftproof.decoding.checkpoint_options import checkpoint_options
from draftproof.decoding.loading.checkpoint import Checkpoint
from draftproof.decoding.pretrained import (
    Opened,
    Pretrained,
    chat_tokens,
    open_pretrained,
    require_same_vocabulary,
    served,
)
from draftproof.decoding.remembered import remembered
from draftproof.records import ModelFingerprint, Prompt, digest
from draftproof.stacks.base import Rendered, rendered
from draftproof.stacks.weights import directory_fingerprint


@dataclass(frozen=True, slots=True)
class LoadedModule(Opened):
    """A model as transformers runs it, and what identifies it and its tokenizer."""

    fingerprint: ModelFingerprint
    known: dict[tuple[str, Prompt], Rendered] = field(default_factory=dict, compare=False)
    """See `Loaded`."""


@dataclass(frozen=True, slots=True)
class Loaded(Pretrained):
    """A model with its tokenizer and what identifies both."""

    fingerprint: ModelFingerprint
    known: dict[tuple[str, Prompt], Rendered] = field(default_factory=dict, compare=False)
    """Prompts of batteries as it is fed them, by chat template."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what transformers logs meanwhile: its progress bars and advice about arguments.

    A screen shows progress of its own, and chooses the arguments in its users' stead.
    """
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@lru_cache(maxsize=8)
def load_module(
    name: str, dtype: str, device: str, trust_remote_code: bool = False
) -> LoadedModule:
    """Load a causal LM with its tokenizer, as transformers runs it.

    Args:
        name: Directory, hub name, GGUF file or ``lab:NAME``.
        dtype: ``auto`` is float32 on a CPU and what the checkpoint says elsewhere.
        device: ``auto`` takes an accelerator if there is one.
        trust_remote_code: Run Python code that the checkpoint brings along.

    Raises:
        DraftproofError: Not found, no tokenizer, not safetensors, or not a causal LM.
    """
    with quiet():
        checkpoint = Checkpoint.at(name, trust_remote_code=trust_remote_code)
        opened = open_pretrained(checkpoint, dtype=dtype, device=device)
        fingerprint = _fingerprint(name, opened)
    return LoadedModule(name, opened.module, opened.tokenizer, opened.eos, fingerprint)


@lru_cache(maxsize=8)
def load(name: str, dtype: str, device: str, trust_remote_code: bool = False) -> Loaded:
    """Load a causal LM with its tokenizer, to be run by our decoder.

    Args:
        name: See `load_module`.
        dtype: See `load_module`.
        device: See `load_module`.
        trust_remote_code: See `load_module`.

    Raises:
        DraftproofError: See `load_module`; `UnservedError` where only our decoder cannot run it.
    """
    opened = load_module(name, dtype, device, trust_remote_code)
    fingerprint = opened.fingerprint
    with quiet():
        pretrained = served(opened)
        known = fingerprint.weights_sha256 is not None
        identity = digest([fingerprint.weights_sha256, fingerprint.files]) if known else None
        remembered(pretrained.model, identity)
    return Loaded(
        name, pretrained.model, opened.tokenizer, opened.eos, fingerprint, known=opened.known
    )


def _fingerprint(name: str, opened: Opened) -> ModelFingerprint:
    module, tokenizer = opened.module, opened.tokenizer
    template = getattr(tokenizer, "chat_template", None)
    asked = checkpoint_options(module)
    return replace(
        directory_fingerprint(name),
        revision=getattr(module.config, "_commit_hash", None),
        architecture=type(module).__name__,
        parameters=sum(p.numel() for p in module.parameters()),
        dtype=str(module.dtype).removeprefix("torch."),
        device=str(module.device),
        attention=module.config._attn_implementation,
        vocabulary=len(tokenizer),
        chat_template_sha256=digest(template) if template else None,
        eos=tuple(sorted(opened.eos)),
        details={"generation_config": json.dumps(asked, sort_keys=True)} if asked else {},
    )


def render(loaded: Loaded | LoadedModule, prompt: Prompt) -> Rendered:
    """Return the ids that the model is fed for a prompt, its chat template applied.

    A tokenizer without a chat template is fed the messages' contents, one a paragraph.
    """
    with quiet():
        return rendered(loaded.name, prompt, partial(chat_tokens, loaded.tokenizer))


def render_known(loaded: Loaded | LoadedModule, prompt: Prompt) -> Rendered:
    """Return the same as `render`, kept: arms, and what explains them, ask about one battery."""
    key = (str(getattr(loaded.tokenizer, "chat_template", None)), prompt)
    if key not in loaded.known:
        loaded.known[key] = render(loaded, prompt)
    return loaded.known[key]


def environment() -> dict[str, str]:
    """Return the versions that decide the arithmetic."""
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": json.dumps(torch.get_num_threads()),
    }


__all__ = [
    "Loaded",
    "LoadedModule",
    "Rendered",
    "directory_fingerprint",
    "environment",
    "load",
    "load_module",
    "quiet",
    "render",
    "render_known",
    "require_same_vocabulary",
]
