#!/usr/bin/env python3
"""Opens a GGUF file with llama.cpp, tokenizes a text with it, and says what it computes.
Usage: run_llama.py FILE.gguf TEXT.txt OUT.json WINDOW MAX_WINDOWS [PROMPT]

OUT.json: "ids", the text's first tokens; "nll" and "perplexity" over windows of WINDOW tokens (WINDOW - 1 predictions
each, as `sterna eval` counts them without a start token); "greedy", what follows PROMPT; "load", what llama.cpp says
about the tensors' types. Needs scripts/peers/llama_cpp."""
import json
import math
import sys

import numpy as np
from llama_cpp import Llama

NEW_TOKENS = 40


def nats(logits, targets):
    logits = logits.astype(np.float64)
    top = logits.max(axis=-1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=-1)) + top[:, 0]
    return total - logits[np.arange(len(targets)), targets]


def main():
    path, text, out, window, most = sys.argv[1:6]
    window, most = int(window), int(most)
    llm = Llama(path, n_ctx=max(window, 128), n_batch=max(window, 128), n_threads=1, logits_all=True, verbose=False)
    with open(text, "rb") as file:
        ids = llm.tokenize(file.read(), add_bos=False, special=True)
    losses = []
    for start in range(0, min(len(ids) - window + 1, most * window), window):
        part = ids[start:start + window]
        llm.reset()
        llm.eval(part)
        losses.append(nats(np.array(llm.scores[:window - 1]), part[1:]))
    nll = float(np.concatenate(losses).mean())
    result = {"ids": ids[:200], "tokens": len(ids), "predictions": sum(map(len, losses)), "nll": nll,
              "perplexity": math.exp(nll), "vocabulary": llm.n_vocab()}
    if len(sys.argv) > 6:
        llm.reset()
        answer = llm.create_completion(sys.argv[6], max_tokens=NEW_TOKENS, temperature=0.0)
        result["greedy"] = answer["choices"][0]["text"]
    with open(out, "w") as file:
        json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
