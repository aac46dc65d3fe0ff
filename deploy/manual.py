#!/usr/bin/env python3
"""Writes the manual pages (mdoc) from what the programs themselves say: the --help of each verb and daemon, and
the commented cantus.yaml that `cantus init` makes. Run by the build, whenever a program has changed.

usage: manual.py --bin DIR --out DIR --changelog FILE
"""

import argparse
import os
import re
import subprocess
import tempfile
import textwrap

import help_text

WIDTH = 78
PLACEHOLDER = re.compile(r"^[A-Z][A-Za-z]*(?:[.:,[].*)?$|^[AB]\.so$")


# ---- text ----------------------------------------------------------------------------------------

def escape(text):
    return text.replace("\\", "\\e").replace("--", "\\-\\-")


def inline(text):
    """Options, file names in backticks and what stands for a value, set apart by fonts."""
    parts = re.split(r"(`[^`]+`)", text)
    out = []
    for part in parts:
        if part.startswith("`") and part.endswith("`") and len(part) > 2:
            out.append(f"\\fB{escape(part[1:-1])}\\fP")
        else:
            out.append(re.sub(r"(?<![\w/-])(\\-\\-[a-z][a-z-]*)", r"\\fB\1\\fP", escape(part)))
    return "".join(out)


def paragraph(text):
    """Lines of text, each sentence on one of its own, none that roff takes for a request."""
    lines = []
    for sentence in re.split(r"(?<=[.!?])\s+", text.strip()):
        for line in textwrap.wrap(inline(sentence), WIDTH, break_long_words=False, break_on_hyphens=False):
            lines.append("\\&" + line if line[0] in ".'" else line)
    return lines


def words(text):
    """A synopsis or a term in macros: --option, PLACEHOLDER, word, and brackets."""
    out = []
    for token in re.findall(r"\[|\]|\||\.\.\.|,(?=\s|$)|[^\s\[\]|]+(?:\[[^\s\]]*\]\S*)?", text):
        trailing = ""
        if len(token) > 1 and token.endswith(",") and not token.startswith(","):
            token, trailing = token[:-1], " ,"
        if token == "[":
            out.append("Oo")
        elif token == "]":
            out.append("Oc")
        elif token in ("|", "...", ","):
            out.append(token)
        elif token.startswith("--"):
            out.append("Fl " + escape(token[1:]).replace("\\-\\-", "--") + trailing)
        elif PLACEHOLDER.match(token):
            out.append("Ar " + escape(token) + trailing)
        else:
            out.append("Cm " + escape(token) + trailing)
    return out


def synopsis(usage):
    """One line for the program's name, one for each word or bracketed part."""
    program, _, rest = usage.partition(" ")
    lines, line, depth = [f".Nm {program}"], [], 0
    for word in words(rest):
        depth += (word == "Oo") - (word == "Oc")
        follows = word in ("|", "...", ",")
        if line and depth == (word == "Oo") and word != "Oc" and not follows and line[-1] != "|" \
                and not (word.startswith("Ar") and line[-1].startswith("Fl")):
            lines.append("." + " ".join(line))
            line = []
        line.append(word)
    if line:
        lines.append("." + " ".join(line))
    return lines


def items(entries):
    lines = [".Bl -tag -width Ds"]
    for entry in entries:
        lines.append(".It " + " ".join(words(entry.term)))
        lines += paragraph(entry.text)
    return lines + [".El"]


def body(help):
    lines = []
    for n, (kind, part) in enumerate(help.body):
        if kind == "list":
            lines += items(part)
        else:
            lines += ([".Pp"] if n > 0 else []) + paragraph(part)
    return lines


def see_also(*pages):
    pages = sorted(pages, key=lambda p: (p[1], p[0]))
    return [".Sh SEE ALSO"] + [f".Xr {name} {section}" + (" ," if n + 1 < len(pages) else "")
                               for n, (name, section) in enumerate(pages)]


MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")


