#!/usr/bin/env python3
"""SmolLM2-135M at 4, 3, 2 bits and ternary: rounding, GPTQ, block-wise and QAT, for equal minutes.

Usage: smollm2_table.py SCRATCH [--minutes 3] [--windows 4] [--program build/release/sterna]

Needs STERNA_DATA (WikiText-2) and what scripts/setup fetches. Minutes are CPU minutes of one thread, of the whole
process that trains, so that neighbours on the machine cost nobody anything; block-wise and QAT get the same (QAT
gives a third of them to a block-wise stage, as recipes/quickstart.toml does), in samples and steps that follow from
a pace measured first. Rounding tries several initialisations and keeps the one of least KL divergence on training
text; GPTQ starts from that one and takes the minutes that --gptq-samples take. Scales are for 64 inputs everywhere.
Cells that SCRATCH already holds are not repeated. Printed is a table in Markdown."""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("STERNA_CACHE", pathlib.Path.home() / ".cache/sterna"))
MODEL = CACHE / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
TRAIN, HELD_OUT = CACHE / "text/wikipedia.txt", CACHE / "text/wikipedia.heldout.txt"
INITS = ("mse", "absmax", "gaussian", "clip_search")
BLOCKS = 30
# A recipe, its quantizer, and the rate of the end-to-end stage as recipes of that width have it.
ROWS = {"4": ("smollm2_2bit", {"name": "affine_learned", "bits": 4}, 2e-4),
        "3": ("smollm2_2bit", {"name": "affine_learned", "bits": 3}, 2e-4),
        "2": ("smollm2_2bit", {"name": "affine_learned", "bits": 2}, 3e-4),
        "ternary": ("smollm2_ternary_tsld", {"name": "seq", "bits": 0}, 3e-4)}
METHODS = ("PTQ", "GPTQ", "block-wise", "QAT")


def say(text):
    print(text, file=sys.stderr, flush=True)


def once(path, make):
    if not path.exists():
        path.write_text(json.dumps(make(), indent=1))
    return json.loads(path.read_text())


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sterna(args, log, arguments, until=None):
    """Runs the program on one thread. @return its output, the CPU seconds at each line "block" or "step", and all of
    them. Stopped at the first line that begins with `until`."""
    environment = {**os.environ, "STERNA_CACHE": str(CACHE), "STERNA_THREADS": "1"}
    begun, said, marks = time.monotonic(), [], []
    process = subprocess.Popen([args.program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, env=environment, cwd=ROOT)
    for line in process.stdout:
        said.append(line)
        if re.match(r"(block|step) \d+/", line):
            marks.append(cpu_seconds(process.pid))
        if until and line.startswith(until):
            process.kill()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    (args.scratch / f"{log}.txt").write_text("".join(said))
    if process.returncode and not (until and marks):
        raise SystemExit(f"sterna failed; its output: {args.scratch / log}.txt")
    seconds = used.ru_utime + used.ru_stime
    say(f"{log}: {seconds:.0f} CPU seconds, {time.monotonic() - begun:.0f} on the clock")
    return "".join(said), marks, seconds


def weight(row, init):
    fields = {**ROWS[row][1], "group": 64, "init": init}
    return "quant.weight={" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in fields.items()) + "}"


def train(args, name, row, samples, steps, until=None):
    shutil.rmtree(args.scratch / name, ignore_errors=True)  # of a call that was interrupted
    recipe, _, rate = ROWS[row]
    return sterna(args, name, [
        "train", f"recipes/{recipe}.toml", weight(row, "mse"), f"run.dir={args.scratch}", f"run.name={name}",
        f"data.text={TRAIN}", f"data.cache={args.scratch / 'tokens'}", f"blockwise.samples={samples}",
        f"blockwise.seq_len={args.seq_len}", "blockwise.checkpoint_every=0", f"train.steps={steps}",
        f"train.seq_len={args.seq_len}", f"train.warmup={max(1, steps // 5)}", f"train.lr={rate}", "train.log_every=1",
        "train.checkpoint_every=0", "eval.text=[]"], until)


def pace(args):
    """CPU seconds of n block-wise samples and s steps: once + blocks * (block + n * sample) + s * step."""
    def gap(marks):
        return statistics.median(later - earlier for earlier, later in zip(marks, marks[1:]))

    few, many, steps = 4, 12, 4
    each = {n: gap(train(args, "pace", "2", n, 0, until="block 5/")[1]) for n in (few, many)}
    _, marks, total = train(args, "pace", "2", 0, steps)
    shutil.rmtree(args.scratch / "pace")
    sample = (each[many] - each[few]) / (many - few)
    return {"once": total - steps * gap(marks), "block": each[few] - few * sample, "sample": sample,
            "step": gap(marks)}


