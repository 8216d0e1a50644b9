#!/usr/bin/env python3
"""Shell completions, man pages and docs/cli.md, all made from what the programs say with --help.

usage: cli_texts.py --out DIR PROGRAM...          writes DIR/bash/NAME, zsh/_NAME, fish/NAME.fish, man/NAME.1.gz
       cli_texts.py --reference FILE PROGRAM...   writes the command-line reference (docs/cli.md)
       cli_texts.py --check FILE PROGRAM...       fails where that reference differs from what the programs say
       --emulator COMMAND runs the programs of a cross build; --version TEXT stands in the man pages

Verbs and options come from the help of each verb, so that a new one needs nothing here.
"""
import argparse
import difflib
import gzip
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

HOME = "/XDG_DATA_HOME"  # where the default database would be; printed as $XDG_DATA_HOME
NAMES = re.compile(r"^(-\w|--[\w-]+)(,(-\w|--[\w-]+))*(?=[ ]|$)")
# Options and positionals that name a file though their type does not say so, and which verb lists what else they take.
FILES = {"--model", "--platform", "--out", "--plan", "FILE", "FOLDER"}
LISTS = {"--model": "models list", "--platform": "platforms --json"}


@dataclass
class Option:
    names: list
    takes: str = ""  # the text after the names: type, default, constraints
    about: str = ""

    @property
    def values(self):
        found = re.search(r"\{([^}]*)\}", self.takes)
        words = found[1].split(",") if found else []
        if not words and "|" in self.takes.split("=")[0]:
            words = [w for w in self.takes.split("=")[0].split("|") if w.islower()]
        return words

    @property
    def has_value(self):
        return bool(self.takes) and not re.match(r"(Needs|Excludes):", self.takes)

    @property
    def is_file(self):
        named = self.takes.startswith("TEXT") and bool(FILES & set(self.names))
        return named or bool(re.search(r"\b(FILE|PATH|FOLDER)\b", self.takes))


@dataclass
class Verb:
    path: list  # the program's name, then the verbs
    text: str
    about: str = ""
    options: list = field(default_factory=list)
    positionals: list = field(default_factory=list)
    verbs: list = field(default_factory=list)
    footer: str = ""

    def walk(self):
        yield self
        for verb in self.verbs:
            yield from verb.walk()


def complete_field(text):
    """Whether this is all of an option's name and type, or only what comes before the column of descriptions."""
    return (not re.search(r"( in|:)$", text) and text.count("[") == text.count("]") and text.count("{") == text.count("}"))


def parse_entries(lines):
    """(name and type, description) of each entry of a list in the help."""
    entries, column = [], None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if entries and indent >= (column or 10):  # a description alone: names stand further left
            entries[-1][1].append(line.strip())
            column = column or indent
            continue
        if entries and entries[-1][0].count("{") > entries[-1][0].count("}"):
            entries[-1] = (entries[-1][0] + line.strip(), entries[-1][1])
            continue
        # Two spaces or more end the name, or the column where the others' descriptions begin.
        name, about = line.strip(), ""
        gap = re.search(r"(?<=\S) {2,}(?=\S)", line.rstrip())
        if gap:
            name, about, column = line[:gap.start()].strip(), line[gap.end():].strip(), column or gap.end()
        elif column and len(line) > column and line[column - 1] == " " and complete_field(line[:column].strip()) and \
                not line[column:].startswith("--"):
            name, about = line[:column].strip(), line[column:].strip()
        entries.append((name, [about] if about else []))
    return [(name, " ".join(about)) for name, about in entries]


def ask(command, path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("SMEPILOT")}
    env["XDG_DATA_HOME"] = HOME
    done = subprocess.run([*command, *path[1:], "--help"], capture_output=True, text=True, env=env, timeout=60)
    if done.returncode != 0:
        sys.exit("%s --help: exit code %d\n%s" % (" ".join(path), done.returncode, done.stderr))
    return done.stdout.replace(HOME, "$XDG_DATA_HOME")


