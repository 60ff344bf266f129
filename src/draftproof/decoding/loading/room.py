"""Does the machine have the device, memory and disk that loading a model takes?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from draftproof.decoding.loading.checkpoint import Checkpoint
from draftproof.records import DraftproofError

OVERRIDE = "DRAFTPROOF_IGNORE_ROOM"
"""Environment variable that switches these refusals off."""
_DOWNLOADED = (".safetensors", ".json", ".model", ".txt", ".jinja", ".py")
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_MEMORY_FILES = (
    ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"),
)  # fmt: skip


def placed(name: str, dtype: str, device: str) -> tuple[torch.dtype | None, str]:
    """Return the type and the device that are meant, both known to exist.

    The type is None where the checkpoint says it.

    Raises:
        DraftproofError: There is no such type, or no such device here.
    """
    if device == "auto":
        available = torch.accelerator.is_available()
        device = str(torch.accelerator.current_accelerator()) if available else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DraftproofError(
            f"{name}: no device {device!r} can be used here: {first:.200}; "
            "choose device cpu, or auto for what there is"
        ) from error
    kind: torch.dtype | None = None
    if dtype != "auto":
        kind = getattr(torch, dtype, None)
        if not isinstance(kind, torch.dtype) or not kind.is_floating_point:
            raise DraftproofError(f"{name}: no floating point type is called {dtype!r}")
    elif device == "cpu":
        kind = torch.float32
    return kind, device


def overridden() -> bool:
    """Return whether models are to be loaded whatever the machine seems to have."""
    return os.environ.get(OVERRIDE, "") not in {"", "0"}


def bytes_needed(checkpoint: Checkpoint, outline: Any) -> int:
    """Return the bytes that a model's weights and buffers will take.

    What its configuration describes, or what its files hold in that type if that is more: either
    is allocated before one could see that they differ. Quantised weights stay as the files are.

    Args:
        checkpoint: Its files.
        outline: The model without weights, see `Checkpoint.outline`.
    """
    if getattr(outline.config, "quantization_config", None) is not None:
        return sum(f.stat().st_size for f in Path(checkpoint.place).glob("*.safetensors"))
    parts = [*outline.parameters(), *outline.buffers()]
    described = sum(p.numel() * p.element_size() for p in parts)
    return max(described, sum(checkpoint.tensors.values()) * outline.dtype.itemsize)


def bytes_available(device: str) -> int | None:
    """Return the bytes of memory that can be taken on a device now; None where that is not known.

    On a processor this is what the kernel and every control group around this process leave.
    """
    kind = torch.device(device)
    if kind.type == "cuda":
        return int(torch.cuda.mem_get_info(kind)[0])
    free = [*_of_the_kernel(), *_of_groups()]
    return min(free, default=None)


def _of_the_kernel() -> Iterator[int]:
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _of_groups(
    proc: Path = Path("/proc/self/cgroup"), top: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """Yield what each control group with a limit leaves; file pages it can drop count as free."""
    try:
        names = [line.split(":", 2) for line in proc.read_text("utf-8").splitlines()]
    except (OSError, ValueError):
        return
    for _, kinds, place in (n for n in names if len(n) == 3):
        base = top / "memory" if "memory" in kinds.split(",") else top
        inner = base / place.strip("/")
        for folder in (inner, *inner.parents):
            for limit, usage in _MEMORY_FILES:
                most, taken = _number(folder / limit), _number(folder / usage)
                if most is not None and taken is not None:
                    yield max(most - taken + _inactive_file(folder), 0)
            if folder == base:
                break


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text("ascii"))
    except (OSError, ValueError):
        return None  # no such file, or the word max


def _inactive_file(folder: Path) -> int:
    try:
        lines = (folder / "memory.stat").read_text("ascii").splitlines()
    except (OSError, ValueError):
        return 0
    found = {name: value for name, _, value in (line.partition(" ") for line in lines)}
    return int(found.get("total_inactive_file", found.get("inactive_file", 0)))


def require_memory(name: str, needed: int, device: str) -> None:
    """Check that a device has the memory that is needed.

    Raises:
        DraftproofError: It has not, with both numbers and how to load all the same.
    """
    available = None if overridden() else bytes_available(device)
    if available is not None and needed > available:
        raise DraftproofError(
            f"{name}: needs about {readable_size(needed)} of memory on {device}, "
            f"{readable_size(available)} can be taken; choose a smaller dtype, another device or "
            f"fewer --jobs, or set {OVERRIDE}=1 to load all the same"
        )


def require_disk(checkpoint: Checkpoint) -> None:
    """Check that the hub cache has room for what will be downloaded.

    Raises:
        DraftproofError: It has not, with both numbers and how to load all the same.
    """
    if checkpoint.local_only or overridden():
        return
    try:
        info = HfApi().model_info(checkpoint.place, files_metadata=True, timeout=10)
        cached = Path(constants.HF_HUB_CACHE) / f"models--{checkpoint.place.replace('/', '--')}"
        there = {p.name for p in (cached / "blobs").glob("*")}
        needed = sum(
            s.size or 0 for s in info.siblings or ()
            if s.rfilename.endswith(_DOWNLOADED)
            and not {s.blob_id, s.lfs.sha256 if s.lfs else None} & there
        )  # fmt: skip
    except (HfHubHTTPError, OSError, ValueError):
        return  # the load itself says what is wrong with the hub
    place = Path(constants.HF_HUB_CACHE)
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DraftproofError(
            f"{checkpoint.name}: {readable_size(needed)} are to be downloaded to {place}, which "
            f"has {readable_size(free)} left; set HF_HOME to another disk, or {OVERRIDE}=1 to "
            "try all the same"
        )


def readable_size(count: int) -> str:
    """Return a number of bytes as people read it.

    >>> readable_size(3 * 1024**3 // 2)
    '1.5 GiB'
    """
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"
