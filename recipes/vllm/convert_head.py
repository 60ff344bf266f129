"""Write trained heads as a checkpoint that vLLM loads: convert_head.py HEADS TARGET OUT.

HEADS is a directory of ours or lab:NAME, TARGET the directory of the model that they belong to.
Nothing is trained or rounded but to float32, and what the heads compute stays the same, in other
shapes:

* Medusa's blocks share the target's matrix over the vocabulary, which is copied in.
* vLLM's EAGLE-3 layer is as wide as the target and has a matrix over the vocabulary of its own.
  Ours is narrower: its channels are filled up with zeros. A norm over the wider stream would see
  a smaller mean square, so the stream carries the root of the ratio of both widths, which every
  norm's weights take away again. Our last projection and the target's matrix become one.
* vLLM's attention wants other head widths: the rest is zeros again, rotation keeps its rates by
  another base, and the queries carry what the scale of attention loses.

EAGLE (the first) is refused: vLLM feeds its layer's output to the target's own matrix and back
into the layer without a projection between, which ours has.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from draftproof.decoding.drafters import head_files as trained
from draftproof.decoding.drafters.eagle_head import EagleHead
from draftproof.decoding.drafters.medusa_heads import MedusaHeads
from draftproof.records import DraftproofError

MULTIPLE = 32
"""Widths of attention heads that vLLM's processor kernels take are multiples of this."""
BASE = 10000.0
EMBEDDING = "model.embed_tokens.weight"


def vocabulary(target: Path) -> torch.Tensor:
    """Return the target's matrix over the vocabulary, [V, hidden] float32."""
    weights = {}
    for file in sorted(target.glob("*.safetensors")):
        weights |= load_file(file)
    found = weights.get("lm_head.weight", weights.get(EMBEDDING))
    if found is None:
        raise DraftproofError(f"{target}: holds neither lm_head.weight nor {EMBEDDING}")
    return found.float()


def medusa(heads: MedusaHeads, head: torch.Tensor) -> tuple[dict, dict]:
    """Return configuration and weights of Medusa's blocks."""
    config = {
        "model_type": "medusa",
        "architectures": ["MedusaModel"],
        "hidden_size": heads.shape.hidden,
        "vocab_size": heads.shape.vocabulary,
        "truncated_vocab_size": heads.shape.vocabulary,
        "num_heads": heads.shape.heads,
        "num_hidden_layers": 1,
        "medusa_fc_bias": True,
        "original_lm_head": True,
    }
    weights = {"lm_head.weight": head}
    for n, block in enumerate(heads.blocks):
        weights[f"blocks.{n}.layers.0.weight"] = block.weight
        weights[f"blocks.{n}.layers.0.bias"] = block.bias
    return config, weights


def eagle3(heads: EagleHead, head: torch.Tensor, positions: int) -> tuple[dict, dict]:
    """Return configuration and weights of an EAGLE-3 layer."""
    shape = heads.shape
    hidden, width = shape.hidden, shape.width
    if width > hidden:
        raise DraftproofError(f"a layer {width} wide does not fit a target {hidden} wide")
    each = width // shape.heads
    wide = -(-each // MULTIPLE) * MULTIPLE
    swell = math.sqrt(hidden / width)

    def channels(matrix: torch.Tensor, *, rows: int, columns: int) -> torch.Tensor:
        out = torch.zeros(rows, columns)
        out[: matrix.shape[0], : matrix.shape[1]] = matrix
        return out

    def norm(weight: torch.Tensor) -> torch.Tensor:
        return channels(weight[None] / swell, rows=1, columns=hidden)[0]

    def spread(matrix: torch.Tensor, heads_: int, turned: bool) -> torch.Tensor:
        """Give each head's rows their place among `wide`; RoPE turns the halves of a head."""
        places = 2 if turned else 1
        parts = matrix.view(heads_, places, each // places, -1)
        out = torch.zeros(heads_, places, wide // places, matrix.shape[1])
        out[:, :, : parts.shape[2]] = parts
        return out.reshape(heads_ * wide, matrix.shape[1])

    def read(matrix: torch.Tensor, heads_: int, turned: bool) -> torch.Tensor:
        rows = spread(matrix, heads_, turned)
        return channels(rows, rows=rows.shape[0], columns=2 * hidden)

    out = spread(heads.out.weight.T.contiguous(), shape.heads, False).T
    layer = {
        "self_attn.q_proj": read(heads.query.weight * math.sqrt(wide / each), shape.heads, True),
        "self_attn.k_proj": read(heads.key.weight, shape.kv_heads, True),
        "self_attn.v_proj": read(heads.value.weight, shape.kv_heads, False),
        "self_attn.o_proj": channels(swell * out, rows=hidden, columns=out.shape[1]),
        "mlp.gate_proj": channels(heads.gate.weight, rows=shape.mlp, columns=hidden),
        "mlp.up_proj": channels(heads.up.weight, rows=shape.mlp, columns=hidden),
        "mlp.down_proj": channels(swell * heads.down.weight, rows=hidden, columns=shape.mlp),
        "input_layernorm": heads.embedding_norm.weight,
        "hidden_norm": norm(heads.feature_norm.weight),
        "post_attention_layernorm": norm(heads.norm.weight),
    }
    entered = heads.enter.weight
    weights = {
        "fc.weight": channels(swell * entered, rows=hidden, columns=entered.shape[1]),
        "norm.weight": norm(heads.last_norm.weight),
        "lm_head.weight": channels(
            head @ heads.leave.weight, rows=shape.vocabulary, columns=hidden
        ),
        **{f"midlayer.{name}.weight": weight for name, weight in layer.items()},
    }
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": shape.mlp,
        "num_hidden_layers": 1,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": wide,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": BASE ** (wide / each)},
        "max_position_embeddings": positions,
        "vocab_size": shape.vocabulary,
        "draft_vocab_size": shape.vocabulary,
        "tie_word_embeddings": False,
        "target_hidden_size": hidden,
        "eagle_aux_hidden_state_layer_ids": list(shape.taps),
        "dtype": "float32",
    }
    return config, weights


def convert(heads: str, target: Path, out: Path) -> None:
    """Write the checkpoint.

    Raises:
        DraftproofError: Something cannot be read, or vLLM has no place for such heads.
    """
    loaded = trained.load(heads)
    head = vocabulary(target)
    shape = loaded.shape
    if tuple(head.shape) != (shape.vocabulary, shape.hidden):
        raise DraftproofError(f"{heads} belong to another target than {target}")
    if isinstance(loaded, MedusaHeads):
        config, weights = medusa(loaded, head)
    elif loaded.third and min(shape.taps) > 0:
        own = json.loads((target / "config.json").read_text("utf-8"))
        config, weights = eagle3(loaded, head, own["max_position_embeddings"])
    else:
        raise DraftproofError(
            f"{heads}: vLLM has no place for {shape.kind} heads of this shape; it has for "
            "medusa, and for eagle3 that reads the outputs of layers"
        )
    out.mkdir(parents=True)
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    kept = {k: v.detach().float().contiguous().clone() for k, v in weights.items()}
    save_file(kept, out / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("heads", "target", "out"):
        parser.add_argument(name, type=str if name == "heads" else Path)
    given = parser.parse_args()
    try:
        convert(given.heads, given.target, given.out)
    except (DraftproofError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
