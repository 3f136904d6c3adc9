#!/usr/bin/env python3
"""Turns a MediaWiki dump into plain English text, one article after the other.

    wikitext.py DUMP.xml.bz2 FOLDER

writes FOLDER/wikipedia.txt and FOLDER/wikipedia.heldout.txt (every tenth article), with a line
`<|endoftext|>` between articles. What is prose stays, headings as ` = Title = `, ` = = Part = = `
(the form of WikiText); templates, tables, lists, references and formulas go. The articles are by
Wikipedia's authors, CC BY-SA. Needs Python's standard library only.
"""

import bz2
import html
import pathlib
import re
import sys
import xml.etree.ElementTree as xml

SEPARATOR = "<|endoftext|>"
HELD_OUT_EVERY = 10
SHORTEST_ARTICLE = 2000  # characters: stubs and disambiguation pages go
SHORTEST_PARAGRAPH = 60

# Parts of an article that hold lists and sources, not prose.
DROPPED_PARTS = {
    "bibliography", "citations", "discography", "external links", "filmography", "footnotes",
    "further reading", "gallery", "literature", "notes", "notes and references", "publications",
    "references", "references and notes", "see also", "selected bibliography", "sources",
    "works cited",
}
# Tags whose content is no prose.
DROPPED_TAGS = "ref|gallery|timeline|imagemap|code|source|syntaxhighlight|score|table|pre|poem|hiero"

FORMULA = "\0"  # a paragraph with a hole where a formula stood does not read: it goes whole


def replace_innermost(text, pattern, visible):
    """Replaces until nothing matches: nested markup is worked off from the inside."""
    while True:
        text, count = pattern.subn(lambda match: visible(match.group(1)), text)
        if not count:
            return text


def template_text(body):
    """The words that a template shows in running text; most show none."""
    parts = [part.strip() for part in body.split("|")]
    name = parts[0].lower()
    plain = [part for part in parts[1:] if "=" not in part]
    if name in ("convert", "cvt") and len(plain) >= 2:
        return f"{plain[0]} {plain[1]}"
    if name in ("lang", "transl", "nihongo") and plain:
        return plain[-1] if name != "nihongo" else plain[0]
    if name in ("nowrap", "quote", "blockquote", "bq", "quotation", "abbr", "small") and plain:
        return plain[0]
    if name in ("as of", "circa", "c.") and plain:
        return ("As of " if name == "as of" else "c. ") + plain[0]
    if name in ("frac", "fraction", "sfrac") and len(plain) == 2:
        return "/".join(plain)
    if name in ("mdash", "ndash", "endash", "emdash", "snd", "spaced ndash", "spnd", "–", "—"):
        return " – "
    return ""


def link_text(body):
    """What a reader sees of [[target|words]]; nothing of files, categories, other languages."""
    target, _, words = body.partition("|")
    if re.match(r"\s*:?\s*(file|image|category|media|wikt|wiktionary|[a-z]{2,3}(-[a-z]+)*)\s*:",
                target, re.IGNORECASE):
        return ""
    return words.rpartition("|")[2] if words else target.lstrip(":")


INNER_TEMPLATE = re.compile(r"\{\{((?:(?!\{\{|\}\}).)*)\}\}", re.DOTALL)
INNER_TABLE = re.compile(r"^[:*\s]*\{\|((?:(?!^[:*\s]*\{\||^\s*\|\}).)*)^\s*\|\}",
                         re.DOTALL | re.MULTILINE)
INNER_LINK = re.compile(r"\[\[((?:(?!\[\[|\]\]).)*)\]\]", re.DOTALL)


