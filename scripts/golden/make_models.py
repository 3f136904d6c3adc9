#!/usr/bin/env python3
"""Makes tests/golden/tiny_llama*: small random Llama models and what transformers computes.

tiny_llama      grouped heads whose width is not width / heads, llama3 RoPE, biases, own head; fp32.
                tiny_llama.gguf holds the same weights as llama.cpp's converter would write them.
tiny_llama_tied bf16, tied, two shards, configuration keys as transformers 5 spells them.

Needs torch, transformers 4.57, safetensors, gguf. Usage: make_models.py [OUT]
"""
import json
import pathlib
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

SHORT = dict(original_max_position_embeddings=16, low_freq_factor=1.0, high_freq_factor=4.0)


def random_model(config, seed):
    """Every parameter non-trivial: norms around 1, biases not 0, weights heavy-tailed."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn_like(p)
            p.copy_(1 + 0.3 * noise if "norm" in name else 0.12 * noise * noise.abs().sqrt())
    return model


def expected(model, vocab, tokens):
    ids = torch.randint(0, vocab, (2, tokens), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        out = model(ids, output_hidden_states=True, output_attentions=True)
    tensors = {"input_ids": ids, "logits": out.logits}
    tensors |= {f"hidden_states.{i}": h for i, h in enumerate(out.hidden_states)}
    tensors |= {f"attentions.{i}": a for i, a in enumerate(out.attentions)}
    return {k: v.contiguous() for k, v in tensors.items()}


def to_gguf(model, config, path):
    """Names, permutation and rope_freqs.weight as llama.cpp's converter has them."""
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_key_length(config.head_dim)
    w.add_value_length(config.head_dim)
    w.add_rope_dimension_count(config.head_dim)
    w.add_rope_freq_base(config.rope_theta)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm"}
    top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
           "lm_head.weight": "output.weight"}
    for name, p in model.named_parameters():
        data = p.detach().float().numpy()
        if name in top:
            w.add_tensor(top[name], data)
            continue
        _, _, layer, rest = name.split(".", 3)
        module, kind = rest.rsplit(".", 1)
        if module in ("self_attn.q_proj", "self_attn.k_proj"):
            heads = data.shape[0] // config.head_dim
            shape = data.shape
            data = data.reshape(heads, 2, config.head_dim // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
        w.add_tensor(f"blk.{layer}.{names[module]}.{kind}", np.ascontiguousarray(data))
    plain = LlamaConfig(**{**config.to_dict(), "rope_scaling": None})
    scaled = model.model.rotary_emb.inv_freq
    base = LlamaForCausalLM(plain).model.rotary_emb.inv_freq
    w.add_tensor("rope_freqs.weight", (base / scaled).numpy().astype(np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make_biased(out):
    config = LlamaConfig(vocab_size=64, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, head_dim=8,
                         max_position_embeddings=128, rms_norm_eps=1e-5, attention_bias=True, mlp_bias=True,
                         rope_theta=10000.0, rope_scaling=dict(rope_type="llama3", factor=8.0, **SHORT),
                         tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
                         attn_implementation="eager")
    model = random_model(config, 11)
    model.save_pretrained(out / "tiny_llama")
    save_file(expected(model, config.vocab_size, 21), out / "tiny_llama" / "expected.safetensors")
    to_gguf(model, config, str(out / "tiny_llama.gguf"))


def make_tied(out):
    config = LlamaConfig(vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64,
                         tie_word_embeddings=True, rope_theta=5000.0, bos_token_id=1, eos_token_id=[2, 3],
                         attn_implementation="eager")
    folder = out / "tiny_llama_tied"
    model = random_model(config, 12).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="3KB")
    # Read again in fp32: a model cast to bf16 has lost bits of its RoPE frequencies too.
    stored = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    save_file(expected(stored.eval(), config.vocab_size, 9), folder / "expected.safetensors")
    path = folder / "config.json"
    keys = json.loads(path.read_text())
    keys["rope_parameters"] = {"rope_type": "default", "rope_theta": keys.pop("rope_theta")}
    keys.pop("rope_scaling", None)
    keys["dtype"] = keys.pop("torch_dtype", keys.get("dtype"))
    path.write_text(json.dumps(keys, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden")
    target.mkdir(parents=True, exist_ok=True)
    make_biased(target)
    make_tied(target)
