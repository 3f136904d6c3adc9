#!/usr/bin/env python3
"""Ternary training of stories260K: which loss, over several seeds, for equal steps.

Usage: ternary_losses.py SCRATCH [--seeds 3] [--steps 400] [--program build/release/sterna]

Needs STERNA_DATA (stories260K, TinyStories). A run is recipes/tests/stories260k_kl.toml with another
loss and seed; the seed decides the order of the stories. Runs that SCRATCH already holds are not
repeated. Printed is a table of held-out perplexities, mean and standard error over the seeds."""
import argparse
import json
import math
import pathlib
import statistics
import subprocess

LOSSES = {"ground truth": "gt", "logit (KL)": "kl", "logit + ground truth": "kl+gt", "TSLD": "tsld",
          "reverse KL": "reverse_kl", "CAKLD": "cakld"}
RECIPE = pathlib.Path(__file__).resolve().parents[2] / "recipes/tests/stories260k_kl.toml"


def perplexity(args, loss, seed):
    name = f"{loss}-{seed}-{args.steps}"
    result = args.scratch / name / f"eval/step-{args.steps}.tinystories.heldout.txt.json"
    if not result.exists():
        command = [args.program, "train", RECIPE, f"kd.loss={loss}", f"train.seed={seed}",
                   f"train.steps={args.steps}", f"run.dir={args.scratch}", f"run.name={name}",
                   f"data.cache={args.scratch / 'tokens'}", "train.threads=1"]
        if (args.scratch / name / "recipe.toml").exists():
            command.append("--resume")  # which refuses another recipe
        log = args.scratch / f"{name}.txt"
        with open(log, "w") as out:
            if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode:
                raise SystemExit(f"sterna failed; its output: {log}")
    return json.loads(result.read_text())["ppl"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--program", default="build/release/sterna")
    args = parser.parse_args()
    args.scratch.mkdir(parents=True, exist_ok=True)
    print("| loss | " + " | ".join(f"seed {s}" for s in range(args.seeds)) + " | mean | standard error |")
    print("|---" * (args.seeds + 3) + "|")
    for title, loss in LOSSES.items():
        values = [perplexity(args, loss, seed) for seed in range(args.seeds)]
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        cells = [f"{v:.3f}" for v in values] + [f"{statistics.mean(values):.3f}", f"{error:.3f}"]
        print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
