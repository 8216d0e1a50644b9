"""The command line itself: shell completions at work in their shells, man pages, the reference in docs, help and lists
within 80 columns."""

import gzip
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from programs import EMULATOR, RUN, SMETUNE, ProgramTest

SOURCE = os.environ["SMEPILOT_SOURCE"]
sys.path.insert(0, os.path.join(SOURCE, "scripts"))
import cli_texts  # noqa: E402

PROGRAMS = [SMETUNE[-1], RUN[-1]]


def need(test, tool):
    if shutil.which(tool) is None:
        test.skipTest("no %s on this machine" % tool)


class Texts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="smepilot-cli-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        subprocess.run([sys.executable, "-B", os.path.join(SOURCE, "scripts", "cli_texts.py"), "--out", cls.folder,
                        "--version", "0", "--emulator=" + " ".join(EMULATOR), *PROGRAMS], check=True)
        os.makedirs(os.path.join(cls.folder, "bin"))
        for program in PROGRAMS:  # completions ask the program for names
            path = os.path.join(cls.folder, "bin", os.path.basename(program))
            with open(path, "w") as f:
                f.write('#!/bin/sh\nexec %s "$@"\n' % " ".join(EMULATOR + [program]))
            os.chmod(path, 0o755)
        os.makedirs(os.path.join(cls.folder, "here"))
        open(os.path.join(cls.folder, "here", "some.gguf"), "w").close()

    def shell(self, command):
        env = dict(os.environ, PATH=os.path.join(self.folder, "bin") + ":" + os.environ["PATH"], HOME=self.folder)
        env.pop("SMEPILOT_DATA_DIR", None)
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=os.path.join(self.folder, "here"),
                              timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""), command)
        return done.stdout.splitlines()

    def bash(self, *words):
        name = words[0]
        return self.shell(["bash", "--norc", "-c", 'source "$0"; shift 0; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); %s; '
                           'printf "%%s\\n" "${COMPREPLY[@]}"' % cli_texts.identifier(name),
                           os.path.join(self.folder, "bash", name), *words])

    def zsh(self, *words):
        # What the completion system would offer: zsh filters by what was typed itself.
        name = words[0]
        found = self.shell(["zsh", "-f", "-c", 'compadd() { shift; print -l -- "$@" }; _files() { print -l -- * }; '
                            'words=("$@"); CURRENT=$#; source "$0"', os.path.join(self.folder, "zsh", "_" + name), *words])
        return [word for word in found if word.startswith(words[-1])]

    def fish(self, *words):
        path = os.path.join(self.folder, "fish", words[0] + ".fish")
        line = " ".join(words)
        rows = self.shell(["fish", "--no-config", "-c", "source %s; complete -C '%s'" % (path, line)])
        return [row.split("\t")[0] for row in rows]

    def check(self, complete):
        self.assertIn("calibrate", complete("smetune", "cal"))
        self.assertEqual(complete("smetune", "sear"), ["search"])
        self.assertEqual(sorted(complete("smetune", "plan", "ex")), ["explain", "export"])
        self.assertEqual(complete("smetune", "search", "--kv-type", "q"), ["q8_0"])
        self.assertIn("--budget", complete("smetune", "search", "--b"))
        self.assertNotIn("--budget", complete("smetune", "report", "--"))
        models = complete("smetune", "search", "--model", "")
        self.assertIn("llama-3.2-3b", models)
        self.assertIn("some.gguf", models)
        self.assertEqual(sorted(complete("smepilot-run", "--mode", "c")), ["coop", "cpu"])
        self.assertEqual(complete("smepilot-run", "--perp"), ["--perplexity"])
        self.assertIn("some.gguf", complete("smepilot-run", "-m", "some"))

    def test_bash(self):
        need(self, "bash")
        self.check(self.bash)
        self.assertIn("--db", self.bash("smetune", "plan", "list", "--d"))  # a global option, after the verb
        self.assertEqual(self.bash("smetune", "search", "--budget", ""), [""])  # a number: nothing to offer
        self.assertIn("apple-m4-pro", self.bash("smetune", "search", "--platform", "apple"))
        self.assertIn("some.gguf", self.bash("smetune", "plan", "import", ""))

    def test_zsh(self):
        need(self, "zsh")
        self.check(self.zsh)
        self.assertIn("apple-m4-pro", self.zsh("smetune", "search", "--platform", "apple"))

    def test_fish(self):
        need(self, "fish")
        self.check(self.fish)

    def test_man_pages_render_without_warnings(self):
        for program in PROGRAMS:
            name = os.path.basename(program)
            path = os.path.join(self.folder, "man", name + ".1.gz")
            with gzip.open(path, "rt") as f:
                self.assertTrue(f.read().startswith(".TH "))
            need(self, "man")
            done = subprocess.run(["man", "-l", "--warnings", path], capture_output=True, text=True,
                                  env=dict(os.environ, MANWIDTH="80", MANROFFOPT="", LC_ALL="C.UTF-8"))
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for part in ("--help", "SEE ALSO", "Exit codes" if name == "smepilot-run" else "smetune plan explain"):
                self.assertIn(part, done.stdout)

    def test_every_option_is_described(self):
        for program in PROGRAMS:
            for verb in cli_texts.read_program(program, EMULATOR).walk():
                for option in verb.options + verb.positionals:
                    self.assertNotEqual(option.about, "", "%s %s" % (verb.path, option.names))
                if not verb.verbs:
                    self.assertIn("xample", verb.text, "%s has no examples" % verb.path)

    def test_reference_is_what_the_programs_say(self):
        done = subprocess.run([sys.executable, "-B", os.path.join(SOURCE, "scripts", "cli_texts.py"), "--check",
                               os.path.join(SOURCE, "docs", "cli.md"), "--emulator=" + " ".join(EMULATOR), *PROGRAMS],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class Width(ProgramTest):
    def narrow(self, text, what):
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80, "%s: wider than 80 columns: %s" % (what, line))

    def test_help_fits_80_columns(self):
        for program in PROGRAMS:
            for verb in cli_texts.read_program(program, EMULATOR).walk():
                # The default database's path is the user's.
                self.narrow("\n".join(s for s in verb.text.split("\n") if "smepilot.db" not in s), " ".join(verb.path))
                self.assertNotRegex(verb.text, r"\b(U?INT|FLOAT|POSITIVE)\b", " ".join(verb.path))

    def test_lists_fit_80_columns(self):
        self.env.pop("SMEPILOT_DATA_DIR", None)
        with os.scandir(os.path.join(SOURCE, "profiles", "platforms")) as found:
            names = [f.name[:-5] for f in found if f.name.endswith(".json")]
        self.assertGreater(len(names), 3)
        model = ["--platform", "apple-m4-pro", "--model", "llama-3.2-3b", "--dtype", "f16"]
        for args in (["models", "list"], ["variants", "list"], ["platforms"], ["simulate", "--published"],
                     *(["platforms", "show", name] for name in names),
                     ["simulate", "model", *model, "--prefill", "512"],
                     ["simulate", "model", *model, "--decode", "16", "--context", "2048"],
                     ["simulate", "attention", "--platform", "apple-m4-pro", "--m", "256", "--mode", "sme"],
                     ["search", *model, "--quick", "--db", self.db]):
            out, err = self.assert_works(args, SMETUNE)
            self.assertEqual(err, "")
            # Paths are as long as they are.
            self.narrow("\n".join(s for s in out.split("\n") if os.sep + "profiles" not in s), args)
            self.assertNotIn("…", out, args)
        self.env["SMEPILOT_FORCE_ISA"] = "portable"
        out, _ = self.assert_works(["variants", "list"], SMETUNE)
        self.narrow(out, "variants")
        self.assertNotIn("…", out)
        self.assertIn("(1) by SMEPILOT_FORCE_ISA", out)

    def test_notes_and_assumptions_stay_whole(self):
        self.env.pop("SMEPILOT_DATA_DIR", None)
        out, _ = self.assert_works(["platforms", "show", "apple-m4-pro"], SMETUNE)
        with open(os.path.join(SOURCE, "profiles", "platforms", "apple-m4-pro.json"), encoding="utf-8") as f:
            text = f.read()
        notes = re.findall(r'"note": "([^"]+)"', text)
        self.assertGreater(len(notes), 1)
        for note in notes:
            self.assertIn(note, " ".join(out.split()))
        out, _ = self.assert_works(["simulate", "--published"], SMETUNE)
        self.assertIn("heads of Llama-3.2-3B, no mask, f32 scores: prefill attention 4096, full pipeline",
                      " ".join(out.split()))

    def test_wrong_names_suggest_close_ones(self):
        self.env.pop("SMEPILOT_DATA_DIR", None)
        for code, args, part in (
                (1, ["platforms", "show", "aple-m4-pro"], "did you mean apple-m4-pro"),
                (1, ["search", "--platform", "apple-m4-por", "--model", "llama-3.2-3b"], "did you mean apple-m4-pro"),
                (1, ["platforms", "show", "pdp-11"], "known are apple-m4-ipad, "),
                (1, ["search", "--platform", "apple-m4-pro", "--model", "lama-3.2-3b"], "did you mean llama-3.2-3b"),
                (1, ["db", "export", self.path("x"), "--table", "sesion", "--db", self.db], "did you mean session?"),
                (2, ["workload", "gsmk8", "--model", self.model], "no workload 'gsmk8'; did you mean gsm8k?"),
                (2, ["workload", "x", "--model", self.model], "known are ruler-4k, "),
                (2, ["serach"], "no verb 'serach'; did you mean search?"),
                (2, ["plan", "exlpain"], "no verb 'exlpain'; did you mean explain"),
                (2, ["search", "--modle", "x"], "no option '--modle'; did you mean --model"),
                (2, ["models", "list", "--jsn"], "no option '--jsn'; did you mean --json"),
                (2, [], "smetune needs one of its verbs: calibrate, search, plan, "),
                (2, ["plan"], "smetune plan needs one of its verbs: "),
                (1, ["search", "--model", "gone.gguf"], "gone.gguf: cannot be opened: No such file"),
                (1, ["search", "--model", "./gone"], "./gone: cannot be opened: No such file")):
            if "--table" in args:
                self.assert_works(["search", "--platform", "apple-m4-pro", "--model", "llama-3.2-1b", "--dtype", "f16",
                                   "--quick", "--db", self.db], SMETUNE)
            self.assert_fails(args, part, code=code, program=SMETUNE)
        for args, part in ((["--thread", "2"], "no option '--thread'; did you mean --threads"),
                           (["-m", self.model, "--bench", "--kv-typ", "f16"], "no option '--kv-typ'; did you mean --kv-type")):
            self.assert_fails(args, part, code=2)

    def test_no_colour_where_no_terminal_is(self):
        for args in (["models", "list"], ["--help"], ["plan", "list"]):
            code, out, err = self.execute(SMETUNE, args)
            self.assertNotIn("\033", out + err)


if __name__ == "__main__":
    unittest.main()
