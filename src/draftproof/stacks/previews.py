"""The models of an arm without their weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from draftproof.decoding.loading.checkpoint import Checkpoint
from draftproof.decoding.loading.room import bytes_needed, placed, require_disk
from draftproof.decoding.pretrained import Opened
from draftproof.decoding.pretrained import preview as preview_of
from draftproof.stacks.check import ArmFindings
from draftproof.stacks.models import quiet


@dataclass(frozen=True, slots=True)
class Previews:
    """Models without weights; None for what an arm does not have or what cannot be read."""

    target: Opened | None = None
    draft: Opened | None = None


def preview(found: ArmFindings) -> Previews:
    """Return the models of an arm without their weights, and note what is wrong with them."""
    arm = found.arm
    kind, device = torch.float32, ""
    with found.at("device"):
        kind, device = placed(arm.target, arm.dtype, arm.device)  # type: ignore[assignment]
    opened: dict[str, Opened] = {}
    for where, name in (("target", arm.target), ("draft", arm.draft)):
        if name is None:
            continue
        with found.at(where), quiet():
            opened[where], needed = _known(name, kind, arm.trust_remote_code)
            if device:
                found.needed[(name, arm.dtype, device)] = needed
    return Previews(opened.get("target"), opened.get("draft"))


@lru_cache(maxsize=16)
def _known(name: str, dtype: torch.dtype | None, trust_remote_code: bool) -> tuple[Opened, int]:
    checkpoint = Checkpoint.at(name, trust_remote_code=trust_remote_code)
    require_disk(checkpoint)
    opened = preview_of(checkpoint, dtype)
    return opened, bytes_needed(checkpoint, opened.module)
