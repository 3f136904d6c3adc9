#!/usr/bin/env python3
"""Makes tests/golden/tiny_* and rope.json: small random models and what transformers computes.

tiny_llama      grouped heads whose width is not width / heads, llama3 RoPE, biases, own head; fp32.
                tiny_llama.gguf holds the same weights as llama.cpp's converter would write them.
tiny_llama_tied bf16, tied, two shards, configuration keys as transformers 5 spells them.
tiny_<family>   one of every other family, with what sets it apart; .gguf as above where llama.cpp has it.
rope.json       inverse frequencies and attention factors of every RoPE variant.

Needs torch, transformers 4.57, safetensors, gguf. Usage: make_models.py [OUT]
"""
import json
import pathlib
import string
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers import GPT2Config, MistralConfig, OPTConfig, Qwen2Config, Qwen3Config
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

SHORT = dict(original_max_position_embeddings=16, low_freq_factor=1.0, high_freq_factor=4.0)


def random_model(config, seed):
    """Every parameter non-trivial: norms around 1, biases not 0, weights heavy-tailed."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn_like(p)
            norm = ("norm" in name or ".ln_" in name) and name.endswith("weight")
            p.copy_(1 + 0.3 * noise if norm else 0.12 * noise * noise.abs().sqrt())
    return model


def expected(model, vocab, tokens):
    ids = torch.randint(0, vocab, (2, tokens), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        out = model(ids, output_hidden_states=True, output_attentions=True)
    tensors = {"input_ids": ids, "logits": out.logits}
    tensors |= {f"hidden_states.{i}": h for i, h in enumerate(out.hidden_states)}
    tensors |= {f"attentions.{i}": a for i, a in enumerate(out.attentions)}
    return {k: v.contiguous() for k, v in tensors.items()}


NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
         "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
         "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
         "ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm",
         "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
       "transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm"}


def add_metadata(w, config):
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    gpt2 = config.model_type == "gpt2"
    w.add_feed_forward_length(4 * config.hidden_size if gpt2 else config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    if gpt2:
        w.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    w.add_head_count_kv(config.num_key_value_heads)
    w.add_key_length(head_width(config))
    w.add_value_length(head_width(config))
    w.add_rope_dimension_count(head_width(config))
    w.add_rope_freq_base(config.rope_theta)
    w.add_layer_norm_rms_eps(config.rms_norm_eps)
    if config.model_type == "mistral":
        w.add_sliding_window(config.sliding_window)


def head_width(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def add_tokenizer(w, vocab):
    tokens = list(string.ascii_letters)[: vocab - 2] + ["ab", "<|end|>"]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([1] * (vocab - 1) + [3])
    w.add_token_merges(["a b"])
    w.add_bos_token_id(vocab - 1)  # a control token: transformers would cut every other one out of the text
    w.add_eos_token_id(vocab - 1)


def to_gguf(model, config, path, tokenizer=False):
    """Names, permutation and rope_freqs.weight as llama.cpp's converter has them."""
    arch = "llama" if config.model_type == "mistral" else config.model_type
    w = gguf.GGUFWriter(path, arch)
    add_metadata(w, config)
    if tokenizer:
        add_tokenizer(w, config.vocab_size)
    for name, p in model.named_parameters():
        data = p.detach().float().numpy()
        path_, kind = name.rsplit(".", 1)
        if path_ in TOP:
            w.add_tensor(f"{TOP[path_]}.{kind}", data)
            continue
        _, _, layer, module = path_.split(".", 3)
        if arch == "llama" and module in ("self_attn.q_proj", "self_attn.k_proj"):
            width = head_width(config)
            shape = data.shape
            data = data.reshape(shape[0] // width, 2, width // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)
        if arch == "gpt2" and data.ndim == 2:  # Conv1D
            data = data.T
        w.add_tensor(f"blk.{layer}.{NAMES[module]}.{kind}", np.ascontiguousarray(data))
    if getattr(config, "rope_scaling", None):
        plain = LlamaConfig(**{**config.to_dict(), "rope_scaling": None})
        base = LlamaForCausalLM(plain).model.rotary_emb.inv_freq
        w.add_tensor("rope_freqs.weight", (base / model.model.rotary_emb.inv_freq).numpy().astype(np.float32))
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


def families():
    """Name, configuration and whether llama.cpp has the family."""
    ids = dict(vocab_size=48, bos_token_id=1, eos_token_id=2)
    rotated = dict(**ids, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                   num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5)
    opt = dict(**ids, pad_token_id=1, hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=4,
               max_position_embeddings=64)
    yield "mistral", MistralConfig(**rotated, head_dim=8, sliding_window=5, rope_theta=7000.0), True
    yield "qwen2", Qwen2Config(**rotated, tie_word_embeddings=True, rope_theta=1e6), True
    yield "qwen2_windows", Qwen2Config(**rotated, use_sliding_window=True, sliding_window=4, max_window_layers=1), False
    yield "qwen3", Qwen3Config(**rotated, head_dim=8), True
    yield "opt", OPTConfig(**opt, word_embed_proj_dim=16, dropout=0.0), False
    yield "opt_behind", OPTConfig(**opt, word_embed_proj_dim=12, do_layer_norm_before=False, dropout=0.0), False
    yield "gpt2", GPT2Config(**ids, n_embd=16, n_layer=2, n_head=4, n_positions=64), True
    yarn = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
    yield "llama_yarn", LlamaConfig(**rotated, rope_scaling=yarn), False
    dynamic = dict(rope_type="dynamic", factor=4.0)
    yield "llama_dynamic", LlamaConfig(**{**rotated, "max_position_embeddings": 8}, rope_scaling=dynamic), False
    longrope = dict(rope_type="longrope", factor=4.0, short_factor=[1.0, 1.2], long_factor=[1.5, 6.0])
    yield "llama_longrope", LlamaConfig(**{**rotated, "max_position_embeddings": 8}, rope_scaling=longrope), False


def make_families(out):
    for seed, (name, config, has_gguf) in enumerate(families(), 21):
        model = random_model(config, seed)
        folder = out / f"tiny_{name}"
        model.save_pretrained(folder)
        save_file(expected(model, config.vocab_size, 13), folder / "expected.safetensors")
        if has_gguf:
            to_gguf(model, config, str(out / f"tiny_{name}.gguf"), tokenizer=True)


def rope_cases():
    """Scaling, theta, head width, positions of the configuration, length asked for."""
    yarn = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=2048)
    factors = dict(short_factor=[1 + i / 32 for i in range(32)], long_factor=[1 + i * i / 8 for i in range(32)])
    longrope = dict(rope_type="longrope", factor=8.0, **factors)
    llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=8192)
    yield dict(rope_type="linear", factor=4.0), 10000.0, 64, 2048, 100
    yield llama3, 500000.0, 128, 131072, 100
    for length in (100, 2048, 2049, 5000):
        yield dict(rope_type="dynamic", factor=2.0), 10000.0, 64, 2048, length
    yield yarn, 10000.0, 64, 8192, 100
    yield {**yarn, "factor": 40.0, "mscale": 0.707, "mscale_all_dim": 1.0}, 10000.0, 64, 163840, 100
    yield {**yarn, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False}, 1e6, 128, 8192, 100
    yield {**yarn, "attention_factor": 1.25}, 150000.0, 64, 8192, 100
    for length in (100, 4096, 4097):
        yield longrope, 10000.0, 64, 4096, length
    yield {**longrope, "attention_factor": 1.5}, 10000.0, 64, 4096, 5000


def make_rope(out):
    cases = []
    for scaling, theta, width, positions, length in rope_cases():
        config = LlamaConfig(hidden_size=4 * width, num_attention_heads=4, head_dim=width, rope_theta=theta,
                             max_position_embeddings=positions, rope_scaling=dict(scaling))
        init = ROPE_INIT_FUNCTIONS[scaling["rope_type"]]
        # A tensor, as the forward pass hands it on.
        frequencies, factor = init(config, "cpu", seq_len=torch.tensor(length))
        cases.append(dict(rope_scaling=scaling, rope_theta=theta, head_dim=width, max_position_embeddings=positions,
                          length=length, attention_factor=factor, inverse_frequencies=frequencies.tolist()))
    (out / "rope.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden")
    target.mkdir(parents=True, exist_ok=True)
    make_biased(target)
    make_tied(target)
    make_families(target)
    make_rope(target)
