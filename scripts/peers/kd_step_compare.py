#!/usr/bin/env python3
"""Times the distillation step of `sterna train` against PyTorch's, round by round.

Usage: kd_step_compare.py --model MODEL.gguf --text FILE --scratch DIR [--rounds 7] [--peers eager,torchao,compile] [--ranks 1]

Every program runs in processes of its own and is stopped (SIGSTOP) while another one makes its step,
so that the programs see the same neighbours: A B C, C B A, ... Printed are each program's median
tokens/s, peak memory, and the median over the rounds of (peer's seconds / Sterna's). The recipe is
every matrix of the blocks at 3 bits in groups of 64, 4 x 512 tokens, bf16, all
parameters trained, without evaluation. With --ranks N it is N processes of Sterna (`--nproc`, DDP) against
N of torchrun's (DistributedDataParallel), both over Gloo on this host, each with its share of the threads and samples.
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


def family(pid):
    """A process and all that it has started, launchers' ranks included."""
    of = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            of.setdefault(int((folder / "stat").read_text().rpartition(")")[2].split()[1]), []).append(int(folder.name))
        except OSError:  # gone
            pass
    found = [pid]
    for each in found:
        found += of.get(each, [])
    return found


def signal_all(pid, number):
    for each in family(pid):
        try:
            os.kill(each, number)
        except ProcessLookupError:
            pass


class Contestant:
    """A process that prints a line a step; it runs only inside step()."""

    def __init__(self, name, command, pattern):
        self.name, self.pattern, self.seconds = name, re.compile(pattern), []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        cwd=ROOT)

    def step(self):
        signal_all(self.process.pid, signal.SIGCONT)
        begun, said = time.perf_counter(), []
        for line in self.process.stdout:
            said.append(line)
            if self.pattern.match(line):
                signal_all(self.process.pid, signal.SIGSTOP)
                return time.perf_counter() - begun
        raise SystemExit(f"{self.name} ended early:\n" + "".join(said[-20:]))

    def peak(self):
        """Of the largest of its processes."""
        peaks = [0]
        for pid in family(self.process.pid):
            found = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
            peaks.append(int(found.group(1)) * 1024 if found else 0)
        return max(peaks)

    def end(self):
        signal_all(self.process.pid, signal.SIGKILL)
        self.process.wait()


def contestants(args):
    steps = args.rounds + args.warm + 1
    threads = args.threads // args.ranks
    # Ranks that are stopped between rounds are not lost.
    several = [f"--nproc={args.ranks}", "dist.timeout=3600"] if args.ranks > 1 else []
    yield Contestant("sterna", [
        args.program, "train", "recipes/tests/tiny_kl.toml", f"model.path={args.model}", f"data.text={args.text}",
        f"data.cache={args.scratch / 'tokens'}", f"run.dir={args.scratch}", f"run.name=speed-{os.getpid()}",
        "quant.weight=affine_learned", "quant.weight.bits=3", "quant.weight.group=64", "model.dtype=bf16",
        "teacher.dtype=bf16", "train.seq_len=512", "train.batch=4", "train.accumulate=1", "train.freeze=[]",
        f"train.steps={steps}", f"train.checkpoint_every={steps}", f"train.threads={threads}",
        "train.log_every=1", "eval.before=false", *several],
        r"step \d+/")
    flags = {"eager": [], "compile": ["--compile"], "torchao": ["--qat", "torchao"]}
    run = ["-m", "torch.distributed.run", "--nproc-per-node", str(args.ranks)] if args.ranks > 1 else []
    for peer in filter(None, args.peers.split(",")):
        yield Contestant(peer, [args.python, "-u", *run, "scripts/peers/kd_step.py", "--model", args.model,
                                "--steps", str(steps), "--threads", str(threads), *flags[peer]], r'\{"step"')


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
    parser.add_argument("--ranks", type=int, default=1)
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
