"""What was found out about a model's forward, kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
import transformers

from draftproof.decoding.agreement import ForwardCheck, settled
from draftproof.decoding.model import CausalModel
from draftproof.files import cache_directory

_IN_MEMORY: WeakKeyDictionary[Any, dict[tuple[str, ...], ForwardCheck]] = WeakKeyDictionary()
_RULE = 2
"""Which version of the check an outcome in the cache is of."""


def remembered(model: CausalModel, identity: str | None) -> ForwardCheck:
    """Return what `settled` says, from the user's cache where it was found out before.

    Args:
        model: The model.
        identity: Digest of its weights and of the files beside them; None is not remembered.

    Raises:
        DraftproofError: See `settled`.
    """
    if identity is None:
        return settled(model)
    file = cache_directory() / "agreement" / f"{_key(model, identity)}.json"
    known = _read(file)
    if known is not None and known.holds and _fits(model, known):
        return known
    found = settled(model)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(asdict(found)), encoding="utf-8")
        part.replace(file)
    except OSError:
        pass  # looked at again next time
    return found


def settled_once(model: CausalModel) -> ForwardCheck:
    """Return what `settled` says of a model that was handed over in memory.

    Looked at once for as long as its module lives, on a device, in a type and by a forward.

    Args:
        model: The model.

    Raises:
        DraftproofError: See `settled`.
    """
    of_module = _IN_MEMORY.setdefault(model.module, {})
    key = _path_of(model)
    known = of_module.get(key)
    if known is None or not _fits(model, known):
        of_module[key] = known = settled(model)
    return known


def _path_of(model: CausalModel) -> tuple[str, ...]:
    """Return what decides, weights apart, which arithmetic a model runs through."""
    implementation = str(model.config._attn_implementation)
    return (model.forward_kind, str(model.dtype), str(model.device), implementation)


def _key(model: CausalModel, identity: str) -> str:
    parts = [
        _RULE, identity, *_path_of(model), torch.__version__, transformers.__version__, _own_code(),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _own_code() -> str:
    """Return a digest of the files that decide what our forward computes."""
    folder = Path(__file__).parent
    files = [folder / "model.py", folder / "masks.py", folder / "cache.py", folder / "support.py"]
    whole = hashlib.sha256()
    for file in (*files, *sorted((folder / "forward").glob("*.py"))):
        whole.update(file.read_bytes())
    return whole.hexdigest()


def _read(file: Path) -> ForwardCheck | None:
    """Return an outcome that was written before; None if there is none that can be read."""
    try:
        held = json.loads(file.read_bytes())
        kinds: dict[str, Callable[[Any], bool]] = {
            "forward": lambda v: v in {"fused", "lean", "module"},
            "difference": _is_number, "bound": _is_number,
            "where": lambda v: isinstance(v, str),
            "tokens": lambda v: type(v) is int,
            "past_window": lambda v: v is None or isinstance(v, bool),
            "instead_of": lambda v: v in {"", "fused", "lean"},
        }  # fmt: skip
        if set(held) != set(kinds) or not all(test(held[name]) for name, test in kinds.items()):
            return None
        return ForwardCheck(**held)
    except (OSError, ValueError, TypeError):
        return None


def _is_number(value: Any) -> bool:
    return type(value) is float and math.isfinite(value) and value >= 0


def _fits(model: CausalModel, known: ForwardCheck) -> bool:
    """Take the forward that was settled on, and return whether it is one of this model's."""
    if known.instead_of == model.forward_kind and known.forward == "module":
        model.use_module()
    return known.forward == model.forward_kind
