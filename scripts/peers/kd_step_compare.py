#!/usr/bin/env python3
"""Times the distillation step of `sterna train` against PyTorch's, round by round.

Usage: kd_step_compare.py --model MODEL.gguf --text FILE --scratch DIR [--rounds 7] [--peers eager,torchao,compile]

Every program runs in a process of its own and is stopped (SIGSTOP) while another one makes its step,
so that the programs see the same neighbours: A B C, C B A, ... Printed are each program's median
tokens/s, peak memory, and the median over the rounds of (peer's seconds / Sterna's). The recipe is
every matrix of the blocks at 3 bits in groups of 64, 4 x 512 tokens, bf16, all
parameters trained, without evaluation.
All programs stay in memory: about 4 GB for Sterna and 8 GB for a peer. Needs scripts/peers/setup."""
import argparse
import os
import pathlib
import re
import signal
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Contestant:
    """A process that prints a line a step; it runs only inside step()."""

    def __init__(self, name, command, pattern):
        self.name, self.pattern, self.seconds = name, re.compile(pattern), []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        cwd=ROOT)

    def step(self):
        os.kill(self.process.pid, signal.SIGCONT)
        begun, said = time.perf_counter(), []
        for line in self.process.stdout:
            said.append(line)
            if self.pattern.match(line):
                os.kill(self.process.pid, signal.SIGSTOP)
                return time.perf_counter() - begun
        raise SystemExit(f"{self.name} ended early:\n" + "".join(said[-20:]))

    def peak(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) * 1024

    def end(self):
        self.process.kill()
        self.process.wait()


def contestants(args):
    steps = args.rounds + args.warm + 1
    yield Contestant("sterna", [
        args.program, "train", "recipes/tests/tiny_kl.toml", f"model.path={args.model}", f"data.text={args.text}",
        f"data.cache={args.scratch / 'tokens'}", f"run.dir={args.scratch}", f"run.name=speed-{os.getpid()}",
        "quant.weight=affine_learned", "quant.weight.bits=3", "quant.weight.group=64", "model.dtype=bf16",
        "teacher.dtype=bf16", "train.seq_len=512", "train.batch=4", "train.accumulate=1", "train.freeze=[]",
        f"train.steps={steps}", f"train.checkpoint_every={steps}", f"train.threads={args.threads}",
        "train.log_every=1", "eval.before=false"],
        r"step \d+/")
    flags = {"eager": [], "compile": ["--compile"], "torchao": ["--qat", "torchao"]}
    for peer in filter(None, args.peers.split(",")):
        yield Contestant(peer, [args.python, "-u", "scripts/peers/kd_step.py", "--model", args.model,
                                "--steps", str(steps), "--threads", str(args.threads), *flags[peer]], r'\{"step"')


def main():
    cache = pathlib.Path(os.environ.get("STERNA_CACHE", pathlib.Path.home() / ".cache/sterna"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--scratch", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warm", type=int, default=2, help="steps of each that are not counted")
    parser.add_argument("--peers", default="eager,torchao,compile")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--program", default="build/release/sterna")
    parser.add_argument("--python", default=str(cache / "peers/bin/python"))
    args = parser.parse_args()
    all_ = []
    try:
        for one in contestants(args):
            all_.append(one)
            for _ in range(args.warm):
                one.step()
        for index in range(args.rounds):
            for one in all_ if index % 2 == 0 else reversed(all_):
                one.seconds.append(one.step())
            print(f"round {index + 1}: " + ", ".join(f"{o.name} {o.seconds[-1]:.2f} s" for o in all_), flush=True)
        for one in all_:
            ratios = [theirs / ours for theirs, ours in zip(one.seconds, all_[0].seconds)]
            print(f"{one.name:8} {2048 / statistics.median(one.seconds):6.1f} tokens/s  peak {one.peak() / 1e9:.2f} GB"
                  f"  seconds / Sterna's: {statistics.median(ratios):.3f}")
    finally:
        for one in all_:
            one.end()


if __name__ == "__main__":
    main()
