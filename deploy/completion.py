#!/usr/bin/env python3
"""Writes the completion of bash for `cantus` and its daemons from their --help. Run by the build, whenever a
program has changed.

usage: completion.py --bin DIR --out FILE
"""

import argparse
import os
import re

import help_text

DAEMONS = ("cantus-sequencer", "cantus-retransmitter", "cantus-proxy")

HEAD = r'''# Completion of bash for cantus and its daemons. Made from the programs' own texts.

# _cantus_names SECTIONS FILE: the names of processes that a cantus.yaml lists there.
_cantus_names() {
    awk -v sections="^($1):" '/^[a-z]/ { here = $0 ~ sections }
        here && match($0, /^ *(- *)?name: */) { gsub(/"/, ""); sub(/^.*name: */, ""); print $1 }' "$2" 2>/dev/null
}

# _cantus_value KIND FILE WORD: what a value of this kind may be.
_cantus_value() {
    case $1 in
    DIR) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$3") ;;
    FILE) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$3") ;;
    =*) mapfile -t COMPREPLY < <(compgen -W "${1#=}" -- "$3") ;;
    *s) mapfile -t COMPREPLY < <(compgen -W "$(_cantus_names "$1" "$2")" -- "$3") ;;
    *) COMPREPLY=() ;;
    esac
}

# _cantus_kind KEY OPTION: what an option's value is; nothing if it takes none. KEY: the verb or daemon.
_cantus_kind() {
    case $1/$2 in
@KINDS@
    esac
}

# _cantus_words KEY: its options, and the words that follow it.
_cantus_words() {
    case $1 in
@WORDS@
    esac
}

# _cantus_operand KEY: what else may follow it.
_cantus_operand() {
    case $1 in
@OPERANDS@
    esac
}

_cantus() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local verbs="@VERBS@" key='' file=cantus.yaml kind i
    COMPREPLY=()
    if [ "${COMP_WORDS[0]##*/}" != cantus ]; then
        key=${COMP_WORDS[0]##*/}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --dir) file=${COMP_WORDS[i + 1]}/cantus.yaml; ((i++)) ;;
        --config) file=${COMP_WORDS[i + 1]}; ((i++)) ;;
        -*) ;;
        *) [ -n "$key" ] || key=${COMP_WORDS[i]} ;;
        esac
    done
    kind=$(_cantus_kind "$key" "$before")
    if [ -n "$kind" ]; then
        _cantus_value "$kind" "$file" "$word"
    elif [ -z "$key" ]; then
        mapfile -t COMPREPLY < <(compgen -W "--dir --help $verbs" -- "$word")
    else
        kind=$(_cantus_operand "$key")
        if [ -n "$kind" ] && [[ $word != -* ]]; then
            _cantus_value "$kind" "$file" "$word"
        fi
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W "$(_cantus_words "$key")" -- "$word")
    fi
}

complete -F _cantus cantus @DAEMONS@
'''


# Whose names they take, by the sections of cantus.yaml; the others take those of any process.
SECTIONS = {"promote": "sequencers", "lease": "sequencers", "cantus-sequencer": "sequencers",
            "member": "retransmitters", "cantus-retransmitter": "retransmitters",
            "proxy": "proxies", "who": "proxies", "cantus-proxy": "proxies"}


def kind(help, verb, option, placeholder):
    """What completes an option's value: DIR, FILE, sections of cantus.yaml whose names it may be, "=WORD ..." of
    a list in its explanation, or "-"."""
    texts = [item.text for part_kind, part in help.body if part_kind == "list" for item in part
             if item.term.startswith(option)]
    for text in texts:
        if re.fullmatch(r"[a-z]+(?:, [a-z]+)+", text):
            return "=" + text.replace(",", "")
    if placeholder == "DIR":
        return "DIR"
    if placeholder in ("FILE", "PATH") or ".so" in placeholder:
        return "FILE"
    if placeholder == "NAME" and option == "--name":
        return SECTIONS.get(verb, "sequencers|retransmitters|proxies")
    return "-" if placeholder else ""


def subcommands(help, name):
    """Words that may come right after the verb."""
    found = [re.match(rf"cantus (?:--dir DIR )?{name} \[?([a-z]+)\b", usage) for usage in help.usages]
    return [m.group(1) for m in found if m]


def operand(help, name):
    """The same for what is no option, where it can be looked up."""
    for usage in help.usages:
        after = re.sub(r"\[?--[a-z-]+(?: [A-Z]\S*)?\]?", "", usage).split()
        for word in after[after.index(name) + 1:] if name in after else []:
            word = word.strip("[]")
            if word in ("DIR", "PATH"):
                return word.replace("PATH", "FILE")
            if word in ("NAME", "STORE", "PROXY") and name in SECTIONS:
                return SECTIONS[name]
    return ""


class Completion:
    def __init__(self, bin):
        self.kinds, self.words, self.operands = [], [], []
        cantus = os.path.join(bin, "cantus")
        self.verbs = [name for name, _ in help_text.verbs(cantus)]
        for name in self.verbs:
            help = help_text.parse(help_text.run([cantus, name, "--help"]))
            self.add(name, help, ["--dir", "--help"])
        for name in DAEMONS:
            self.add(name, help_text.parse(help_text.run([os.path.join(bin, name), "--help"])), [])

    def add(self, name, help, always):
        options = help_text.options(help)
        for option, placeholder in options.items():
            what = kind(help, name, option, placeholder)
            if what and option != "--dir":
                self.kinds.append(f"    {name}/{option}) echo '{what}' ;;")
        words = [*subcommands(help, name), *options, *always]
        self.words.append(f"    {name}) echo '{' '.join(dict.fromkeys(words))}' ;;")
        what = operand(help, name)
        if what:
            self.operands.append(f"    {name}) echo '{what}' ;;")

    def text(self):
        return (HEAD.replace("@KINDS@", "\n".join(["    */--dir) echo DIR ;;", *self.kinds]))
                .replace("@WORDS@", "\n".join(self.words))
                .replace("@OPERANDS@", "\n".join(self.operands))
                .replace("@VERBS@", " ".join(self.verbs))
                .replace("@DAEMONS@", " ".join(DAEMONS)))


def main():
    parser = argparse.ArgumentParser()
    for name in ("bin", "out"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    os.makedirs(os.path.dirname(os.path.abspath(arguments.out)), exist_ok=True)
    with open(arguments.out, "w", encoding="utf-8") as f:
        f.write(Completion(arguments.bin).text())


if __name__ == "__main__":
    main()
