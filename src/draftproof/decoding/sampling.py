"""From logits to distributions and from uniforms to tokens."""

from __future__ import annotations

import math

import torch

LEAST_TEMPERATURE = 1e-30
"""Below, logits divided by it leave the range of float32."""


def probabilities(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return softmax(logits / T) as ``float32``, of the shape of `logits` (``[..., V]``)."""
    return torch.softmax(logits.float() / temperature, dim=-1)


def draw(weights: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Draw by inverse distribution function.

    Args:
        weights: ``[..., V]`` non-negative, not all zero; normalisation is not needed.
        uniforms: ``[...] float64`` in [0, 1).

    Returns:
        ``[...] int64``; a token of weight zero is never drawn.
    """
    total = weights.double().cumsum(dim=-1)
    level = uniforms.double()[..., None] * total[..., -1:]
    index = torch.searchsorted(total, level, right=True).squeeze(-1)
    # a coin just below 1 may round up to the total: take the last token that carries weight
    last = weights.shape[-1] - 1 - (weights.flip(-1) > 0).int().argmax(dim=-1)
    return torch.minimum(index, last)


def require_temperature(temperature: float) -> None:
    """Check that logits can be divided by a temperature, or that it is 0.

    Raises:
        ValueError: They cannot.
    """
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise ValueError(f"the temperature must not be negative, got {temperature}")
    if 0 < temperature < LEAST_TEMPERATURE:
        raise ValueError(
            f"the temperature {temperature} is too small to divide by, the least is "
            f"{LEAST_TEMPERATURE}; 0 is greedy"
        )
