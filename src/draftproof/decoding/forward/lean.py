"""The forward of Llama-shaped models without a module's overhead.

A forward of transformers' Llama runs some two hundred small operations and a tower of Python
wrappers; on a model whose weights are read in less than a millisecond that is most of the step.
Here the same mathematics takes a third of the operations: projections that share their input
are one product, RoPE is read from a table, keys and values go straight to their slots. The weights
are the module's own: they are laid out anew and the module keeps views of them, so that nothing
is held twice.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from draftproof.decoding.cache import RowCache
from draftproof.decoding.forward.protocol import Forward, TokenBlock, aimed
from draftproof.decoding.masks import BlockView

_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_STATIC_ROPE = frozenset({"default", "linear", "llama3", "yarn"})
_HALVES = frozenset({torch.bfloat16, torch.float16})
_WITHOUT_HALVES = frozenset({"AVX2", "NO AVX"})
"""Processors that multiply half precision one element at a time."""


class _Product:
    """One or several linear layers that read the same input: x ↦ x·Wᵀ + b."""

    def __init__(self, *layers: nn.Linear) -> None:
        with torch.no_grad():
            stacked = torch.cat([layer.weight for layer in layers]).t().contiguous()
            start = 0
            for layer in layers:
                stop = start + layer.out_features
                layer.weight.data = stacked[:, start:stop].t()
                start = stop
            self.weight = stacked
            biases = [layer.bias for layer in layers]
            self.bias = None if biases[0] is None else torch.cat([b.detach() for b in biases])
        self._widened = (
            stacked.dtype in _HALVES
            and stacked.device.type == "cpu"
            and torch.backends.cpu.get_cpu_capability() in _WITHOUT_HALVES
        )

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self._widened:
            # summed in float32 and rounded once, as processors with half precision units do
            wide = x.float() @ self.weight.float()
            return (wide if self.bias is None else wide + self.bias).to(x.dtype)
        if self.bias is None:
            return x @ self.weight
        return torch.addmm(self.bias, x, self.weight)


class _Layer:
    """The parameters of one decoder layer."""

    def __init__(self, layer: Any) -> None:
        attention, feed = layer.self_attn, layer.mlp
        self.before = layer.input_layernorm.weight
        self.between = layer.post_attention_layernorm.weight
        self.query_norm = getattr(getattr(attention, "q_norm", None), "weight", None)
        self.key_norm = getattr(getattr(attention, "k_norm", None), "weight", None)
        self.heads = _Product(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = _Product(attention.o_proj)
        self.gate_up = _Product(feed.gate_proj, feed.up_proj)
        self.down = _Product(feed.down_proj)


class LeanForward(Forward):
    """Runs a Llama-shaped causal LM over a `RowCache`.

    Args:
        module: A model that `plain_parts` accepts. Its projections keep their values and change
            their memory layout.
        window: Tokens that its narrowest windowed layer sees; None if every layer sees all.
    """

    kind = "lean"

    def __init__(self, module: Any, window: int | None = None) -> None:
        nothing = torch.zeros((), dtype=module.dtype, device=module.device)
        self._seen, self._hidden = nothing, nothing - torch.inf
        self._window = window
        body, config = module.model, module.config
        self._query_heads = int(config.num_attention_heads)
        self._heads = int(config.num_key_value_heads)
        first = body.layers[0].self_attn
        self._width = int(first.head_dim)
        self._scale = float(first.scaling)
        self._eps = float(body.norm.variance_epsilon)
        self._embedding = body.embed_tokens.weight
        self._rotary = body.rotary_emb
        self._norm = body.norm.weight
        self._head = module.lm_head
        self._layers = [_Layer(layer) for layer in body.layers]
        self._turns = (torch.empty(0), torch.empty(0))

    def serves(self, capacity: int) -> bool:
        """See `Forward.serves`; a window that narrows what a row sees is left to the module."""
        return self._window is None or capacity <= self._window

    def open(self, rows: int, capacity: int) -> RowCache:
        """See `Forward.open`."""
        return RowCache(len(self._layers), rows, capacity, self)

    def step(self, block: TokenBlock, cache: RowCache) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `Forward.step`."""
        view = aimed(block, cache)
        return self.run(block.ids, view.queries, self.bias(view), cache, block.keep, block.taps)

    def bias(self, view: BlockView) -> torch.Tensor:
        """Return ``[B, 1, W, T]`` in the model's dtype, 0 where a slot is seen, else -inf."""
        return torch.where(view.seen, self._seen, self._hidden)[:, None]

    def run(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        bias: torch.Tensor,
        cache: RowCache,
        keep: int,
        taps: tuple[int, ...],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Run a block that the cache is aimed at.

        Args:
            ids: ``[B, W] int64`` tokens.
            positions: ``[B, W] int64`` for RoPE.
            bias: As `bias` makes it.
            cache: Of all rows.
            keep: See `TokenBlock`.
            taps: See `TokenBlock`.

        Returns:
            What `Forward.step` returns, logits in the model's dtype.
        """
        rows, width = ids.shape
        count, query, heads = rows * width, self._query_heads, self._heads
        cos, sin = (table[positions.reshape(-1)].unsqueeze(1) for table in self.tables(cache))
        x = functional.embedding(ids.reshape(-1), self._embedding)
        tapped = {0: x} if 0 in taps else {}
        for index, (layer, slots) in enumerate(zip(self._layers, cache.row_layers, strict=True), 1):
            read = self._normed(x, layer.before)
            projected = layer.heads(read).view(count, query + 2 * heads, self._width)
            rotated = self._rotated(projected[:, : query + heads], layer, cos, sin)
            values = projected[:, query + heads :]
            if not slots.is_initialized:
                slots.allocate(heads, rotated, values)
            seen_keys, seen_values = slots.write(rotated[:, query:], values)
            mixed = functional.scaled_dot_product_attention(
                rotated[:, :query].view(rows, width, query, self._width).transpose(1, 2),
                seen_keys,
                seen_values,
                attn_mask=bias,
                scale=self._scale,
                enable_gqa=query != heads,
            )
            x = x + layer.out(mixed.transpose(1, 2).reshape(count, query * self._width))
            gate, up = layer.gate_up(self._normed(x, layer.between)).chunk(2, dim=-1)
            x = x + layer.down(functional.silu(gate) * up)
            if index in taps:
                tapped[index] = x
        x = self._normed(x, self._norm)
        tapped[-1] = x
        states = (
            torch.cat([tapped[t] for t in taps], dim=-1).view(rows, width, -1) if taps else None
        )
        return self._head(x.view(rows, width, -1)[:, width - keep :]), states

    def first(self, module: Any, layers: int) -> Forward:
        """See `Forward.first`."""
        cut = copy.copy(self)
        cut._layers = self._layers[:layers]
        return cut

    def _normed(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.rms_norm(x, (x.shape[-1],), weight, self._eps)

    def _rotated(
        self, states: torch.Tensor, layer: _Layer, cos: torch.Tensor, sin: torch.Tensor
    ) -> torch.Tensor:
        """Turn queries and keys ``[N, H, D]`` to their positions; sin's first half is negated."""
        if layer.query_norm is not None and layer.key_norm is not None:
            query = self._normed(states[:, : self._query_heads], layer.query_norm)
            key = self._normed(states[:, self._query_heads :], layer.key_norm)
            states = torch.cat([query, key], dim=1)
        return torch.addcmul(states * cos, states.roll(self._width // 2, dims=-1), sin)

    def tables(self, cache: RowCache) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cos and sin ``[T, D]`` for every position that the cache can hold."""
        # one name for both: another thread may put a larger pair there meanwhile
        turns = self._turns
        if turns[0].shape[0] < cache.capacity:
            everywhere = torch.arange(cache.capacity, device=self._embedding.device)[None]
            cos, sin = self._rotary(self._embedding[:1, :1], everywhere)
            half = self._width // 2
            signed = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)
            turns = self._turns = (cos[0].contiguous(), signed)
        return turns


def plain_parts(module: Any) -> bool:
    """Return whether a module is built of exactly the parts that are read without it."""
    config = module.config
    if getattr(config, "model_type", None) not in _TYPES or module.training:
        return False
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") not in _STATIC_ROPE or "rope_type" not in rope:
        return False
    turned = rope.get("partial_rotary_factor", 1) == 1
    if not turned or config.hidden_act != "silu" or getattr(config, "attention_dropout", 0):
        return False
    projections = [
        part
        for layer in module.model.layers
        for block in (layer.self_attn, layer.mlp)
        for name, part in block.named_children()
        if name.endswith("_proj")
    ]
    if any(type(part) is not nn.Linear for part in (*projections, module.lm_head)):
        return False
    layers = module.model.layers
    norms = [n for x in layers for n in (x.input_layernorm, x.post_attention_layernorm)]
    known = all("rmsnorm" in _kind(norm) for norm in (*norms, module.model.norm))
    known = known and type(module.model.embed_tokens) is nn.Embedding
    return known and not any(_altered(part) for part in module.modules())


def _kind(part: Any) -> str:
    """Return a part's class in lower case; nothing for a class that is not transformers' own."""
    kind = type(part)
    return kind.__name__.lower() if kind.__module__.startswith("transformers.models.") else ""


def _altered(part: Any) -> bool:
    """Return whether a part does something else than its class says or is not a known class."""
    kind = type(part)
    foreign = not kind.__module__.startswith(("torch.nn.", "transformers."))
    hooks = (*part._forward_hooks.values(), *part._forward_pre_hooks.values())
    # transformers installs hooks of its own to hand out hidden states
    strange = any(not getattr(h, "__module__", "").startswith("transformers.") for h in hooks)
    return foreign or strange or "forward" in vars(part)
