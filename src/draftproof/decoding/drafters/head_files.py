"""Trained heads on disk: a directory with `config.json` and `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialised

from draftproof.decoding.drafters.eagle_head import EagleHead, EagleShape
from draftproof.decoding.drafters.medusa_heads import MedusaHeads, MedusaShape
from draftproof.lab.models import heads_path
from draftproof.records import DraftproofError

Heads = MedusaHeads | EagleHead

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"
_MOST = 1 << 20


def make_heads(config: Mapping[str, Any]) -> Heads:
    """Build untrained heads.

    Args:
        config: `kind` (``medusa``, ``eagle`` or ``eagle3``) and the fields of its shape.

    Raises:
        ValueError: A field is missing, unknown or out of range.
    """
    kind = config.get("kind")
    if kind not in {"medusa", "eagle", "eagle3"}:
        raise ValueError(f"kind must be medusa, eagle or eagle3, got {kind!r}")
    shape = MedusaShape if kind == "medusa" else EagleShape
    names = {field.name for field in fields(shape)}
    if config.keys() != names:
        raise ValueError(
            f"{kind} heads have the fields {', '.join(sorted(names))}; "
            f"missing: {', '.join(sorted(names - config.keys())) or 'none'}, "
            f"unknown: {', '.join(sorted(config.keys() - names)) or 'none'}"
        )
    sizes = {name: value for name, value in config.items() if name != "kind"}
    for name, value in sizes.items():
        numbers = value if name == "taps" and isinstance(value, list | tuple) else [value]
        if any(type(number) is not int or number > _MOST for number in numbers):
            what = "a list of integers" if name == "taps" else "an integer"
            raise ValueError(f"{name} must be {what} of at most {_MOST}, got {value!r}")
    if "taps" in sizes:
        if not isinstance(sizes["taps"], list | tuple):
            raise ValueError(f"taps must be a list, got {sizes['taps']!r}")
        sizes["taps"] = tuple(sizes["taps"])
    if kind == "medusa":
        return MedusaHeads(MedusaShape(kind=kind, **sizes))
    return EagleHead(EagleShape(kind=kind, **sizes))


def load(name: str | Path) -> Heads:
    """Load trained heads.

    Args:
        name: ``lab:medusa``, ``lab:eagle``, ``lab:eagle3`` or a directory.

    Returns:
        The heads in float32; a drafter moves them to its target.

    Raises:
        DraftproofError: No such heads, or files that cannot be read, with what is wrong.
    """
    shipped = isinstance(name, str) and name.startswith("lab:")
    directory = heads_path(str(name).removeprefix("lab:")) if shipped else Path(name)
    config = directory / _CONFIG
    try:
        heads = make_heads(json.loads(config.read_text("utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DraftproofError(f"{config}: no heads can be read from it: {error}") from error
    weights = directory / _WEIGHTS
    try:
        tensors = load_file(weights)
        heads.load_state_dict({k: v.float() for k, v in tensors.items()})
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().replace("\n\t", " ")
        raise DraftproofError(f"{weights}: not the weights of {config}: {reason}") from error
    if not all(bool(weight.isfinite().all()) for weight in heads.parameters()):
        raise DraftproofError(f"{weights}: holds weights that are not finite")
    return heads.eval()


def save(heads: Heads, path: Path) -> None:
    """Write heads in fp16 with their configuration."""
    path.mkdir(parents=True, exist_ok=True)
    (path / _CONFIG).write_text(json.dumps(asdict(heads.shape), indent=2) + "\n")
    weights = {k: v.detach().to(torch.float16).contiguous() for k, v in heads.state_dict().items()}
    (path / _WEIGHTS).write_bytes(serialised(weights, metadata={"format": "pt"}))
