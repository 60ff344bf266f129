"""Where a model's files lie, what they say unloaded, and how transformers reads them."""

from __future__ import annotations

import importlib.util
import json
import socket
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
import transformers
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from draftproof.lab.models import resolve
from draftproof.records import DraftproofError

GGUF = ".gguf"
UNREADABLE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, IndexError,
    AssertionError, OverflowError, ImportError, ArithmeticError, struct.error,
)  # fmt: skip
"""What libraries raise over files that are not what they seem."""
_NAMES = "models that ship are called lab:NAME (`draftproof lab list`)"
_LONGEST_HEADER = 100_000_000
"""Bytes of a header, safetensors' own limit."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's files.

    Attributes:
        name: What to call it in messages.
        place: Directory, hub name or GGUF file.
        trust_remote_code: Run Python code that it brings along.
    """

    name: str
    place: str
    trust_remote_code: bool = False
    local_only: bool = field(default=True)

    @classmethod
    def at(cls, name: str, *, trust_remote_code: bool = False) -> Checkpoint:
        """Return the files of a model, after a look whether there are any.

        Args:
            name: Directory, hub name, GGUF file or ``lab:NAME`` for a model that ships.
            trust_remote_code: See `Checkpoint`.

        Raises:
            DraftproofError: There are none, or what reads them is not installed.
        """
        place, local = resolve(name), True
        if place.endswith(GGUF):
            if not Path(place).is_file():
                raise DraftproofError(f"{name}: there is no such file")
            if importlib.util.find_spec("gguf") is None:
                raise DraftproofError(
                    f"{name}: reading GGUF needs gguf, which is not installed; "
                    "run: pip install 'draftproof[real]'"
                )
        elif Path(place).is_file():
            raise DraftproofError(f"{name}: is a file; name its directory, or a .gguf file")
        elif not Path(place).is_dir():
            if looks_like_path(place):
                raise DraftproofError(f"{name}: there is no such directory; {_NAMES}")
            local = not hub_answers()
            if local:
                _require_in_cache(name, place)
        return cls(name, place, trust_remote_code, local)

    @property
    def is_gguf(self) -> bool:
        """Whether it is one GGUF file, which transformers reads de-quantised."""
        return self.place.endswith(GGUF)

    @contextmanager
    def readable(self) -> Iterator[tuple[str, dict[str, object]]]:
        """Yield the place and the options that ``from_pretrained`` is to be given.

        A GGUF file is shown alone: files beside it belong to other models, and its template and
        configuration are its own.
        """
        options: dict[str, object] = {"trust_remote_code": self.trust_remote_code}
        if self.local_only:
            options["local_files_only"] = True
        if not self.is_gguf:
            yield self.place, options
            return
        with tempfile.TemporaryDirectory(prefix="draftproof-") as folder:
            (Path(folder) / "model.gguf").symlink_to(Path(self.place).resolve())
            yield folder, {**options, "gguf_file": "model.gguf"}

    def config(self) -> Any:
        """Return its configuration.

        Raises:
            DraftproofError: It cannot be read.
        """
        with self.readable() as (place, options):
            try:
                return transformers.AutoConfig.from_pretrained(place, **options)
            except UNREADABLE as error:
                raise self.unreadable("configuration", error) from error

    def unreadable(self, what: str, error: Exception) -> DraftproofError:
        """Return the one line that says what cannot be read, and why."""
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        said = f"{self.name}: no {what} can be read from it: {first:.300}"
        return DraftproofError(said if self.local_only else f"{said}; {_NAMES}")

    @cached_property
    def tensors(self) -> Mapping[str, int]:
        """How many numbers each tensor has, by its name, as the files' headers say.

        Empty for a hub name and for files of another kind.

        Raises:
            DraftproofError: A file is cut off, or its header is not one.
        """
        if self.is_gguf:
            return self._tensors_of_gguf()
        found: dict[str, int] = {}
        folder = Path(self.place)
        for file in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
            found |= self._tensors_of(file)
        return found

    def _tensors_of(self, file: Path) -> dict[str, int]:
        size = file.stat().st_size
        try:
            with file.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                if not 0 < length <= min(size - 8, _LONGEST_HEADER):
                    raise ValueError("it has no header of safetensors")
                header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            ends = [int(t["data_offsets"][1]) for t in header.values()]
            if 8 + length + max(ends, default=0) > size:
                raise ValueError("it is cut off, its tensors end beyond it")
            return {n: _product(t["shape"]) for n, t in header.items()}
        except UNREADABLE as error:
            raise DraftproofError(
                f"{self.name}: {file.name} cannot be read as safetensors: {str(error)[:200]}"
            ) from error

    def _tensors_of_gguf(self) -> dict[str, int]:
        from gguf import GGUFReader  # noqa: PLC0415 - an extra

        try:
            tensors = GGUFReader(self.place).tensors
            return {t.name: int(t.n_elements) for t in tensors}
        except UNREADABLE as error:
            raise self.unreadable("tensors", error) from error

    def outline(self, dtype: torch.dtype | None) -> Any:
        """Return the model without its weights, on torch's device ``meta``.

        Args:
            dtype: Of the weights; None is the checkpoint's own.

        Raises:
            DraftproofError: The configuration cannot be read, is of no causal LM, or describes
                layers that the files do not hold.
        """
        config = self.config()
        self._require_layers(config)
        own = None if self.is_gguf else getattr(config, "dtype", None)
        try:
            with torch.device("meta"):
                return transformers.AutoModelForCausalLM.from_config(
                    config, dtype=dtype or own or torch.float32,
                    trust_remote_code=self.trust_remote_code,
                ).eval()  # fmt: skip
        except UNREADABLE as error:
            raise self.unreadable("model", error) from error

    def _require_layers(self, config: Any) -> None:
        """Refuse what would take forever to build: a layer has at least one tensor."""
        layers, known = config.get_text_config(decoder=True).num_hidden_layers, len(self.tensors)
        if known and isinstance(layers, int) and layers > known:
            raise DraftproofError(
                f"{self.name}: its configuration says {layers} layers, its files hold "
                f"{known} tensors"
            )


def _product(shape: list[int]) -> int:
    whole = 1
    for size in shape:
        if type(size) is not int or size < 0:
            raise ValueError(f"a tensor's shape is {shape}")
        whole *= size
    return whole


def _require_in_cache(name: str, place: str) -> None:
    try:
        snapshot_download(place, local_files_only=True, allow_patterns=["config.json"])
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise DraftproofError(
            f"{name}: neither a directory nor in the hub cache, and the hub cannot be reached; "
            f"{_NAMES}"
        ) from error


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
