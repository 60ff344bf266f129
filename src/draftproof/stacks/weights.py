"""The files of a model: where they lie, and what identifies them; needs no torch."""

from __future__ import annotations

import hashlib
import shlex
from functools import lru_cache
from pathlib import Path

from draftproof.lab.models import HEADS, heads_path, resolve
from draftproof.records import DraftproofError, ModelFingerprint
from draftproof.stacks.spec import ArmSpec

_BESIDE = frozenset({".json", ".jinja", ".txt", ".model", ".py"})
"""Kinds of files beside the weights that decide what a model says."""


def directory_fingerprint(name: str) -> ModelFingerprint:
    """Return what identifies a model that is not loaded here: digests of its files.

    Of a hub name nothing is known: no digest, and no files.
    """
    place = _place(name)
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else []
    files = [place] if place.suffix == ".gguf" and place.is_file() else files
    # a GGUF file holds all that is read of it
    beside = sorted(p for p in place.glob("*") if p.suffix in _BESIDE) if files else []
    return ModelFingerprint(
        name=name,
        weights_sha256=digest_of_files(files) if files else None,
        files={p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in beside},
    )


def _place(name: str) -> Path:
    lab = name.removeprefix("lab:")
    return heads_path(lab) if name.startswith("lab:") and lab in HEADS else Path(resolve(name))


def digest_of_files(files: list[Path]) -> str:
    """Return a digest over the digests of files, in the order given."""
    whole = hashlib.sha256()
    for file in files:
        seen = file.stat()
        whole.update(_sha256(file, seen.st_size, seen.st_mtime_ns, seen.st_ino))
    return whole.hexdigest()


# every arm of a plan asks for the same large files; size, time and inode say that one is the same
@lru_cache(maxsize=256)
def _sha256(file: Path, size: int, changed: int, inode: int) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def heads_of(spec: ArmSpec) -> str | None:
    """Return the model that drafts for an arm: its draft, or the directory of trained heads."""
    heads = spec.drafter_options.get("heads")
    return spec.draft or (heads if isinstance(heads, str) else None)


def present_models(spec: ArmSpec) -> dict[str, ModelFingerprint]:
    """Return what lies now where an arm's own models are, by part: ``target``, ``draft``.

    Nothing is loaded. A server's models are its own, and a path at which nothing lies any more
    has no entry.
    """
    if spec.engine == "openai":
        return {}
    identify = directory_fingerprint
    if spec.engine == "openvino":
        from draftproof.stacks.openvino.model import fingerprint  # noqa: PLC0415 - one stack's

        identify = fingerprint
    found = {}
    for part, name in (("target", spec.target), ("draft", heads_of(spec))):
        try:
            if name is not None:
                found[part] = identify(name)
        except (DraftproofError, OSError):
            continue
    return found


def served_files(command: str | None) -> dict[str, str]:
    """Return the digests of models that a server's command names by their paths."""
    found = {}
    for word in shlex.split(command or ""):
        path = Path(word)
        if path.exists() and (weights := directory_fingerprint(word).weights_sha256):
            found[word] = weights
    return found