def released(changelog):
    """The date of the newest release, as mdoc wants it."""
    with open(changelog, encoding="utf-8") as f:
        day, month, year = re.search(r"(?m)^ -- .*  \w+, (\d+) (\w+) (\d+) ", f.read()).groups()
    return f"{next(m for m in MONTHS if m.startswith(month))} {int(day)}, {year}"


class Manual:
    def __init__(self, arguments):
        self.bin, self.out = arguments.bin, arguments.out
        self.date = released(arguments.changelog)
        self.verbs = help_text.verbs(self.program("cantus"))

    def program(self, name):
        return os.path.join(self.bin, name)

    def write(self, name, section, summary, lines):
        head = [".\\\" Made from the programs' own texts.",
                f".Dd {self.date}", f".Dt {name.upper()} {section}", ".Os",
                ".Sh NAME", f".Nm {name}", f".Nd {escape(summary.rstrip('.?!'))}"]
        with open(os.path.join(self.out, f"{name}.{section}"), "w", encoding="utf-8") as f:
            f.write("\n".join(head + lines) + "\n")

    # ---- pages -----------------------------------------------------------------------------------

    def cantus(self):
        lines = [".Sh SYNOPSIS", *synopsis("cantus [--dir DIR | --proxy HOST:PORT [--key FILE]] VERB [ARGUMENT ...]"), ".Sh DESCRIPTION",
                 *paragraph("Cantus gives many programs on many machines one totally ordered stream of messages, and "
                            "a way to write those programs as deterministic state machines that follow it. This "
                            "command makes streams, publishes and reads messages, operates deployments, and looks "
                            "into them. Each verb has a page of its own, and --help."),
                 ".Bl -tag -width Ds", ".It Fl -dir Ar DIR",
                 *paragraph("The deployment: a directory with a `cantus.yaml`. It may also follow the verb."),
                 ".It Fl -proxy Ar HOST:PORT[,HOST:PORT...]",
                 *paragraph("One that is elsewhere, by its proxies, for the verbs that say so. It may also follow "
                            "the verb."),
                 ".It Fl -key Ar FILE",
                 *paragraph("A key, as `cantus key new` makes it: who you are to the proxy."),
                 ".El", ".Pp", "The verbs are:", ".Bl -tag -compact -width cantus-metrics(1)"]
        for verb, summary in self.verbs:
            lines += [f".It Xr cantus-{verb} 1", *paragraph(summary)]
        lines += [".El", ".Sh EXIT STATUS",
                  "0 on success, 1 when it failed, 2 when it was called wrongly.",
                  ".Sh EXAMPLES",
                  "A whole deployment in one process, a message, and the stream:", ".Bd -literal -offset indent",
                  "cantus dev --dir /tmp/stream &", "cantus --dir /tmp/stream pub /hello \"Hello\"",
                  "cantus --dir /tmp/stream sub / --json", ".Ed",
                  *see_also(("cantus.yaml", 5), ("cantus-proxy", 8), ("cantus-retransmitter", 8),
                            ("cantus-sequencer", 8))]
        self.write("cantus", 1, "one totally ordered stream of messages", lines)

    def verb(self, name, summary):
        help = help_text.parse(help_text.run([self.program("cantus"), name, "--help"]))
        lines = [".Sh SYNOPSIS"]
        for usage in help.usages:
            lines += synopsis(usage)
        lines += [".Sh DESCRIPTION", *body(help), *see_also(("cantus", 1), ("cantus.yaml", 5))]
        self.write(f"cantus-{name}", 1, summary, lines)

    def daemon(self, name, summary, peer):
        help = help_text.parse(help_text.run([self.program(name), "--help"]))
        lines = [".Sh SYNOPSIS"]
        for usage in help.usages:
            lines += synopsis(usage)
        lines += [".Sh DESCRIPTION", *body(help),
                  ".Sh FILES", ".Bl -tag -width Ds", ".It Pa /etc/cantus/cantus.yaml",
                  *paragraph(f"What the unit `{name}@.service` names as configuration: `systemctl enable --now "
                             f"{name}@NAME` runs the one called NAME there."), ".El",
                  *see_also(("cantus", 1), ("cantus-promote", 1), ("cantus-status", 1), ("cantus.yaml", 5),
                            (peer, 8))]
        self.write(name, 8, summary, lines)

    def configuration(self):
        self.write("cantus.yaml", 5, "configuration of a Cantus deployment",
                   Configuration(self.program("cantus"), self.program("cantus-sequencer")).lines()
                   + see_also(("cantus", 1), ("cantus-init", 1), ("cantus-proxy", 8),
                              ("cantus-retransmitter", 8), ("cantus-sequencer", 8)))

    def write_all(self):
        os.makedirs(self.out, exist_ok=True)
        self.cantus()
        for name, summary in self.verbs:
            self.verb(name, summary)
        self.daemon("cantus-sequencer", "gives a stream its order", "cantus-retransmitter")
        self.daemon("cantus-retransmitter", "records a stream, fills gaps and replays", "cantus-sequencer")
        self.daemon("cantus-proxy", "lets clients in to a stream", "cantus-sequencer")
        self.configuration()


