#!/usr/bin/env python3
"""One distilled low-bit training step as PyTorch eager + transformers users write it.

The baseline that Sterna's step is measured against: teacher in bf16 without gradient, student with
fp32 masters under bf16 autocast whose block linears fake-quantize their weight in every forward
(asymmetric, straight-through), KL divergence on whole logits, AdamW, clipping at 1.0.
--qat torchao takes torchao's linears for the fake quantization, --compile puts torch.compile
around both models and the loss. Under torchrun the student is in DistributedDataParallel over Gloo
and every rank takes its share of the batch.

Needs torch, transformers 4.57, gguf (scripts/peers/setup). kd_step_compare.py runs it side by side
with `sterna train`. Example:
  ~/.cache/sterna/peers/bin/python scripts/peers/kd_step.py --model MODEL.gguf --steps 3
"""

import argparse
import json
import os
import resource
import time

import torch
import torch.nn.functional as F


class FakeQuantLinear(torch.nn.Linear):
    """y = x round(W)^T; the gradient passes the rounding as it is."""

    bits, group = 3, 64

    def quantized(self):
        w = self.weight.float()
        g = w.reshape(-1, self.group)
        low, high = g.amin(1, keepdim=True), g.amax(1, keepdim=True)
        top = 2**self.bits - 1
        scale = (high - low).clamp_min(1e-5) / top
        zero = (-(low / scale).round()).clamp(0, top)
        q = (((g / scale).round() + zero).clamp(0, top) - zero) * scale
        return w + (q.reshape_as(w) - w).detach()

    def forward(self, x):
        return F.linear(x, self.quantized(), self.bias)


def quantize_blocks(model, bits, group, qat):
    if qat == "torchao":
        from torchao.quantization import quantize_
        from torchao.quantization.qat import IntxFakeQuantizeConfig, QATConfig

        weight = IntxFakeQuantizeConfig(getattr(torch, f"uint{bits}"), group_size=group, is_symmetric=False)
        quantize_(model.model.layers, QATConfig(weight_config=weight, step="prepare"))
        return
    FakeQuantLinear.bits, FakeQuantLinear.group = bits, group
    for layer in model.model.layers:
        for module in layer.modules():
            if type(module) is torch.nn.Linear:
                module.__class__ = FakeQuantLinear


def load(path, dtype):
    from transformers import AutoModelForCausalLM

    options = {"dtype": dtype, "attn_implementation": "sdpa"}
    if path.endswith(".gguf"):
        options["gguf_file"] = os.path.basename(path)
        path = os.path.dirname(os.path.abspath(path))
    return AutoModelForCausalLM.from_pretrained(path, **options)


def divergence(logits, taught):
    vocab = logits.size(-1)
    return F.kl_div(
        F.log_softmax(logits.float().view(-1, vocab), -1),
        F.log_softmax(taught.float().view(-1, vocab), -1),
        reduction="batchmean",
        log_target=True,
    )


def step(student, teacher, optimizer, tokens, autocast):
    with torch.no_grad():
        taught = teacher(tokens, use_cache=False).logits
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = student(tokens, use_cache=False).logits
    loss = divergence(logits, taught)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="GGUF file or Hugging Face folder")
    parser.add_argument("--steps", type=int, default=3, help="measured ones, after one to warm up")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--qat", choices=["own", "torchao"], default="own")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16")
    return parser.parse_args()


def main():
    args = parse()
    torch.set_num_threads(args.threads)
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    rank = int(os.environ.get("RANK", 0))
    torch.manual_seed(rank)
    autocast = args.dtype == "bf16"
    teacher = load(args.model, torch.bfloat16 if autocast else torch.float32).eval()
    student = load(args.model, torch.float32).train()
    quantize_blocks(student, args.bits, args.group, args.qat)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5, weight_decay=0.0)
    vocabulary = student.config.vocab_size
    if ranks > 1:
        torch.distributed.init_process_group("gloo")
        student = torch.nn.parallel.DistributedDataParallel(student)
    if args.compile:
        global divergence
        student, teacher, divergence = map(torch.compile, (student, teacher, divergence))
    tokens = torch.randint(0, vocabulary, (args.batch // ranks, args.length))
    rows = []
    for index in range(args.steps + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        loss = step(student, teacher, optimizer, tokens, autocast)
        row = {"step": index, "loss": loss, "seconds": time.perf_counter() - wall,
               "cpu_seconds": time.process_time() - cpu}
        rows.append(row)
        if rank == 0:
            print(json.dumps(row), flush=True)
    if ranks > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if rank != 0:
        return
    best = min(row["seconds"] for row in rows[1:])
    median = sorted(row["seconds"] for row in rows[1:])[(len(rows) - 1) // 2]
    print(json.dumps({
        "format": 1,
        "peer": f"torch {torch.__version__} {'compiled' if args.compile else 'eager'} + transformers, {args.qat} QAT",
        "ranks": ranks,
        "tokens_per_step": ranks * tokens.numel(),
        "tokens_per_second": ranks * tokens.numel() / median,
        "best_tokens_per_second": ranks * tokens.numel() / best,
        "cpu_seconds_per_step": sorted(r["cpu_seconds"] for r in rows[1:])[(len(rows) - 1) // 2],
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "threads": args.threads,
        "dtype": args.dtype,
    }))


if __name__ == "__main__":
    main()
