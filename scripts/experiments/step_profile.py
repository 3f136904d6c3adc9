#!/usr/bin/env python3
"""Where the time of a distillation step goes: perf samples by what they compute and by the step's parts.

Usage: step_profile.py SCRATCH --model MODEL.gguf --text FILE [--threads 2] [--steps 5] [key=value]...

The recipe is that of scripts/peers/kd_step_compare.py, with key=value on top. Needs perf (Debian: linux-perf). A
sample's part of the step follows from when it was taken (log.jsonl says how long the parts took), what it computes
from its function. oneDNN makes its matrix products at run time, without names: those whose neighbours in time are
attention's are attention's. Waiting for another thread is left out of the shares. The first step is not counted.
Samples that SCRATCH already holds are used again. Printed is a table in Markdown."""
import bisect
import collections
import json
import re
import subprocess
import time

from run_arguments import ROOT, make_parser, parse

PARTS = ("teacher", "forward", "loss", "backward", "rest")
WAITING, UNNAMED, PRODUCTS, ATTENTION = "waiting", "unnamed", "matrix products", "attention"
KINDS = [  # the first that matches
    (WAITING, r"libgomp"),
    (UNNAMED, r"perf-\d+\.map|\[anon\]|//anon"),
    (ATTENTION, r"flash_attention|mkl_blas|mkl_serv|Sleef_finz_expf"),
    (PRODUCTS, r"brgemm|jit_|copy_[ab]_chunk"),
    ("loss on logits", r"logit_|gradient_body|row_max|sum_exp|compare<|sterna::distill"),
    ("norms, SiLU, RoPE", r"rms_norm|silu|rotate_"),
    ("fake quantization", r"sterna::quant::(?!.*Linear)|kernels::(uniform_|dequantize|level_|sign_codes)"),
    ("optimizer", r"adamw|squared_norm"),
    ("sums, copies, fills", r"Vectorized|vectorized|_copy_kernel|memmove|memset|memcpy"),
    ("memory, oneDNN's preparation", r"alloc|free|unlink_chunk|memalign|dnnl|ideep|kallsyms|operator (new|delete)"),
    ("everything else", r""),
]


def record(args):
    """Runs `sterna train` under perf and keeps the moments at which steps ended."""
    command = [
        "perf", "record", "-q", "-e", "cpu-clock", "-F", "499", "-k", "CLOCK_MONOTONIC", "-o",
        args.scratch / "perf.data", "--", args.program, "train", "recipes/tests/tiny_kl.toml",
        f"model.path={args.model}", f"data.text={args.text}", f"data.cache={args.scratch / 'tokens'}",
        f"run.dir={args.scratch}", "run.name=run", "quant.weight=affine_learned", "quant.weight.bits=3",
        "quant.weight.group=64", "model.dtype=bf16", "teacher.dtype=bf16", "train.seq_len=512", "train.batch=4",
        "train.accumulate=1", "train.freeze=[]", f"train.steps={args.steps}", f"train.checkpoint_every={args.steps}",
        f"train.threads={args.threads}", "train.log_every=1", "eval.before=false", *args.overrides]
    ends = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if re.match(r"step \d+/", line):
                ends.append(time.monotonic())
    if process.returncode:
        raise SystemExit("perf or sterna failed")
    (args.scratch / "ends.json").write_text(json.dumps(ends))


def samples(args):
    """(is the main thread's, seconds, address, kind) of each sample."""
    text = subprocess.run(["perf", "script", "-i", args.scratch / "perf.data", "-F", "pid,tid,time,ip,sym,dso"],
                          capture_output=True, text=True, check=True).stdout
    for pid, tid, at, address, name in re.findall(r"^\s*(\d+)/(\d+)\s+([\d.]+):\s+([0-9a-f]+) (.*)$", text, re.M):
        yield tid, pid == tid, float(at), int(address, 16), next(k for k, p in KINDS if re.search(p, name))


def intervals(args, taken):
    """(begin, end, part) of all steps but the first, in order of time; what is between them is the rest."""
    steps = [json.loads(line) for line in (args.scratch / "run/log.jsonl").read_text().splitlines()]
    quantizing = [at for _, main, at, _, kind in taken if main and kind == "fake quantization"]
    for step, end in list(zip(steps, json.loads((args.scratch / "ends.json").read_text())))[1:]:
        begin = end - step["step_ms"] / 1e3
        # The gradient of the quantizers follows backward: its first sample ends what came before.
        earliest = begin + (step["step_ms"] - step["optimizer_ms"] - step["quant_ms"]) / 1e3 - 0.02
        at = next(t for t in quantizing if t > earliest)
        yield at, end, "rest"
        for part in ("backward", "loss", "forward", "teacher"):
            yield at - step[f"{part}_ms"] / 1e3, at, part
            at -= step[f"{part}_ms"] / 1e3
        yield begin, at, "rest"


def attention_pages(taken):
    """Pages of unnamed code that attention runs: its functions are seen right before or behind."""
    all_, beside = collections.Counter(), collections.Counter()
    for tid in {t[0] for t in taken}:
        own = [t for t in taken if t[0] == tid]
        for i, (_, _, at, address, kind) in enumerate(own):
            if kind != UNNAMED:
                continue
            all_[address >> 12] += 1
            for way in (-1, 1):
                j = i + way
                while 0 <= j < len(own) and own[j][4] == UNNAMED:
                    j += way
                if 0 <= j < len(own) and abs(own[j][2] - at) < 0.02 and own[j][4] == ATTENTION:
                    beside[address >> 12] += 1
    return {page for page, count in all_.items() if beside[page] > 0.2 * count}


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    args = parse(parser)
    if not (args.scratch / "ends.json").exists():
        record(args)
    taken = list(samples(args))
    spans = sorted(intervals(args, taken))
    attention = attention_pages(taken)
    counts = collections.Counter()
    for _, _, at, address, kind in taken:
        index = bisect.bisect_right(spans, (at, float("inf"), "")) - 1
        if index < 0 or at >= spans[index][1]:
            continue
        if kind == UNNAMED:
            kind = ATTENTION if address >> 12 in attention else PRODUCTS
        counts[kind, spans[index][2]] += 1
    waited = sum(n for (kind, _), n in counts.items() if kind == WAITING)
    working = sum(counts.values()) - waited
    print(f"{working} samples of work, {waited} of waiting\n")
    print("| % of the work | all | " + " | ".join(PARTS) + " |\n" + "|---" * (len(PARTS) + 2) + "|")
    for kind in [k for k, _ in KINDS if k not in (WAITING, UNNAMED)] + ["all"]:
        row = [sum(n for (k, p), n in counts.items() if k != WAITING and kind in (k, "all") and part in (p, "all"))
               for part in ("all", *PARTS)]
        print(f"| {kind} | " + " | ".join(f"{100 * n / working:.1f}" if n else "" for n in row) + " |")


if __name__ == "__main__":
    main()
