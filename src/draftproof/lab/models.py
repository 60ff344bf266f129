"""Which models ship, and where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from draftproof.records import DraftproofError

NAMES = ("target", "draft", "adversarial", "gptq", "expert")
HEADS = ("medusa", "eagle", "eagle3")
"""Heads that propose for `target`; they are no models of their own."""

ADAPTERS = ("refuser",)
"""Low-rank adapters of `target`, in PEFT's form."""


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """A model, set of heads or adapter that ships.

    Attributes:
        name: what ``lab:NAME`` calls it.
        kind: ``model``, ``heads`` or ``adapter``.
        path: its directory.
        bytes: size of its weights.
        sha256: digest of its weights.
    """

    name: str
    kind: str
    path: Path
    bytes: int
    sha256: str


class UnknownModelError(DraftproofError):
    """A name that no shipped model has, or a shipped model whose files are missing."""


def resolve(name: str) -> str:
    """Return the directory or hub name that a model's name means, wherever one is given.

    Args:
        name: ``lab:NAME`` for a model that ships, otherwise a directory or a hub name.

    Raises:
        UnknownModelError: no such model ships; the message lists those that do.
    """
    return str(model_path(name.removeprefix("lab:"))) if name.startswith("lab:") else name


def model_path(name: str) -> Path:
    """Return the directory of the shipped model `name`.

    Raises:
        UnknownModelError: no such model; the message lists the names.
    """
    if name not in NAMES:
        raise _unknown("model", name, NAMES)
    return _existing(name, "model")


def heads_path(name: str) -> Path:
    """Return the directory of the shipped heads `name`.

    Raises:
        UnknownModelError: no such heads; the message lists the names.
    """
    if name not in HEADS:
        raise _unknown("set of heads", name, HEADS)
    return _existing(name, "heads")


def adapter_path(name: str) -> Path:
    """Return the directory of the shipped adapter `name`.

    Raises:
        UnknownModelError: no such adapter; the message lists the names.
    """
    if name not in ADAPTERS:
        raise _unknown("adapter", name, ADAPTERS)
    return _existing(name, "adapter", "adapter_config.json")


def model_card() -> Path:
    """Return the page that says how the shipped models were made and what they can do."""
    return _here() / "MODEL_CARD.md"


def shipped_models() -> Iterator[ShippedModel]:
    """Yield every model, set of heads and adapter that ships, with the digest of its weights.

    Raises:
        UnknownModelError: files are missing.
    """
    for kind, names, path_of in (
        ("model", NAMES, model_path),
        ("heads", HEADS, heads_path),
        ("adapter", ADAPTERS, adapter_path),
    ):
        for name in names:
            path = path_of(name)
            weights = next(path.glob("*.safetensors")).read_bytes()
            digest = hashlib.sha256(weights).hexdigest()
            yield ShippedModel(name, kind, path, len(weights), digest)


def _here() -> Path:
    return Path(str(files("draftproof.lab")))


def _unknown(kind: str, name: str, names: tuple[str, ...]) -> UnknownModelError:
    known = ", ".join(f"lab:{n}" for n in names)
    return UnknownModelError(f"no {kind} that ships is called lab:{name}; there are: {known}")


def _existing(name: str, kind: str, required: str = "config.json") -> Path:
    path = _here() / "models" / name
    if not (path / required).is_file():
        raise UnknownModelError(
            f"the files of lab {kind} {name!r} are missing from {path}; reinstall draftproof"
        )
    return path
