"""Loading models and tokenizers, once each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
import transformers

from draftproof.decoding.checkpoint_options import checkpoint_options
from draftproof.decoding.pretrained import (
    Pretrained,
    chat_tokens,
    load_pretrained,
    require_same_vocabulary,
)
from draftproof.decoding.remembered import remembered
from draftproof.lab.models import resolve
from draftproof.records import ModelFingerprint, Prompt, digest
from draftproof.stacks.base import Rendered, rendered

_BESIDE = frozenset({".json", ".jinja", ".txt", ".model", ".py"})
"""Kinds of files beside the weights that decide what a model says."""


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
def load(name: str, dtype: str, device: str, trust_remote_code: bool = False) -> Loaded:
    """Load a causal LM with its tokenizer.

    Args:
        name: Directory, hub name or ``lab:NAME``.
        dtype: ``auto`` is float32 on a CPU and what the checkpoint says elsewhere.
        device: ``auto`` takes an accelerator if there is one.
        trust_remote_code: Run Python code that the checkpoint brings along.

    Raises:
        DraftproofError: Not found, no tokenizer, not safetensors, or not a causal LM.
    """
    with quiet():
        pretrained = load_pretrained(
            name,
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
            check=False,
        )
        fingerprint = _fingerprint(name, pretrained)
        known = fingerprint.weights_sha256 is not None
        identity = digest([fingerprint.weights_sha256, fingerprint.files]) if known else None
        remembered(pretrained.model, identity)
    return Loaded(name, pretrained.model, pretrained.tokenizer, pretrained.eos, fingerprint)


def directory_fingerprint(name: str) -> ModelFingerprint:
    """Return what identifies a model that is not loaded here: digests of its directory's files.

    Of a hub name nothing is known: no digest, and no files.
    """
    place = resolve(name)
    weights = None
    files = sorted(Path(place).glob("*.safetensors")) if Path(place).is_dir() else []
    if files:
        whole = hashlib.sha256()
        for file in files:
            with file.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
        weights = whole.hexdigest()
    beside = sorted(p for p in Path(place).glob("*") if p.suffix in _BESIDE) if files else []
    return ModelFingerprint(
        name=name,
        weights_sha256=weights,
        files={p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in beside},
    )


def _fingerprint(name: str, pretrained: Pretrained) -> ModelFingerprint:
    module, tokenizer = pretrained.model.module, pretrained.tokenizer
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
        eos=tuple(sorted(pretrained.eos)),
        details={"generation_config": json.dumps(asked, sort_keys=True)} if asked else {},
    )


def render(loaded: Loaded, prompt: Prompt) -> Rendered:
    """Return the ids that the model is fed for a prompt, its chat template applied.

    A tokenizer without a chat template is fed the messages' contents, one a paragraph.
    """
    with quiet():
        return rendered(loaded.name, prompt, partial(chat_tokens, loaded.tokenizer))


def render_known(loaded: Loaded, prompt: Prompt) -> Rendered:
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
    "Rendered",
    "environment",
    "load",
    "quiet",
    "render",
    "render_known",
    "require_same_vocabulary",
]
