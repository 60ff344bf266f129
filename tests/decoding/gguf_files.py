"""Writing a Llama-shaped checkpoint as a GGUF file, as llama.cpp's converter lays it out."""

import json

import gguf
from safetensors.torch import load_file

PARTS = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def interleaved(weight, heads):
    """Lay out a projection's rows as ggml's rotation pairs them: neighbours, not halves."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def named(name, config):
    """Return a tensor's GGUF name and the number of heads that its rows are interleaved in."""
    stem = name.removesuffix(".weight")
    if stem in WHOLE:
        return f"{WHOLE[stem]}.weight", 0
    _, _, layer, part = stem.split(".", 3)
    heads = {"self_attn.q_proj": config["num_attention_heads"],
             "self_attn.k_proj": config["num_key_value_heads"]}.get(part, 0)  # fmt: skip
    return f"blk.{layer}.{PARTS[part]}.weight", heads


def write_gguf(source, file, *, template=None, kind=gguf.GGMLQuantizationType.F32):
    """Write a directory's Llama with its byte-level tokenizer and a chat template.

    Args:
        source: Directory of safetensors.
        file: What is written.
        template: The chat template; the directory's own if None.
        kind: How matrices are stored.
    """
    config = json.loads((source / "config.json").read_text())
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    settings = json.loads((source / "tokenizer_config.json").read_text())
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    special = {a["id"]: a["content"] for a in tokenizer["added_tokens"]}
    tokens = {i: t for t, i in tokenizer["model"]["vocab"].items()} | special
    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([tokens[i] for i in range(len(tokens))])
    writer.add_token_types(
        [kinds.CONTROL if i in special else kinds.NORMAL for i in range(len(tokens))]
    )
    writer.add_token_merges([" ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_chat_template(template or settings["chat_template"])
    for name, tensor in load_file(source / "model.safetensors").items():
        weight = tensor.float().numpy()
        there, heads = named(name, config)
        weight = interleaved(weight, heads) if heads else weight
        if weight.ndim == 1 or kind == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(there, weight)
        else:
            packed = gguf.quants.quantize(weight, kind)
            writer.add_tensor(there, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return str(file)
