#!/usr/bin/env python3
"""Holds the memory that `sterna plan` promises against what `sterna train` takes, one configuration after the other.

Usage: plan_memory.py SCRATCH --model MODEL.gguf --text FILE [--only NAME,...] [--ranks N] [key=value]...

Two steps of every configuration: from the second on moments are there. Measured is the process's highest resident
memory; in brackets, that less the highest of `sterna plan` itself on the same recipe (libraries and code), against
the plan without its part "program". With --ranks N the run is that of `sterna train --nproc N`, and rank 0 counts.
Printed is a table in Markdown; results that SCRATCH already holds are used again."""
import json
import os
import re
import subprocess

from run_arguments import ROOT, make_parser, parse

LEARNED = ["quant.weight=affine_learned", "quant.weight.bits=3", "quant.weight.group=64"]
BF16 = ["model.dtype=bf16", "teacher.dtype=bf16"]
CONFIGURATIONS = {
    "fp32, learned 3 bits, KL": LEARNED + ["train.batch=2"],
    "bf16, learned 3 bits, KL": LEARNED + BF16 + ["train.batch=4"],
    "bf16, recomputed, KL": LEARNED + BF16 + ["train.batch=8", "train.recompute=true"],
    "bf16, full precision, labels alone": ["quant.weight=none", "model.dtype=bf16", "kd.loss=gt", "train.batch=8"],
    "bf16, ternary, teacher at 8 bits, embedding and norms frozen": BF16 + [
        "train.batch=4", "train.freeze=[\"model.embed_tokens\", \"*norm*\"]",
        "teacher.quant.weight={name=\"minmax_sym\",bits=8}"],
    "fp32, ternary, bf16 teacher, average kept": [
        "teacher.dtype=bf16", "train.batch=1", "train.ema=0.99", "quant.weight=twn"],
}


def recipe(args, overrides):
    return ["recipes/tests/tiny_kl.toml", f"model.path={args.model}", f"data.text={args.text}",
            f"data.cache={args.scratch / 'tokens'}", "train.seq_len=256", f"train.accumulate={args.ranks}",
            "train.freeze=[]", "train.steps=2", "train.checkpoint_every=0", "train.threads=1", "eval.before=false",
            "eval.after=false", *overrides, *args.overrides]


def peak_of(command):
    """Highest resident bytes of a process that ends well."""
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               preexec_fn=lambda: os.nice(10))
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed:\n{text[-2000:]}")
    return usage.ru_maxrss * 1024


def measure(args, name, overrides):
    key = re.sub(r"[^A-Za-z0-9=.]+", "_", " ".join([name, *args.overrides]))
    kept = args.scratch / f"{key}-{args.ranks}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    of = recipe(args, overrides)
    plan = args.scratch / "plan.json"
    begin = peak_of([args.program, "plan", *of, "--gpu", "cpu", "--world", str(args.ranks), "--json", plan])
    run = args.scratch / "run"
    subprocess.run(["rm", "-rf", run], check=True)
    several = ["--nproc", str(args.ranks)] if args.ranks > 1 else []
    peak_of([args.program, "train", *of, f"run.dir={args.scratch}", "run.name=run", *several])
    steps = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    memory = json.loads(plan.read_text())["memory"]
    result = {"planned": memory["total"] - memory["program"], "parts": memory, "begin": begin,
              "second_step": steps[-1]["peak_rss_mib"] * 2**20}
    kept.write_text(json.dumps(result, indent=1))
    return result


def main():
    parser = make_parser(__doc__)
    parser.add_argument("--only", help="names, or parts of them")
    parser.add_argument("--ranks", type=int, default=1)
    args = parse(parser)
    print("| configuration | planned, MB | measured, MB | measured / planned |\n|---|---|---|---|")
    for name, overrides in CONFIGURATIONS.items():
        if args.only and not any(part in name for part in args.only.split(",")):
            continue
        r = measure(args, name, overrides)
        whole = r["planned"] + r["parts"]["program"]
        net = r["second_step"] - r["begin"]
        print(f"| {name} | {whole / 1e6:,.0f} ({r['planned'] / 1e6:,.0f}) | {r['second_step'] / 1e6:,.0f} "
              f"({net / 1e6:,.0f}) | {r['second_step'] / whole:.3f} ({net / r['planned']:.3f}) |", flush=True)


if __name__ == "__main__":
    main()
