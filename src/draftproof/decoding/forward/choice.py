"""Which forward a model runs by: the only place that knows all of them."""

from __future__ import annotations

import sys
from typing import Any

import torch

from draftproof.decoding.forward.captured import CapturedForward
from draftproof.decoding.forward.fused import FusedForward, pays, suits
from draftproof.decoding.forward.lean import LeanForward, plain_parts
from draftproof.decoding.forward.longrope import LongRopeForward
from draftproof.decoding.forward.module import ModuleForward
from draftproof.decoding.forward.protocol import Forward
from draftproof.decoding.support import Support


def own_forward(module: Any, support: Support) -> ModuleForward | LongRopeForward:
    """Return the forward of a module as it is, over rows that can be rolled back."""
    if support.short_positions is not None:
        return LongRopeForward(module, support)
    return ModuleForward(module, support)


def choose(
    module: Any, own: ModuleForward | LongRopeForward, *, lean: bool, fused: bool, graphs: bool
) -> Forward:
    """Return the fastest forward that computes what a module says.

    Args:
        module: A transformers causal LM in evaluation mode.
        own: Its own forward, which any model can run by.
        lean: The module is nobody else's: Llama-shaped ones run through `LeanForward`, which lays
            their weights out anew, and a fused one may read copies of its weights.
        fused: Run small Llama-shaped models in float32 on a processor through `FusedForward`.
        graphs: On a GPU, record the steps of a lean model as CUDA graphs. Attention then reads the
            whole capacity of the cache in every step.
    """
    support = own.support
    if not isinstance(own, ModuleForward):
        return own
    window = support.window
    device: torch.device = module.device
    unwindowed = window is None or (support.positions or sys.maxsize) <= window
    if fused and unwindowed and device.type == "cpu" and suits(module) and pays(module):
        return FusedForward(module, own, owned=lean)
    if not (lean and plain_parts(module)):
        return own
    forward = LeanForward(module, window)
    return CapturedForward(forward) if graphs and device.type == "cuda" else forward