def read_verb(command, path):
    verb = Verb(path, ask(command, path).rstrip("\n"))
    lines = verb.text.split("\n")
    usage = next(i for i, line in enumerate(lines) if line.startswith("Usage:"))
    verb.about = " ".join(lines[:usage]).strip()
    sections, footer, i = [], len(lines), usage + 1
    while i < len(lines):
        heading = lines[i].strip()
        if re.match(r"^(Options|Positionals|Subcommands):$|^\[Option Group: .*\]$", heading):
            sections.append((heading.rstrip(":"), []))
        elif lines[i].startswith(" ") and sections:
            sections[-1][1].append(lines[i])
        elif heading:
            footer = i
            break
        i += 1
    verb.footer = "\n".join(lines[footer:]).strip("\n")
    subcommands = []
    for heading, body in sections:
        for name, about in parse_entries(body):
            if heading == "Subcommands":
                subcommands.append(name)
            elif heading == "Positionals":
                first, _, takes = name.partition(" ")
                verb.positionals.append(Option([first], takes or first, about))
            elif NAMES.match(name):
                names = NAMES.match(name)[0]
                verb.options.append(Option(names.split(","), name[len(names):].strip(), about))
            else:
                sys.exit("%s: not an option: '%s'" % (" ".join(path), name))
    verb.verbs = [read_verb(command, path + [name]) for name in subcommands]
    return verb


def read_program(program, emulator=()):
    return read_verb([*emulator, str(program)], [Path(program).name])


def of_root(verb, root):
    """The verb's options, then those of the program, which may follow any verb."""
    own = {name for o in verb.options for name in o.names}
    return verb.options + [o for o in root.options if verb is not root and not own & set(o.names) and
                           "--version" not in o.names]


def identifier(name):
    return "_" + name.replace("-", "_")


def bash_or_zsh(root, zsh):
    """One logic for both shells: find the verb that is being typed, then the values of the option before, or the
    verb's options, verbs and files."""
    program = root.path[0]
    verbs = "|".join('"%s"' % " ".join(v.path) for v in root.walk() if v is not root)
    words, cursor = ("words", "CURRENT") if zsh else ("COMP_WORDS", "COMP_CWORD")
    first = 2 if zsh else 1
    say = (lambda text: "compadd -- %s" % text) if zsh else (lambda text: 'COMPREPLY+=($(compgen -W "%s" -- "$cur"))' % text)
    files = "_files" if zsh else 'COMPREPLY+=($(compgen -f -- "$cur")); compopt -o filenames 2>/dev/null'
    out = ["#compdef %s" % program if zsh else "# bash completion of %s" % program]
    out += ["# Generated from its --help by scripts/cli_texts.py.", "%s() {" % identifier(program)]
    out += ["  local cur=${%s[%s]} prev=${%s[%s-1]} at=%s i" % (words, cursor, words, cursor, program)]
    if not zsh:
        out += ["  COMPREPLY=()"]
    if verbs:
        out += ["  for ((i = %d; i < %s; ++i)); do" % (first, cursor), '    case "$at ${%s[i]}" in' % words,
                '      %s) at="$at ${%s[i]}" ;;' % (verbs, words), "    esac", "  done"]
    out += ['  case "$at:$prev" in']
    for verb in root.walk():
        for o in of_root(verb, root):
            if not o.has_value:
                continue
            pattern = "|".join('"%s:%s"' % (" ".join(verb.path), name) for name in o.names)
            body = [say(" ".join(o.values))] if o.values else []
            known = LISTS.get(o.names[-1]) if program == "smetune" else None
            if known == "models list":
                body += [say("$(%s models list 2>/dev/null | awk 'NR > 2 { print $1 }')" % program)]
            elif known:
                body += [say("$(%s %s 2>/dev/null | awk -F'\"' '$2 == \"name\" { print $4 }')" % (program, known))]
            if o.is_file:
                body += [files]
            elif not o.values:
                body += [":"]
            out += ["    %s) %s; return ;;" % (pattern, "; ".join(body))]
    out += ["  esac", '  case "$at" in']
    for verb in root.walk():
        options = [name for o in of_root(verb, root) for name in o.names if name.startswith("--")]
        wanted = [v.path[-1] for v in verb.verbs]
        body = ['if [[ $cur == -* ]]; then %s' % say(" ".join(options))]
        if wanted:
            body += ["else %s" % say(" ".join(wanted))]
        elif any(p.is_file for p in verb.positionals):
            body += ["else %s" % files]
        else:
            body += ["else %s" % say(" ".join(options))]
        out += ['    "%s") %s; fi ;;' % (" ".join(verb.path), "; ".join(body))]
    out += ["  esac", "}"]
    out += ['%s "$@"' % identifier(program) if zsh else "complete -F %s %s" % (identifier(program), program)]
    return "\n".join(out) + "\n"


