"""GPTQ: 4-bit weights whose rounding errors are pushed into the weights not yet rounded.

The algorithm is that of Frantar et al., arXiv 2210.17323, section 3: for a layer `y = W x` with
calibration inputs `X`, the Hessian of the squared output error is `H = 2 X Xᵀ`; columns are
rounded one by one, and each rounding error is spread over the later columns along the row of the
Cholesky factor of `H⁻¹`. Blocks are taken in order, each seeing inputs that the already rounded
blocks produced.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class GPTQConfig:
    """What is recorded beside the weights.

    Attributes:
        bits: width of the integer grid.
        group_size: columns that share one scale and one zero point.
        damping: share of the mean diagonal that is added to the Hessian.
    """

    bits: int = 4
    group_size: int = 128
    damping: float = 0.01

    def record(self) -> dict[str, Any]:
        """The fields as stored in `quantisation.json`."""
        return {
            "method": "gptq",
            **asdict(self),
            "symmetric": False,
            "act_order": False,
            "stored_as": "dequantised fp16",
            "skipped": ["embed_tokens", "lm_head", "norms"],
        }


def affine_grid(block: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Scale and zero point of each row of `block` (`[rows, columns]`), both `[rows, 1]`."""
    top = 2**bits - 1
    low = block.amin(1, keepdim=True).clamp(max=0)
    high = block.amax(1, keepdim=True).clamp(min=0)
    scale = ((high - low) / top).clamp(min=1e-8)
    return scale, torch.round(-low / scale)


def to_grid(values: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    """Nearest grid values, dequantised."""
    codes = torch.clamp(torch.round(values / scale) + zero, 0, 2**bits - 1)
    return scale * (codes - zero)


def round_to_nearest(weight: Tensor, config: GPTQConfig) -> Tensor:
    """Round every weight on the grid of its group: the method that GPTQ has to beat."""
    out = torch.empty_like(weight)
    for start in range(0, weight.shape[1], config.group_size):
        block = weight[:, start : start + config.group_size]
        out[:, start : start + config.group_size] = to_grid(
            block, *affine_grid(block, config.bits), config.bits
        )
    return out


def gptq(weight: Tensor, gram: Tensor, config: GPTQConfig) -> Tensor:
    """Quantise one layer.

    Args:
        weight: `[outputs, inputs] float32`.
        gram: `X Xᵀ` of the calibration inputs, `[inputs, inputs] float32`.
        config: bits, group size and damping.

    Returns:
        The dequantised weights, `[outputs, inputs] float32`.
    """
    work = weight.clone().double()
    hessian = 2 * gram.double()
    dead = hessian.diagonal() == 0
    hessian.diagonal()[dead] = 1.0
    work[:, dead] = 0.0  # an input that is always zero needs no weight
    hessian.diagonal().add_(config.damping * hessian.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor = torch.linalg.cholesky(inverse, upper=True)
    out = torch.empty_like(work)
    columns = work.shape[1]
    for i in range(columns):
        if i % config.group_size == 0:
            # The grid is laid over the weights as compensated so far (the paper's grouping).
            scale, zero = affine_grid(work[:, i : i + config.group_size], config.bits)
        column = work[:, i : i + 1]
        out[:, i : i + 1] = to_grid(column, scale, zero, config.bits)
        error = (column - out[:, i : i + 1]) / factor[i, i]
        work[:, i:] -= error @ factor[i : i + 1, i:]
    return out.to(weight.dtype)


def _grams(
    model: Any, linears: dict[str, nn.Linear], batches: Sequence[Tensor]
) -> dict[str, Tensor]:
    """`X Xᵀ` of each linear layer's inputs over the calibration batches."""
    grams = {n: torch.zeros(m.in_features, m.in_features) for n, m in linears.items()}

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
            rows = inputs[0].reshape(-1, inputs[0].shape[-1])
            grams[name] += rows.T @ rows

        return hook

    handles = [m.register_forward_hook(watch(n)) for n, m in linears.items()]
    with torch.no_grad():
        for ids in batches:
            model.model(input_ids=ids, use_cache=False)
    for handle in handles:
        handle.remove()
    return grams


def quantise(model: Any, batches: Sequence[Tensor], config: GPTQConfig) -> None:
    """Quantise the linear layers of every block of `model` in place, embeddings left as they are.

    Args:
        model: a Llama whose blocks are quantised first to last.
        batches: calibration ids, each `[B, W] int64` without padding.
        config: bits, group size and damping.
    """
    for block in model.model.layers:
        linears = {n: m for n, m in block.named_modules() if isinstance(m, nn.Linear)}
        for name, gram in _grams(model, linears, batches).items():
            linears[name].weight.data = gptq(linears[name].weight.data, gram, config)