def trained(args, name, row, method):
    p = once(args.scratch / "pace.json", lambda: pace(args))
    say("pace: " + ", ".join(f"{k} {v:.3g} s" for k, v in p.items()))
    budget = 60 * args.minutes - p["once"]
    samples = ((budget if method == "block-wise" else budget / 3) / BLOCKS - p["block"]) / p["sample"]
    samples = max(1, round(samples))
    left = budget - BLOCKS * (p["block"] + samples * p["sample"])
    steps = max(1, round(left / p["step"])) if method == "QAT" else 0
    _, _, seconds = train(args, name, row, samples, steps)
    say(f"{name}: {samples} samples, {steps} steps; {seconds / 60 / args.minutes:.2f} of the minutes asked for")
    return {"minutes": seconds / 60, "samples": samples, "steps": steps}, args.scratch / name


def rounded(args, name, row, init, more=()):
    folder = args.scratch / name
    shutil.rmtree(folder, ignore_errors=True)
    output, _, seconds = sterna(args, name, ["quantize", MODEL, "--out", folder, weight(row, init), *more])
    bits = float(re.search(r"([\d.]+) bits per weight", output).group(1))
    return {"minutes": seconds / 60, "bits": bits, "init": init}, folder


def measure(args, checkpoint, name, texts, windows, reference=True):
    result = args.scratch / f"{name}.jsonl"
    listed = "eval.text=[" + ", ".join(json.dumps(str(t)) for t in texts) + "]"
    sterna(args, f"{name}.eval", [
        "eval", checkpoint, listed, f"eval.window={args.window}", f"eval.max_windows={windows}", "eval.dtype=bf16",
        "--json", result, *[f"eval.reference={MODEL}"] * reference])
    text = result.read_text()
    return [json.loads(text)] if len(texts) == 1 else [json.loads(line) for line in text.splitlines()]


def divergences(args, row):
    """Of rounding by each initialisation, on training text."""
    found = {}
    for init in INITS:
        _, folder = rounded(args, f"{row}-{init}", row, init)
        found[init] = measure(args, folder, f"{row}-{init}", [TRAIN], 1)[0]["kld"]["mean"]
        shutil.rmtree(folder)
    return found


def cell(args, row, method):
    name = f"{row}-{method}"
    if row == "full":
        result, checkpoint = {"minutes": 0}, MODEL
    elif method in ("block-wise", "QAT"):
        result, checkpoint = trained(args, name, row, method)
    else:
        found = once(args.scratch / f"{row}-inits.json", lambda: divergences(args, row))
        say(f"{row}: KL divergence by initialisation: " + ", ".join(f"{k} {v:.4g}" for k, v in found.items()))
        gptq = ["ptq.rounding=gptq", "ptq.act_order=true", f"ptq.text={TRAIN}", f"ptq.samples={args.gptq_samples}"]
        result, checkpoint = rounded(args, name, row, min(found, key=found.get), gptq if method == "GPTQ" else [])
    result["eval"] = measure(args, checkpoint, name, [args.wikitext, HELD_OUT], args.windows, reference=row != "full")
    if checkpoint != MODEL:
        shutil.rmtree(checkpoint)  # a run is gigabytes
    return result


def line(row, method, result, bits):
    cells = [row, method, f"{bits:.2f}" if bits else "-", f"{result['minutes']:.1f}" if bits else "-"]
    for one in result["eval"]:
        against = [f"{one['kld']['mean']:.3f}", f"{100 * one['same_top']:.1f} %"] if "kld" in one else ["-", "-"]
        cells += [f"{one['ppl']:.2f}", *against]
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=3, help="CPU minutes of a block-wise or a QAT cell")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--windows", type=int, default=4, help="of each text")
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--seq-len", type=int, default=512, help="tokens of a training sample")
    parser.add_argument("--gptq-samples", type=int, default=16, help="of 512 tokens")
    parser.add_argument("--program", default=str(ROOT / "build/release/sterna"))
    args = parser.parse_args()
    args.scratch = args.scratch.absolute()
    args.scratch.mkdir(parents=True, exist_ok=True)
    args.wikitext = pathlib.Path(os.environ["STERNA_DATA"]) / "wikitext2/wiki.test.raw"
    settings = {k: str(v) for k, v in vars(args).items() if k not in ("rows", "program", "scratch")}
    if once(args.scratch / "settings.json", lambda: settings) != settings:
        raise SystemExit(f"{args.scratch} holds cells of other settings (settings.json); choose another folder")
    titles = ["bits", "method", "bits a weight", "minutes"]
    for text in ("WikiText-2", "held-out Wikipedia"):
        titles += [f"PPL {text}", "KLD", "same top"]
    print("| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
    for row, method in [("full", "precision"), *((r, m) for r in args.rows.split(",") for m in METHODS)]:
        result = once(args.scratch / f"{row}-{method}.json", lambda: cell(args, row, method))
        bits = result.get("bits", None if row == "full" else bits)  # PTQ, the first of a row, says it
        line(row, method, result, bits)


if __name__ == "__main__":
    main()