def fish(root):
    program = root.path[0]
    quote = lambda text: "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    out = ["# fish completion of %s" % program, "# Generated from its --help by scripts/cli_texts.py.",
           "complete -c %s -f" % program]

    def condition(path, verbs):
        parts = ["__fish_seen_subcommand_from " + v for v in path[1:]]
        if verbs:
            parts.append("not __fish_seen_subcommand_from " + " ".join(v.path[-1] for v in verbs))
        return " -n " + quote("; and ".join(parts)) if parts else ""

    for verb in root.walk():
        here = condition(verb.path, verb.verbs)
        for v in verb.verbs:
            out.append("complete -c %s%s -a %s -d %s" % (program, here, v.path[-1], quote(v.about)))
        if verb is root:
            here = ""
        for o in verb.options:
            if "--help" in o.names and verb is not root:
                continue
            line = "complete -c %s%s" % (program, here)
            for name in o.names:
                line += " -l " + name[2:] if name.startswith("--") else " -s " + name[1:]
            if o.has_value:
                line += " -r" + (" -F" if o.is_file else "")
                if o.values:
                    line += " -a " + quote(" ".join(o.values))
                elif program == "smetune" and o.names[-1] == "--model":
                    line += " -a " + quote("(smetune models list 2>/dev/null | awk 'NR > 2 { print $1 }')")
            out.append(line + " -d " + quote(o.about))
        if any(p.is_file for p in verb.positionals):
            out.append("complete -c %s%s -F" % (program, here))
    return "\n".join(out) + "\n"


def man(root, version):
    program = root.path[0]
    esc = lambda text: re.sub(r"(?m)^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"))
    out = ['.TH %s 1 "" "smepilot %s" "User Commands"' % (program.upper(), version), ".SH NAME",
           "%s \\- %s" % (esc(program), esc(root.about[0].lower() + root.about[1:].rstrip("."))), ".SH SYNOPSIS"]
    for verb in root.walk():
        if not verb.verbs or verb is root:
            usage = next(line for line in verb.text.split("\n") if line.startswith("Usage:"))
            out += [".B %s" % esc(" ".join(verb.path)), esc(usage[len("Usage: " + " ".join(verb.path)):].strip()), ".br"]

    def entries(verb):
        for o in verb.positionals + verb.options:
            if "--help" in o.names and verb is not root:
                continue
            takes = re.sub(r"^\w+:(?=\{)|:(INT|UINT|FLOAT|POSITIVE)\b.*?(?= [A-Z]|$)", "", o.takes)
            takes = esc(takes).replace(",", ",\\:")  # long lists of values may break
            label = ", ".join("\\fB%s\\fR" % esc(name) for name in o.names)
            out.extend([".TP", label + (" \\fI%s\\fR" % takes if takes else ""), esc(o.about) or "\\&"])

    out += [".SH OPTIONS"]
    entries(root)
    if root.verbs:
        out += [".SH COMMANDS"]
        for verb in root.walk():
            if verb is not root:
                out += [".SS %s" % esc(" ".join(verb.path)), esc(verb.about)]
                entries(verb)
                if verb.footer:
                    out += [".PP", ".nf", esc(verb.footer), ".fi"]
    if root.footer:
        out += [".SH EXAMPLES", ".nf", esc(root.footer), ".fi"]
    others = sorted({"smetune", "smepilot-run"} - {program})
    out += [".SH SEE ALSO"] + [".BR %s (1)" % esc(name) for name in others]
    return "\n".join(out) + "\n"


def reference(roots):
    out = ["# Command-line reference", "",
           "What the programs say with `--help`, written by [scripts/cli_texts.py](../scripts/cli_texts.py); a test",
           "compares them."]
    for root in roots:
        for verb in root.walk():
            out += ["", "#" * min(len(verb.path) + 1, 4) + " " + " ".join(verb.path), "", "```text", verb.text, "```"]
    return "\n".join(out) + "\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    else:
        path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--check", type=Path)
    parser.add_argument("--emulator", default="")
    parser.add_argument("--version", default="")
    parser.add_argument("programs", nargs="+", type=Path)
    args = parser.parse_args()
    roots = [read_program(program, shlex.split(args.emulator)) for program in args.programs]
    if args.out:
        for root in roots:
            name = root.path[0]
            write(args.out / "bash" / name, bash_or_zsh(root, False))
            write(args.out / "zsh" / ("_" + name), bash_or_zsh(root, True))
            write(args.out / "fish" / (name + ".fish"), fish(root))
            write(args.out / "man" / (name + ".1.gz"), man(root, args.version))
    if args.reference:
        write(args.reference, reference(roots))
    if args.check:
        found, expected = args.check.read_text(), reference(roots)
        if found != expected:
            sys.stdout.writelines(difflib.unified_diff(found.splitlines(True), expected.splitlines(True), str(args.check),
                                                       "what the programs say", n=1))
            print("\n%s is out of date; write it with: scripts/cli_texts.py --reference %s %s" %
                  (args.check, args.check, " ".join(str(p) for p in args.programs)))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
