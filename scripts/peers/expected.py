#!/usr/bin/env python3
"""What transformers computes for a checkpoint, for `sterna verify --expected` and
`sterna tokenize --cases`. Usage: expected.py CHECKPOINT FOLDER [TOKENS]

Writes FOLDER/expected.safetensors (random input_ids [2, TOKENS] from a seed, logits, hidden states
and attentions in fp32) and, where the checkpoint has a tokenizer, FOLDER/cases.json.
Needs scripts/peers/setup."""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ["", " ", "The tern flies.", "  two  spaces\n\n\tand a tab", "don't 1,234 €5", "naïve Straße",
         "鳥は飛ぶ", "👩‍👧 ok", "a<|end|>b <|endoftext|>", "x = y[3]; // ok"]


def expected(model, tokens):
    ids = torch.randint(0, model.config.vocab_size, (2, tokens), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        out = model(ids, output_hidden_states=True, output_attentions=True)
    tensors = {"input_ids": ids, "logits": out.logits}
    tensors |= {f"hidden_states.{i}": h for i, h in enumerate(out.hidden_states)}
    tensors |= {f"attentions.{i}": a for i, a in enumerate(out.attentions)}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def cases(tokenizer):
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        decoded = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        yield {"text": text, "ids": ids, "decoded": decoded}


def main():
    checkpoint, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    tokens = int(sys.argv[3]) if len(sys.argv) > 3 else 32
    model, report = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager",
                                                         output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report[kind]:
            sys.exit(f"{checkpoint}: {kind}: {report[kind]}")
    save_file(expected(model.eval(), tokens), folder / "expected.safetensors")
    if (checkpoint / "tokenizer.json").exists():
        made = list(cases(AutoTokenizer.from_pretrained(checkpoint)))
        (folder / "cases.json").write_text(json.dumps({"cases": made}))


if __name__ == "__main__":
    main()
