#!/usr/bin/env python3
"""Writes trainer/text/unicode_tables.cpp: what Hugging Face tokenizers take for letters and so on.

Its parts were built with different versions of Unicode (from 8 to 17), so each set is asked from
the library itself, character by character, instead of being taken from one version's files. Needs
libutf8proc.so.2, Python 3.11 (for its Unicode 14) and `pip install tokenizers==0.22.2`; four minutes:

    scripts/golden/make_unicode.py trainer/text/unicode_tables.cpp && clang-format -i trainer/text/unicode_tables.cpp
"""
import ctypes
import sys
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

CHARS = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]
UTF8PROC, LIBC = ctypes.CDLL("libutf8proc.so.2"), ctypes.CDLL("libc.so.6")
UTF8PROC.utf8proc_category_string.restype = ctypes.c_char_p
UTF8PROC.utf8proc_map.restype = ctypes.c_ssize_t
STABLE, COMPAT, COMPOSE, DECOMPOSE = 2, 4, 8, 16


def cut_by(splitter, beside="a"):
    """Characters that do not stay in one part with `beside` on both sides."""
    return {c for c in CHARS if len(splitter.pre_tokenize_str(beside + chr(c) + beside)) != 1}


def cut_by_class(name):
    beside = "1" if name == r"\p{L}" else "a"
    return cut_by(pre_tokenizers.Split(Regex(name), "isolated"), beside)


def dropped_by(normalizer):
    return {c for c in CHARS if normalizer.normalize_str("a" + chr(c) + "a") == "aa"}


def bert(**switches):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**off, **switches})


def utf8proc_form(text, options):
    raw, result = text.encode(), ctypes.c_void_p()
    size = UTF8PROC.utf8proc_map(raw, ctypes.c_ssize_t(len(raw)), ctypes.byref(result), options | STABLE)
    made = ctypes.string_at(result, size).decode()
    LIBC.free(result)
    return made


def unknown_to_normalizers(assigned):
    """Characters that utf8proc, of this version or a later one, normalizes and Hugging Face does not."""
    late = {c for c in assigned if UTF8PROC.utf8proc_category_string(c) == b"Cn"}
    for form, options in ((normalizers.NFKC(), COMPAT | COMPOSE), (normalizers.NFKD(), COMPAT | DECOMPOSE)):
        for c in CHARS:
            for text in (chr(c), "a\u0301" + chr(c) + "\u0334"):
                if form.normalize_str(text) != utf8proc_form(text, options):
                    late.add(c)
    return late


def sets():
    letters, marks = cut_by_class(r"\p{L}"), cut_by_class(r"\p{M}")
    yield "letter", r"\p{L} of Oniguruma: Split, ByteLevel", letters
    yield "number", r"\p{N} of Oniguruma", cut_by_class(r"\p{N}")
    yield "numeric", "Rust's char::is_numeric: Digits", cut_by(pre_tokenizers.Digits(True))
    yield "punctuation", "Punctuation, BertPreTokenizer", cut_by(pre_tokenizers.Punctuation("isolated"))
    yield "mark", "what StripAccents drops", dropped_by(normalizers.StripAccents())
    yield "nonspacing", "what BertNormalizer drops as accents", dropped_by(bert(strip_accents=True))
    yield "other", "what BertNormalizer drops as no text", dropped_by(bert(clean_text=True))
    yield "word", r"\w of Rust's regex crate: Whitespace, single_word", set(CHARS) - cut_by(pre_tokenizers.Whitespace())
    yield "unknown", "newer than the tables of NFC and its kin", unknown_to_normalizers(letters | marks)


def later_categories():
    """What Oniguruma's general categories hold beyond Unicode 14, as a character class of PCRE2."""
    assert unicodedata.unidata_version == "14.0.0"
    rows = []
    for name in ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf",
                 "Po", "Sm", "Sc", "Sk", "So", "Cf"):
        beside = "1" if name[0] == "L" else "a"
        later = sorted(c for c in cut_by(pre_tokenizers.Split(Regex(r"\p{%s}" % name), "isolated"), beside)
                       if unicodedata.category(chr(c)) == "Cn")
        ranges = []
        for c in later:
            if ranges and c == ranges[-1][1] + 1:
                ranges[-1][1] = c
            else:
                ranges.append([c, c])
        if ranges:
            rows.append((name, ["\\x{%X}-\\x{%X}" % (a, b) for a, b in ranges]))
    return rows


def literal_of(parts):
    lines = [""]
    for part in parts:
        if len(lines[-1]) + len(part) > 84:
            lines.append("")
        lines[-1] += part
    return "\n".join('     R"(%s)"' % line for line in lines)


def run_lengths(chars):
    """Lengths of the stretches outside and inside the set, in turn, from U+0000 on."""
    lengths, at = [], 0
    for c in sorted(chars):
        if lengths and c == at:
            lengths[-1] += 1
        else:
            lengths += [c - at, 1]
        at = c + 1
    return lengths


def literal(lengths):
    lines = [""]
    for length in map(str, lengths):
        if len(lines[-1]) + len(length) > 88:
            lines.append("")
        lines[-1] += length + " "
    return "\n".join('    "%s"' % line for line in lines)


HEAD = """// Made by scripts/golden/make_unicode.py; not to be edited.
#include "trainer/text/unicode_tables.h"

namespace sterna::text {

"""


def main():
    rows = []
    for name, what, chars in sets():
        rows.append("// %s\nconst char* const k%s =\n%s;\n" % (what, name.capitalize() + "Runs", literal(run_lengths(chars))))
    later = later_categories()
    rows.append("// General categories of Oniguruma beyond Unicode 14\nconst LaterCategory kLaterCategories[%d] = {\n" % len(later) +
                ",\n".join('    {"%s",\n%s}' % (name, literal_of(parts)) for name, parts in later) + "};\n")
    with open(sys.argv[1], "w") as out:
        out.write(HEAD + "\n".join(rows) + "\n}  // namespace sterna::text\n")


if __name__ == "__main__":
    main()
