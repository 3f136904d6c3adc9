#!/usr/bin/env python3
"""What Hugging Face tokenizers and SentencePiece make of random text.
Usage: random_cases.py TOKENIZERS FOLDER SEED COUNT

For every NAME.json or NAME.model in TOKENIZERS writes FOLDER/NAME.cases.json for
`sterna tokenize --cases`: COUNT texts of characters of every category that Unicode assigns, between
words, special tokens and ASCII. Needs scripts/peers/setup."""
import json
import pathlib
import random
import sys
import unicodedata

import sentencepiece
from tokenizers import Tokenizer

WORDS = ("The tern's north they'd he'll 1984. 12,345 67% int *f(void) {} weights[i] += über Straße l'été niño "
         "Птицы юг 鳥は飛ぶ 남쪽으로 👩‍👧 <|end|> <s> [MASK] <tool> call call_me ##s [CLS] &c. U.S.A.").split() + ["  ", "\n\n", "b c", "ﬁ", "é"]

def texts(seed, count):
    rng = random.Random(seed)
    kinds = {}
    for char in map(chr, range(sys.maxunicode + 1)):
        kinds.setdefault(unicodedata.category(char), []).append(char)
    assigned = [kinds[kind] for kind in sorted(kinds) if kind not in ("Cn", "Co", "Cs")]

    def piece():
        kind = rng.random()
        if kind < 0.3:
            return rng.choice(WORDS)
        if kind < 0.6:
            return chr(rng.randrange(128))
        return rng.choice(rng.choice(assigned))

    return ["".join(piece() for _ in range(rng.randint(1, 30))) for _ in range(count)]


def functions(path):
    """(text -> ids, ids -> text) of a tokenizer's file."""
    if path.suffix == ".model":
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
        return model.encode, model.decode
    tokenizer = Tokenizer.from_file(str(path))
    return (lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
            lambda ids: tokenizer.decode(ids, skip_special_tokens=False))


def main():
    source, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    made = texts(int(sys.argv[3]), int(sys.argv[4]))
    for path in sorted(source.iterdir()):
        if path.name.endswith((".cases.json", ".pairs.json")) or path.suffix not in (".json", ".model"):
            continue
        encode, decode = functions(path)
        rows = []
        for text in made:
            ids = encode(text)
            rows.append({"text": text, "ids": ids, "decoded": decode(ids)})
        (folder / (path.stem + ".cases.json")).write_text(json.dumps({"cases": rows}))


if __name__ == "__main__":
    main()
