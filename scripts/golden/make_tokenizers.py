#!/usr/bin/env python3
"""Makes the small tokenizers of tests/golden/tokenizers and the cases that go with them.

Every <name>.json or <name>.model is a tiny tokenizer trained on the text below; <name>.cases.json
holds texts with the ids and the decoded text that Hugging Face tokenizers or SentencePiece give.
Run with `pip install tokenizers==0.22.2 sentencepiece==0.2.3`:

    scripts/golden/make_tokenizers.py tests/golden/tokenizers
"""
import json
import random
import sys
from pathlib import Path

import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

# Two of the long patterns that no splitter is written by hand for.
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

SENTENCES = """
The tern flies from the north to the south and back again, further than any other bird.
She said that it wasn't the first time they'd seen the sea, and that he'll come back in 1984.
In the morning the old man opened the door, looked at the rain, and closed it again.
A function that returns a pointer to its own local variable is a bug: int *f(void) { int x; return &x; }
We've counted 12,345 birds; 67% of them were young. What's the rest? I'm not sure.
for (int i = 0; i < n; ++i) { total += weights[i] * inputs[i]; }
Der Vogel fliegt über die Straße. Les oiseaux volent à l'été. El niño está aquí.
Птицы летят на юг. 鳥は南へ飛ぶ。 새가 남쪽으로 날아간다.
""".strip().split("\n")


def corpus():
    rng = random.Random(7)
    words = " ".join(SENTENCES[:5]).split()
    return SENTENCES * 4 + [" ".join(rng.choices(words, k=12)) for _ in range(200)]


def texts():
    """What is hard: spaces, line ends, digits, scripts, marks, emoji, specials, bad neighbours."""
    rng = random.Random(11)
    alphabet = (list(" \n\r\tab'sStTlLdDmM019.,!-_(){}/é߀") +
                ["  ", "\r\n", "'ll", "'RE", "ſ", "\u00a0", "\u3000", "e\u0301", "漢字", "Ⅳ", "½", "👩‍👧", "\u200b"])
    hard = ["", " ", "   ", "\n", "\n\n \n", " a", "a ", "\t x", "don't I'LL we'Ve 'ſ x's", "3.14159 1,000,000 12345",
            "naïve café", "e\u0301 vs é", "鳥は飛ぶ。漢字", "새가 날아", "مرحبا", "हिन्दी", "👩‍👩‍👧‍👦🏽 ok", "a\u00a0b\u2003c\u200bd", "\ufeffBOM",
            "x" * 60, "ab " * 20, "ſt ﬁ Ⅳ ½ ①", "İstanbul", "\x00\x01\x7f", "\u0430\u0301\u0327\u0301", "q\u0307\u0323 \u1e9b\u0323",
            "a<|end|>b", "<|end|><|end|>", " <|end|> ", "<s>x</s>", "a [MASK] b", "a[MASK]b", "x <tool>  y", "call_me call me recall",
            "tab\tnew\nline\r\nend", "if (a!=b) {\n    return -1;\n}\n", "...!!!\n\n\nWhat?", "   indented\n\tand tabbed", "Ünïcödé",
            "ﾊﾝｶｸ ㌔ ℌ", "𝔘𝔫𝔦 𐍈", "a_b-c/d\\e", "1st 22nd 333rd", "\u1680ogham\u180emongol", "¿qué?", "o\u0328\u0304"]
    return (hard + [s for s in SENTENCES] +
            ["".join(rng.choices(alphabet, k=rng.randint(1, 40))) for _ in range(30)])


def write_cases(path, encode, decode, note):
    cases = []
    for text in texts():
        ids = encode(text)
        cases.append({"text": text, "ids": ids, "decoded": decode(ids)})
    lines = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
    path.write_text('{"note": %s, "cases": [\n%s\n]}\n' % (json.dumps(note), lines))


def save(folder, name, tokenizer, note):
    path = folder / (name + ".json")
    tokenizer.save(str(path), pretty=False)
    tokenizer = Tokenizer.from_file(str(path))
    write_cases(folder / (name + ".cases.json"),
                lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
                lambda ids: tokenizer.decode(ids, skip_special_tokens=False), note)


def byte_level(folder, name, pre, size=420, normalizer=None, ignore_merges=False, post=None):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<|end|>", "<s>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken("[MASK]", lstrip=True, normalized=False),
                          AddedToken("<tool>", rstrip=True, normalized=True),
                          AddedToken("call", single_word=True, normalized=True)])
    if post is not None:
        tokenizer.post_processor = post
    save(folder, name, tokenizer, "byte-level BPE")