def without_markup(text):
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(rf"<({DROPPED_TAGS})\b[^<>]*?/>", "", text, flags=re.IGNORECASE)
    text = re.sub(r"<math\b.*?</math\s*>", FORMULA, text, flags=re.DOTALL | re.IGNORECASE)
    text = re.sub(rf"<({DROPPED_TAGS})\b.*?</\1\s*>", "", text, flags=re.DOTALL | re.IGNORECASE)
    text = replace_innermost(text, INNER_TEMPLATE, template_text)
    text = replace_innermost(text, INNER_TABLE, lambda body: "")
    text = replace_innermost(text, INNER_LINK, link_text)
    text = re.sub(r"\[(?:https?:|ftp:)?//[^\s\]]+\s*([^\]]*)\]", r"\1", text)
    text = re.sub(r"https?://\S+", "", text)
    text = re.sub(r"<br\s*/?>", " ", text, flags=re.IGNORECASE)
    text = re.sub(r"</?[a-zA-Z][^<>]*>", "", text)
    text = re.sub(r"'{2,}", "", text)
    text = re.sub(r"__[A-Z]+__", "", text)
    return html.unescape(html.unescape(text)).replace("\u00a0", " ")


def tidied(line):
    """Closes the holes that removed markup leaves in a sentence."""
    line = re.sub(r"[ \t]+", " ", line)
    line = re.sub(r"\(\s*(?:[;,:–—]\s*|or\s+|and\s+)*", "(", line)
    line = re.sub(r"(?:\s*[;,:])*\s*\)", ")", line)
    line = re.sub(r"\(\s*\)", "", line)
    line = re.sub(r"[;,](?:\s*[;,])+", ",", line)
    line = re.sub(r"\s+([,.;:!?)])", r"\1", line)
    return re.sub(r"[ \t]+", " ", line).strip()


def is_prose(line):
    """A paragraph of whole sentences, without remains of markup."""
    return (len(line) >= SHORTEST_PARAGRAPH and line[-1] in '.!?"”)' and "." in line
            and (line[0].isupper() or line[0].isdigit() or line[0] in "\"'“([")
            and FORMULA not in line and not re.search(r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}", line)
            and not re.search(r"\b(?:style|align|class|colspan|width)\s*=", line))


def article_text(title, source):
    """The article as lines; a heading stays only where prose follows under it."""
    result = [f" = {title} = "]
    waiting = {}  # level: heading line that no prose has followed yet
    dropped_level = None
    for line in without_markup(source).split("\n"):
        heading = re.match(r"^(={2,6})\s*(.*?)\s*\1\s*$", line)
        if heading:
            level = len(heading.group(1))
            if dropped_level is None or level <= dropped_level:
                dropped_level = level if heading.group(2).lower() in DROPPED_PARTS else None
            waiting = {key: value for key, value in waiting.items() if key < level}
            waiting[level] = " ".join(["", *"=" * level, heading.group(2), *"=" * level, ""])
            continue
        # Lists and indented formulas go, indented quotations stay.
        if dropped_level is not None or re.match(r"\s*[*#;|!{}]", line):
            continue
        line = tidied(re.sub(r"^[:\s]+", "", line))
        if line and is_prose(line):
            result += [waiting[level] for level in sorted(waiting)] + [line]
            waiting = {}
    return "\n\n".join(result) + "\n"


def articles(dump):
    """(title, source) of every article that is no redirect, in the dump's order."""
    for _, element in xml.iterparse(dump):
        tag = element.tag.rpartition("}")[2]
        if tag != "page":
            continue
        field = {child.tag.rpartition("}")[2]: child for child in element.iter()}
        if field["ns"].text == "0" and "redirect" not in field:
            yield field["title"].text, field["text"].text or ""
        element.clear()


def main():
    dump, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    with bz2.open(dump) as file:
        texts = [article_text(title, source) for title, source in articles(file)]
    texts = [text for text in texts if len(text) >= SHORTEST_ARTICLE]
    held_out = texts[HELD_OUT_EVERY - 1::HELD_OUT_EVERY]
    train = [text for i, text in enumerate(texts) if i % HELD_OUT_EVERY != HELD_OUT_EVERY - 1]
    for name, chosen in (("wikipedia.txt", train), ("wikipedia.heldout.txt", held_out)):
        text = f"{SEPARATOR}\n".join(chosen)
        (folder / name).write_text(text, encoding="utf-8")
        print(f"{folder / name}: {len(chosen)} articles, {len(text):,} characters", file=sys.stderr)


if __name__ == "__main__":
    main()
