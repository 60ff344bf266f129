"""The forward of Llama-shaped models in one compiled call, for small steps on a processor.

A step of a small model spends more time between its operations than in them, and a product of a
few rows in a library costs several times that of one row. Both are gone here
(`draftproof.decoding.forward.fused_step`), and as every row's arithmetic is its own
(`draftproof.decoding.forward.kernels`), plain decoding, verification, trees and batches of any
shape agree bit for bit. Everything is computed in float32, by one thread.
"""

from __future__ import annotations

from functools import cache as remember
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from draftproof.decoding.cache import RowCache
from draftproof.decoding.forward.lean import plain_parts
from draftproof.decoding.forward.protocol import Forward, TokenBlock
from draftproof.decoding.trees.level import Level
from draftproof.decoding.trees.tree import Tree

_SMALL = 64 * 2**20
"""Bytes of weights below which more threads than one gain nothing."""


class FusedForward(Forward):
    """Runs a Llama-shaped causal LM over a `RowCache` by one compiled function.

    Args:
        module: A model that `suits` accepts. It is left as it is.
        own: Its own forward, which takes this one's place when the module no longer suits.
        owned: Nobody else will write to its parameters. Matrices that 16 bits hold exactly, as
            those of most checkpoints are, are then read from copies of 16 bits: the numbers are
            the same, and reading them is most of a step.
    """

    kind, shape_free = "fused", True

    def __init__(self, module: Any, own: Forward, *, owned: bool = False) -> None:
        from draftproof.decoding.forward.fused_attention import Sizes  # noqa: PLC0415 - numba takes half a second
        from draftproof.decoding.forward.kernels import remove_stale_cache  # noqa: PLC0415 - see above

        remove_stale_cache()

        self._module, self._own, self._owned = module, own, owned
        body, config = module.model, module.config
        attention = body.layers[0].self_attn
        self._sizes = Sizes(
            hidden=int(config.hidden_size),
            query_heads=int(config.num_attention_heads),
            heads=int(config.num_key_value_heads),
            width=int(attention.head_dim),
            room=-(-int(attention.head_dim) // 8) * 8,
            feed=int(config.intermediate_size),
            tokens=int(body.embed_tokens.weight.shape[0]),
            vocabulary=int(module.lm_head.weight.shape[0]),
            scale=float(attention.scaling),
            eps=float(body.norm.variance_epsilon),
        )
        source = _parameters(module)
        self._source = _addresses(source)
        self._matrices, read = _stored(source, owned)
        self._held = (source, read)
        self._layer_count = len(body.layers)
        self._layers, self._ends = _addresses(read)
        self._ends[0] = self._source[1][0]
        self._rotary = body.rotary_emb
        self._turns = (np.empty((0, 0), np.float32),) * 2

    def current(self) -> Forward:
        """See `Forward.current`: parameters that were replaced are read anew."""
        if not suits(self._module):
            return self._own
        layers, ends = _addresses(_parameters(self._module))
        if np.array_equal(layers, self._source[0]) and np.array_equal(ends, self._source[1]):
            return self
        return FusedForward(self._module, self._own, owned=self._owned)

    def open(self, rows: int, capacity: int) -> RowCache:
        """See `Forward.open`."""
        return RowCache(self._layer_count, rows, capacity, self)

    def first(self, module: Any, layers: int) -> Forward:
        """See `Forward.first`; the weights stay the target's own, so they are not copied."""
        return FusedForward(module, self._own.first(module, layers))

    def step(self, block: TokenBlock, cache: RowCache) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `Forward.step`.

        Raises:
            IndexError: A token that the model does not know or a slot beyond the cache.
        """
        from draftproof.decoding.forward.fused_attention import AttentionBlock  # noqa: PLC0415 - see above
        from draftproof.decoding.forward.fused_step import step  # noqa: PLC0415 - see above

        ids, starts, row, taps, sizes = (
            block.ids, block.starts, block.row or 0, block.taps, self._sizes
        )  # fmt: skip
        rows, columns = ids.shape
        keep = min(block.keep, columns)
        common: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
        logits = torch.empty(rows, keep, sizes.vocabulary, **common)
        states = torch.empty(rows, columns, len(taps) * sizes.hidden, **common)
        inputs = AttentionBlock(
            ids.long().contiguous().numpy(), starts.long().contiguous().numpy(),
            *_shape(block.tree, rows, columns), row, cache.capacity, keep, np.array(taps, np.int64),
        )  # fmt: skip
        done = len(starts) == rows and 0 <= row <= cache.rows - rows
        done = done and step(
            self._matrices, inputs, sizes, self._layers, self._ends, self._places(cache),
            *self._turned(cache.capacity), logits.numpy(), states.numpy(),
        )  # fmt: skip
        if not done:
            raise IndexError(
                f"tokens from {int(ids.min())} to {int(ids.max())} of {sizes.tokens}, slots up to "
                f"{int(starts.max()) + columns} of {cache.capacity}, rows up to {row + rows} "
                f"of {cache.rows}"
            )
        return logits, states if taps else None

    def _places(self, cache: RowCache) -> NDArray[np.int64]:
        """Return where the cache's keys and values lie."""
        if cache.addresses is None:
            like = torch.empty(0, self._sizes.room, dtype=torch.float32, device="cpu")
            for layer in cache.row_layers:
                if not layer.is_initialized:
                    layer.allocate(self._sizes.heads, like, like)
            places = [[s.keys.data_ptr(), s.values.data_ptr()] for s in cache.row_layers]
            cache.addresses = np.array(places, dtype=np.int64)
        return cache.addresses

    def _turned(self, capacity: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return cos and sin ``[T, D]`` for as many positions or more."""
        # one name for both: another thread may put a larger pair there meanwhile
        turns = self._turns
        if len(turns[0]) < capacity:
            everywhere = torch.arange(capacity, device="cpu")[None]
            like = torch.empty(1, 1, dtype=torch.float32, device="cpu")
            cos, sin = (t[0].contiguous().numpy() for t in self._rotary(like, everywhere))
            turns = self._turns = (cos, sin)
        return turns


def suits(module: Any) -> bool:
    """Return whether `FusedForward` can run a module."""
    if module.dtype != torch.float32 or not plain_parts(module):
        return False
    layers, config = module.model.layers, module.config
    biased = any(p.bias is not None for x in layers for p in (x.self_attn.o_proj, *_feed(x.mlp)))
    inside = config.num_attention_heads * layers[0].self_attn.head_dim
    sizes = (config.hidden_size, inside, config.intermediate_size)
    if biased or module.lm_head.bias is not None or any(size % 8 for size in sizes):
        return False
    if len(layers) != config.num_hidden_layers:
        return False
    return all(_readable(p) for p in module.parameters()) and _compiles()


def pays(module: Any) -> bool:
    """Return whether one thread of `FusedForward` is likely to be the fastest way."""
    small = sum(p.numel() for p in module.parameters()) * 4 <= _SMALL
    return small or torch.get_num_threads() == 1


def _readable(parameter: torch.Tensor) -> bool:
    """Return whether a parameter's numbers lie at its address, one after the other."""
    plain = type(parameter) is nn.Parameter and type(parameter.data) is torch.Tensor
    return (
        plain
        and parameter.device.type == "cpu"
        and parameter.dtype == torch.float32
        and parameter.is_contiguous()
    )


def _feed(mlp: Any) -> tuple[Any, Any, Any]:
    return mlp.gate_proj, mlp.up_proj, mlp.down_proj


@remember
def _compiles() -> bool:
    """Return whether numba is here and the processor multiplies and adds in one instruction."""
    try:
        import numba  # noqa: PLC0415 - may be absent
        from llvmlite import binding  # noqa: PLC0415

        from draftproof.decoding.forward import fused_step  # noqa: F401, PLC0415 - takes half a second
    except (ImportError, RuntimeError):  # numba finds no place for what it compiles
        return False
    if numba.config.DISABLE_JIT:
        return False
    features = binding.get_host_cpu_features()
    return not binding.get_default_triple().startswith(("x86", "i686")) or features.get(
        "fma", False
    )


_Parameters = list[list[torch.Tensor | None]]


def _parameters(module: Any) -> _Parameters:
    """Return every layer's parameters in the order of `fused_step.step`, and the ends'.

    Detached, so that their memory stays even if the module is given other numbers meanwhile.
    """
    found: _Parameters = []
    for layer in module.model.layers:
        attention, feed = layer.self_attn, layer.mlp
        inner = (attention.q_proj, attention.k_proj, attention.v_proj)
        norms = (getattr(attention, name, None) for name in ("q_norm", "k_norm"))
        found.append(
            [
                layer.input_layernorm.weight,
                *(part.weight for part in inner),
                *(part.bias for part in inner),
                *(getattr(norm, "weight", None) for norm in norms),
                attention.o_proj.weight,
                layer.post_attention_layernorm.weight,
                *(part.weight for part in _feed(feed)),
            ]
        )
    body = module.model
    found.append([body.embed_tokens.weight, body.norm.weight, module.lm_head.weight])
    return [[None if t is None else t.detach() for t in tensors] for tensors in found]


def _stored(held: _Parameters, owned: bool) -> tuple[NDArray[Any], _Parameters]:
    """Return the kind that all matrices are read in and the parameters, matrices of that kind."""
    matrices = {t.data_ptr(): t for ts in held for t in ts if t is not None and t.dim() == 2}
    for kind in (torch.float16, torch.bfloat16) if owned else ():
        if all(torch.equal(t.to(kind).float(), t) for t in matrices.values()):
            copies = {place: t.to(kind) for place, t in matrices.items()}
            view = np.int16 if kind is torch.float16 else np.uint16
            # tied matrices share a copy
            kept = [[None if t is None else copies.get(t.data_ptr(), t) for t in ts] for ts in held]
            return np.empty(0, view), kept
    return np.empty(0, np.float32), held


def _addresses(held: _Parameters) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    places = [[0 if t is None else t.data_ptr() for t in tensors] for tensors in held]
    return np.array(places[:-1], dtype=np.int64), np.array(places[-1], dtype=np.int64)


def _shape(
    tree: Tree | None, rows: int, columns: int
) -> tuple[NDArray[np.int64], bool, int, NDArray[np.bool_]]:
    """Return what `AttentionBlock` is told of the shape: depths, whether a chain, back and sees."""
    if tree is None:
        return np.arange(columns)[None], True, 0, np.empty((1, 1, 1), np.bool_)
    back = tree.first if isinstance(tree, Level) else 0
    depths, sees = tree.depths.long().contiguous(), tree.ancestors.contiguous()
    fitting = depths.shape[1] == columns == sees.shape[1] and sees.shape[2] >= back + columns
    if not fitting or depths.shape[0] not in {1, rows} or sees.shape[0] not in {1, rows}:
        raise IndexError(f"a tree of {depths.shape[1]} nodes for {rows} x {columns} tokens")
    return depths.numpy(), False, back, sees.numpy()