def fallback(folder, name, metaspace):
    """Llama-2's kind: characters, byte fallback, spaces as U+2581."""
    marker = "\u2581"
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False,
                                  limit_alphabet=60)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=marker, prepend_scheme="first")
    tokenizer.train_from_iterator(corpus(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab = dict(model["vocab"])
    for byte in range(256):
        vocab.setdefault("<0x%02X>" % byte, len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(m) for m in model["merges"]], unk_token="<unk>",
                                     fuse_unk=True, byte_fallback=True))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=marker, prepend_scheme="first")
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(),
                                               decoders.Metaspace(replacement=marker, prepend_scheme="first")])
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(marker),
                                                     normalizers.Replace(" ", marker)])
        tokenizer.decoder = decoders.Sequence([decoders.Replace(marker, " "), decoders.ByteFallback(),
                                               decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    save(folder, name, tokenizer, "BPE with byte fallback")


def characters(folder, name, normalizer, pre, fuse):
    """Without byte fallback: unknown characters, and splitters that byte-level models do not use."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=fuse, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["[UNK]"], limit_alphabet=50,
                                  end_of_word_suffix="</w>", show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.decoder = decoders.Fuse()
    save(folder, name, tokenizer, "BPE of characters with unknown ones")


def word_piece(folder, name, lowercase, cleanup, **switches):
    """BERT's kind, with cases of pairs that are cut."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, **switches)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=cleanup)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False, limit_alphabet=70)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = (
        processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)])
        if lowercase else processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2)))
    save(folder, name, tokenizer, "WordPiece")
    tokenizer.enable_truncation(24)
    made = texts()
    rows = []
    for a, b in zip(made, reversed(made)):
        encoding = tokenizer.encode(a, b)
        rows.append({"a": a, "b": b, "ids": encoding.ids, "type_ids": encoding.type_ids})
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    (folder / (name + ".pairs.json")).write_text('{"max_length": 24, "cases": [\n%s\n]}\n' % lines)


def added(folder, name):
    """Added tokens of every kind, neighbours of each other and of white space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(GPT4O), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=380, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens(["<|end|>", AddedToken("[MASK]", lstrip=True), AddedToken("<s>", rstrip=True, single_word=True)])
    tokenizer.add_tokens([AddedToken("  ", normalized=False), AddedToken("\n\n", normalized=False, rstrip=True),
                          AddedToken("<Tool>", lstrip=True, rstrip=True), AddedToken("call", single_word=True),
                          AddedToken("call_me", single_word=True, lstrip=True), AddedToken("ﬁ"),
                          AddedToken("b c", normalized=False, single_word=True), AddedToken("é", normalized=True, rstrip=True)])
    save(folder, name, tokenizer, "added tokens")


def sentence_piece(folder, name, kind, size, **options):
    text = folder / "corpus.tmp"
    text.write_text("\n".join(corpus()))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / name), vocab_size=size, model_type=kind,
        byte_fallback=True, character_coverage=0.98, num_threads=1, minloglevel=2,
        normalization_rule_name="identity", **options)  # the NFKC table alone would be 240 kB
    text.unlink()
    (folder / (name + ".vocab")).unlink()
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / (name + ".model")))
    write_cases(folder / (name + ".cases.json"), model.encode, model.decode, "SentencePiece " + kind)


def main():
    folder = Path(sys.argv[1])
    sequence, split, levels = pre_tokenizers.Sequence, pre_tokenizers.Split, pre_tokenizers.ByteLevel
    bare = levels(add_prefix_space=False, use_regex=False)
    byte_level(folder, "gpt2", levels(add_prefix_space=True))
    byte_level(folder, "smollm", sequence([pre_tokenizers.Digits(individual_digits=True),
                                           levels(add_prefix_space=False)]))
    byte_level(folder, "llama3", sequence([split(Regex(LLAMA3), "isolated"), bare]), ignore_merges=True,
               post=processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)]))
    byte_level(folder, "qwen2", sequence([split(Regex(QWEN2), "isolated"), bare]), normalizer=normalizers.NFC())
    byte_level(folder, "mapped", sequence([levels(add_prefix_space=False), pre_tokenizers.Digits(),
                                           split(Regex("[0-9]{2}"), "merged_with_previous")]),
               normalizer=normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]))
    fallback(folder, "fallback", metaspace=False)
    fallback(folder, "metaspace", metaspace=True)
    characters(folder, "words", normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(),
                                                      normalizers.Strip()]),
               sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("contiguous"),
                         split("tt", "merged_with_next")]), fuse=True)
    characters(folder, "patterns", normalizers.Sequence([normalizers.NFKD(),
                                                         normalizers.Replace(Regex(r"\d+"), "0")]),
               sequence([pre_tokenizers.Whitespace(), split(Regex("[aeiou]+"), "removed", invert=True),
                         split("e", "isolated")]), fuse=False)
    byte_level(folder, "tekken", sequence([split(Regex(TEKKEN), "isolated"), bare]))
    added(folder, "added")
    word_piece(folder, "bert", lowercase=True, cleanup=True)
    word_piece(folder, "bert_cased", lowercase=False, cleanup=False, handle_chinese_chars=False, strip_accents=True)
    sentence_piece(folder, "bpe", "bpe", 400)
    sentence_piece(folder, "unigram", "unigram", 360, add_dummy_prefix=False)


if __name__ == "__main__":
    main()
