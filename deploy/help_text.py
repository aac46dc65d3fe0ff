"""What a program's --help says, taken apart: usage lines, paragraphs, lists of options. The manual pages and the
shell completion are made from it, so that they say what the programs say.
"""

import re
import subprocess
from collections import Counter, namedtuple

# usages: one string each, without the line breaks. body: in order, ("text", string) or ("list", items).
Help = namedtuple("Help", "usages body")
# term: "--count N". text: its explanation, "" if there is none.
Item = namedtuple("Item", "term text")

OPTION = re.compile(r"--[a-z][a-z-]*")


def run(argv):
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          encoding="utf-8").stdout


def verbs(cantus):
    """(name, summary) of every verb, as `cantus --help` lists them."""
    found = re.findall(r"(?m)^  ([a-z]+) +(\S.*)$", run([cantus, "--help"]))
    if not found:
        raise ValueError("cantus --help lists no verbs")
    return found


def parse_usages(lines):
    """The first block: "usage: ..." begins, as does each line with the program's name; others continue."""
    if not lines[0].startswith("usage: "):
        raise ValueError(f"a help text begins with 'usage: ', not with: {lines[0]}")
    program = lines[0].split()[1]
    usages = []
    for line in lines:
        line = line.removeprefix("usage: ").strip()
        if line.split()[0] == program:
            usages.append(line)
        else:
            usages[-1] += " " + line
    return usages


def parse_list(lines):
    """Terms in the third column, and explanations in one further right, the same for the whole block."""
    gaps = [re.match(r"  \S+(?: \S+)*( {2,})\S", line) for line in lines]
    ends = Counter(m.end() - 1 for m in gaps if m)
    column = ends.most_common(1)[0][0] if ends else None
    items = []
    for line in lines:
        if line.startswith("   "):
            items[-1] = Item(items[-1].term, (items[-1].text + " " + line.strip()).strip())
        elif column is not None and len(line) > column and line[column - 1] == " ":
            items.append(Item(line[:column].strip(), line[column:].strip()))
        else:
            items.append(Item(line.strip(), ""))
    return items


def parse(text):
    blocks = [block.split("\n") for block in text.strip("\n").split("\n\n")]
    body = []
    for lines in blocks[1:]:
        start = next((i for i, line in enumerate(lines) if line.startswith("  ")), len(lines))
        if start > 0:
            body.append(("text", " ".join(lines[:start])))
        if start < len(lines):
            body.append(("list", parse_list(lines[start:])))
    return Help(parse_usages(blocks[0]), body)


def options(help):
    """{"--count": "N", "--json": ""}: what it takes, in the order of its list, and what follows each."""
    found = {}
    terms = [item.term for kind, part in help.body if kind == "list" for item in part]
    for text in [t for t in terms if t.startswith("--")] + help.usages:
        for option, value in re.findall(r"(--[a-z][a-z-]*)(?: ([A-Z][A-Za-z]*(?:[.:,[][^\s,]*)?))?", text):
            found.setdefault(option, value)
            found[option] = found[option] or value
    return found
