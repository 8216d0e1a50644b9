"""The commands in README.md and docs: every indented line that begins with one of the programs names verbs and options
that exist; those that need nothing but the program are run."""

import glob
import os
import re
import shlex
import sys
import unittest

from programs import EMULATOR, RUN, SMETUNE, ProgramTest

SOURCE = os.environ["SMEPILOT_SOURCE"]
sys.path.insert(0, os.path.join(SOURCE, "scripts"))
import cli_texts  # noqa: E402

# Verbs that answer at once, from an installation alone.
CHEAP = {("models", "list"), ("variants", "list"), ("platforms",), ("platforms", "show")}


def commands():
    """(file, words) of each command line of the programs in the documentation."""
    for path in [os.path.join(SOURCE, "README.md"), *sorted(glob.glob(os.path.join(SOURCE, "docs", "*.md")))]:
        if os.path.basename(path) == "cli.md":  # what the programs say themselves
            continue
        with open(path) as f:
            text = f.read().replace("\\\n", " ")
        for line in re.findall(r"^    (?:\$ )?((?:smetune|smepilot-run) .*)$", text, re.MULTILINE):
            line = re.split(r" {3,}| # ", line)[0]
            for part in re.split(r" && |; | \| ", line):
                words = shlex.split(part)
                if words and words[0] in ("smetune", "smepilot-run"):
                    yield os.path.basename(path), [w for w in words if w not in ("…", "...")]


class Commands(ProgramTest):
    def test_verbs_and_options_exist(self):
        roots = {r.path[0]: r for r in (cli_texts.read_program(p[-1], EMULATOR) for p in (SMETUNE, RUN))}
        count = 0
        for file, words in commands():
            root = verb = roots[words[0]]
            for word in words[1:]:
                if word == "--":
                    break
                if word.startswith("-") and not re.match(r"^-\d", word) and word != "-":
                    names = {n for o in cli_texts.of_root(verb, root) for n in o.names} | {"--version"}
                    self.assertIn(word.split("=")[0], names, "%s: %s" % (file, " ".join(words)))
                    continue
                verb = next((v for v in verb.verbs if v.path[-1] == word.split("|")[0]), verb)
            self.assertFalse(verb.verbs and verb is root, "%s: no such verb: %s" % (file, " ".join(words)))
            count += 1
        self.assertGreater(count, 10, "the documentation's commands were not found")

    def test_cheap_ones_run(self):
        self.env.pop("SMEPILOT_DATA_DIR", None)
        ran = 0
        for file, words in commands():
            if words[0] == "smetune" and (tuple(words[1:2]) in CHEAP or tuple(words[1:3]) in CHEAP):
                self.assert_works(words[1:], SMETUNE)
                ran += 1
        self.assertGreater(ran, 0)


if __name__ == "__main__":
    unittest.main()