# ---- cantus.yaml ---------------------------------------------------------------------------------

class Configuration:
    """The file that `cantus init` writes: a comment, then the key that it explains."""

    def __init__(self, cantus, sequencer):
        self.sequencer = sequencer
        self.tmp = tempfile.TemporaryDirectory()
        stream = os.path.join(self.tmp.name, "stream")
        help_text.run([cantus, "init", stream])
        with open(os.path.join(stream, "cantus.yaml"), encoding="utf-8") as f:
            self.text = f.read().split("\n")

    def optional(self, number):
        """Whether the file is still fine without this line."""
        path = os.path.join(self.tmp.name, "without.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write("\n".join(self.text[:number] + self.text[number + 1:]))
        return subprocess.run([self.sequencer, "--config", path, "--check"], check=False,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def key(self, number, line, comment):
        aside, name, value = re.match(r" *(?:- )?(# )?([a-z_]+): *(.*)$", line).groups()
        if aside:
            said = f"Not set unless said; for example `{value}`."
        elif self.optional(number):
            said = f"Default: `{value.strip(chr(34))}`."
        else:
            said = "Required."
        return [f".It Cm {name}", *paragraph(comment), *paragraph(said)]

    def lines(self):
        out, comment, listing, in_section = [".Sh DESCRIPTION"], [], False, False
        for number, line in enumerate(self.text):
            key = re.match(r" *(?:- )?(?:# )?[a-z_]+: *\S", line)
            section = re.match(r"([a-z_]+):$", line)
            if line == "" and comment and len(out) == 1:
                out += paragraph(" ".join(comment))
                comment = []
            elif section:
                out += [".El"] * listing
                out += [f".Ss {section.group(1)}", *paragraph(" ".join(comment))]
                comment, listing, in_section = [], False, True
            elif key and (not line.lstrip().startswith("# ") or self.is_example(line)):
                if not listing:
                    out += [".Bl -tag -width Ds"] if in_section else [".Ss The stream", ".Bl -tag -width Ds"]
                listing = True
                out += self.key(number, line, " ".join(comment))
                comment = []
            elif line.lstrip().startswith("#"):
                comment.append(line.lstrip()[2:])
            elif line != "":
                raise ValueError(f"cantus.yaml, line {number + 1}: neither a comment nor a key: {line}")
        return out + [".El"] * listing

    @staticmethod
    def is_example(line):
        """A key that is set aside by '# ': its value has no space in it, as a sentence's rest would."""
        return re.match(r" *# [a-z_]+: \S+$", line) is not None


def main():
    parser = argparse.ArgumentParser()
    for name in ("bin", "out", "changelog"):
        parser.add_argument(f"--{name}", required=True)
    Manual(parser.parse_args()).write_all()


if __name__ == "__main__":
    main()
