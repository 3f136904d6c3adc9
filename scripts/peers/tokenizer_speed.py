#!/usr/bin/env python3
"""Speed of Sterna's tokenizers against Hugging Face tokenizers, one thread each, in one run.

Usage: tokenizer_speed.py BENCH TEXT TOKENIZER... [--rounds N]

BENCH is build/release/tokenize_bench (`ninja bench`), TEXT a file, TOKENIZER a tokenizer.json. The
text is cut into documents of about 2,000 characters. Rounds are taken by turns; printed are MB/s of
both from the median CPU time, the median of the ratios of a round, and the ratio of the first round,
in which no word is known yet. The ids must agree. Needs scripts/peers/setup."""
import argparse
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402


def documents(text):
    made, part = [], ""
    for line in text.replace("\0", "").splitlines(keepends=True):
        part += line
        if len(part) >= 2000:
            made.append(part)
            part = ""
    return made + [part] if part else made


class Sterna:
    def __init__(self, bench, tokenizer, file):
        self.process = subprocess.Popen([bench, tokenizer, file], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def round(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        seconds, count, total = self.process.stdout.readline().split()
        return float(seconds), (int(count), int(total))

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def peer_round(tokenizer, texts):
    start = time.process_time()
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    seconds = time.process_time() - start
    count, total = 0, 0
    for encoding in encodings:
        for token in encoding.ids:
            count += 1
            total += count * token
    return seconds, (count, total % 2**64)


def compare(bench, path, texts, file, rounds):
    peer, ours = Tokenizer.from_file(path), Sterna(bench, path, file)
    peer.no_truncation()
    pairs = []
    for index in range(rounds + 1):
        theirs, expected = peer_round(peer, texts)
        seconds, found = ours.round()
        if found != expected:
            raise SystemExit(f"{path}: ids differ: {expected[0]} and {found[0]} of them")
        pairs.append((theirs, seconds))
    ours.close()
    first = pairs.pop(0)
    size = sum(len(text.encode()) for text in texts) / 1e6
    speeds = [size / statistics.median(pair[i] for pair in pairs) for i in (0, 1)]
    ratio = statistics.median(theirs / seconds for theirs, seconds in pairs)
    print(f"{path}: {size:.2f} MB, {expected[0]} ids; tokenizers {speeds[0]:.1f} MB/s, sterna {speeds[1]:.1f} MB/s; "
          f"ratio {ratio:.2f} ({min(t / s for t, s in pairs):.2f} to {max(t / s for t, s in pairs):.2f}), first round {first[0] / first[1]:.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench")
    parser.add_argument("text")
    parser.add_argument("tokenizers", nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    texts = documents(pathlib.Path(args.text).read_text(encoding="utf-8"))
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="") as file:
        file.write("\0".join(texts))
        file.flush()
        for path in args.tokenizers:
            compare(args.bench, path, texts, file.name, args.rounds)


if __name__ == "__main__":
    main()
