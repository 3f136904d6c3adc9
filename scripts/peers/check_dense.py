#!/usr/bin/env python3
"""Loads a `dense` export with transformers and compares logits, greedy text and token ids with a
reference set. Usage: check_dense.py EXPORT EXPECTED_DIR [CASES.json]
(needs: pip install transformers==4.57.1; EXPECTED_DIR holds expected.safetensors and expected.json)"""
import json
import pathlib
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def check_logits(model, expected) -> float:
    with torch.no_grad():
        logits = model(expected["input_ids"]).logits.float()
    values = logits.gather(-1, expected["topk_indices"].long())
    worst = (values - expected["topk_values"]).abs().max().item()
    worst = max(worst, (logits.logsumexp(-1) - expected["logsumexp"]).abs().max().item())
    print(f"logits: largest difference {worst:.3g}")
    return worst


def check_greedy(model, tokenizer, cases) -> int:
    wrong = 0
    for case in cases:
        ids = tokenizer(case["prompt"])["input_ids"]
        made = model.generate(torch.tensor([ids]), max_new_tokens=len(case["ids"]) - len(ids), do_sample=False)
        wrong += ids != case["prompt_ids"] or made[0].tolist() != case["ids"]
    print(f"greedy: {wrong} of {len(cases)} differ")
    return wrong


def check_cases(tokenizer, path) -> int:
    cases = json.load(open(path))["cases"]
    wrong = [c["text"] for c in cases if tokenizer(c["text"], add_special_tokens=False)["input_ids"] != c["ids"]]
    wrong += [c["text"] for c in cases if tokenizer.decode(c["ids"], skip_special_tokens=False) != c["decoded"]]
    print(f"tokenizer: {len(wrong)} of {2 * len(cases)} checks differ", wrong[:3])
    return len(wrong)


def main() -> int:
    export, reference = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    tokenizer = AutoTokenizer.from_pretrained(export)
    model = AutoModelForCausalLM.from_pretrained(export)
    print(f"{type(model).__name__} {model.dtype}, tied: {model.config.tie_word_embeddings}, {type(tokenizer).__name__}")
    wrong = check_logits(model, load_file(reference / "expected.safetensors")) > 1e-3
    if (reference / "expected.json").exists():
        wrong |= check_greedy(model, tokenizer, json.load(open(reference / "expected.json")).get("greedy", [])) > 0
    if len(sys.argv) > 3:
        wrong |= check_cases(tokenizer, sys.argv[3]) > 0
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
