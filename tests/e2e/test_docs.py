"""The commands in README.md, CONTRIBUTING.md and docs, indented or between backticks: each names verbs and options that
exist, and each is run on a model of a few kilobytes, with fewer rounds than a user takes."""

import glob
import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

from programs import EMULATOR, RUN, SMETUNE, ProgramTest, write_model
from test_path import report_python
from test_workload import BATCHED, BENCH

SOURCE = os.environ["SMEPILOT_SOURCE"]
sys.path.insert(0, os.path.join(SOURCE, "scripts"))
import cli_texts  # noqa: E402

# What the text names without meaning a whole command line.
MENTIONS = {"smetune plan explain", "smetune workload", "smepilot-run --adapt", "smepilot-run --testbed",
            "smepilot-run --dump-logits"}
# Patterns: what stands for several commands.
PATTERNS = {"smetune simulate matmul|attention|model --platform"}
PLACEHOLDERS = {"A": "493", "B": "219", "E": "1.75"}  # rates that the reader has measured


def commands(pattern=r"(?:\./)?(?:smetune|smepilot-run)"):
    """(file, words) of each command line of the programs in the documentation, or of those that the pattern names."""
    for path in [*(os.path.join(SOURCE, name) for name in ("README.md", "CONTRIBUTING.md")),
                 *sorted(glob.glob(os.path.join(SOURCE, "docs", "*.md")))]:
        if os.path.basename(path) == "cli.md":  # what the programs say themselves
            continue
        with open(path, encoding="utf-8") as f:
            text = re.sub(r"\s*\\\n\s*", " ", f.read())
        found = re.findall(r"^ {4,}(?:\$ )?(%s\b.*)$" % pattern, text, re.MULTILINE)
        # In a text, and in the cells of a table. One of them may go on in the next line.
        found += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", re.sub(r"(?m)^    .*$", "", text))]
        for line in found:
            line = re.split(r" {3,}| # ", line)[0]
            for part in re.split(r" && |; | \| ", line):
                if not re.match(pattern + "( |$)", part):
                    continue
                words = [w for w in shlex.split(part) if w not in ("…", "...")]
                words[0] = os.path.basename(words[0])
                if words in (["smetune"], ["smepilot-run"]):
                    continue
                yield os.path.basename(path), words


class Exist(unittest.TestCase):
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
        self.assertGreater(count, 40, "the documentation's commands were not found")


class Scripts(unittest.TestCase):
    def test_options_exist(self):
        count = 0
        for file, words in commands(r"(?:\./)?scripts/[a-z_0-9]+\.(?:py|sh)"):
            path = os.path.join(SOURCE, "scripts", words[0])
            self.assertTrue(os.access(path, os.X_OK), "%s: %s" % (file, words[0]))
            options = [w for w in words[1:] if re.match(r"^--?[a-z]", w)]
            if options:
                said = subprocess.run([path, "--help"], check=True, capture_output=True, text=True).stdout
                for option in options:
                    self.assertRegex(said, r"(?<![\w-])%s\b" % re.escape(option), "%s: %s" % (file, " ".join(words)))
            count += 1
        self.assertGreater(count, 10)


class Pictures(unittest.TestCase):
    def test_pictures_are_there_and_small(self):
        with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as f:
            pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", f.read())
        self.assertEqual(len(pictures), 1)
        for _, path in pictures:
            with open(os.path.join(SOURCE, path), "rb") as f:
                data = f.read()
            self.assertTrue(data.startswith(b"\x89PNG"))
            self.assertLess(len(data), 150_000)
            width, height = struct.unpack(">II", data[16:24])
            self.assertTrue(600 <= width <= 2000 and 400 <= height <= 2500, (width, height))

    def test_links_lead_somewhere(self):
        count = 0
        for path in [os.path.join(SOURCE, "README.md"), os.path.join(SOURCE, "CONTRIBUTING.md"),
                     *glob.glob(os.path.join(SOURCE, "docs", "*.md"))]:
            with open(path, encoding="utf-8") as f:
                for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", f.read()):
                    self.assertTrue(os.path.exists(os.path.join(os.path.dirname(path), link)), "%s: %s" % (path, link))
                    count += 1
        self.assertGreater(count, 10)


def cheaper(words, units):
    """The same command with less work, its verb if that matters, and the exit codes that are as good as 0."""
    words = [PLACEHOLDERS.get(w, w) for w in words]
    good = {0}
    for i, word in enumerate(words[:-1]):
        if word == "-n":
            words[i + 1] = str(min(int(words[i + 1]), 8))
    verb = next((w for w in words[1:] if w in ("calibrate", "search", "workload", "report")), "")
    if words[0] == "smepilot-run":
        if "coop" in words and not units:
            words.append("--testbed")
    elif verb == "calibrate":
        words.append("--quick")
        if "--verify" in words:
            good.add(1)  # whether it holds is the machine's affair
    elif verb == "search":
        words.append("--quick")
        if "--budget" in words:
            words[words.index("--budget") + 1] = "1"
        elif not {"--platform", "--replay"} & set(words):
            words += ["--budget", "1"]
    elif verb == "workload":
        words += ["--scale", "0.02", "-r", "1"]
    return words, verb, good


@unittest.skipIf(EMULATOR, "NOT TESTED: what is measured under an emulator means nothing")
class Run(ProgramTest):
    @classmethod
    def setUpClass(cls):
        """A folder as the reader of the documentation has it: a model, a tuned database, and other machines' files."""
        cls.reader = tempfile.mkdtemp(prefix="smepilot-docs-")
        cls.addClassCleanup(shutil.rmtree, cls.reader, True)
        here = lambda name: os.path.join(cls.reader, name)
        write_model(here("model.gguf"), context=1024,
                    chat_template="{% for message in messages %}{{ message['content'] }}{% endfor %}")
        with open(here("text.txt"), "w") as f:
            f.write("Once upon a time there was a text of some length. " * 40)
        for folder in ("PATH", "PATH2"):
            os.makedirs(here(folder))
            for name, script in (("llama-bench", BENCH), ("llama-batched-bench", BATCHED)):
                with open(here(f"{folder}/{name}"), "w") as f:
                    f.write(script)
                os.chmod(here(f"{folder}/{name}"), 0o755)
        rows = json.loads(subprocess.run([here("PATH/llama-bench"), "-m", "model.gguf", "-p", "512", "-n", "0", "-t",
                                          "2"], check=True, capture_output=True).stdout)
        for name in ("base.json", "b.json"):
            with open(here(name), "w") as f:
                json.dump(rows, f)
        env = dict(os.environ, XDG_DATA_HOME=cls.reader, XDG_CACHE_HOME=cls.reader)
        env.pop("SMEPILOT_DATA_DIR", None)
        database = here("smepilot/smepilot.db")
        def smetune(*command):
            done = subprocess.run([*SMETUNE, *command], cwd=cls.reader, env=env, capture_output=True, text=True)
            if done.returncode != 0:
                raise AssertionError("%s: %d\n%s%s" % (command, done.returncode, done.stdout, done.stderr))
            return done.stdout

        variants = json.loads(smetune("variants", "list", "--json"))
        cls.units = any(v["unit"] == "matrix" and v["usable"] for v in variants)
        cls.testbed = any("avx512vnni" in v["isa"] and v["usable"] for v in variants)
        smetune("calibrate", "--quick")
        if cls.testbed:
            smetune("calibrate", "--testbed", "--quick")
        for _ in range(2):  # plans 1 and 2, the second of the first one's samples
            smetune("search", "--model", "model.gguf", "--quick", "--budget", "20")
        smetune("plan", "export", "-o", "plan.json")
        with open(here("stats.json"), "wb") as f:
            subprocess.run([*RUN, "-m", "model.gguf", "-p", "Once upon a time", "-n", "4", "--trace", "trace.json",
                            "--stats", "--json"], cwd=cls.reader, env=env, stdout=f, stderr=subprocess.DEVNULL,
                           check=True)
        for name in ("a.db", "b.db", "old.db", "new.db", "other.db", "plans.db", "smepilot.db", "mine.db"):
            shutil.copy(database, here(name))

    def test_they_run(self):
        self.env.pop("SMEPILOT_DATA_DIR", None)
        python = report_python()
        if python is not None:
            self.env["SMEPILOT_PYTHON"] = python
        left_out, mentioned, done = [], set(), set()
        for file, words in commands():
            text = " ".join(words)
            if text in MENTIONS | PATTERNS:
                mentioned.add(text)
                continue
            words, verb, good = cheaper(words, self.units)
            if tuple(words) in done:
                continue
            done.add(tuple(words))
            if "--testbed" in words and not self.testbed:
                left_out.append(text + ": this machine cannot play two units")
                continue
            if verb == "report" and python is None:
                left_out.append(text + ": no Python has matplotlib and jinja2")
                continue
            with self.subTest(file=file, command=text):
                # Each in a folder of its own: what one leaves is not what another needs.
                folder = tempfile.mkdtemp(dir=self.folder)
                shutil.copytree(self.reader, folder, dirs_exist_ok=True)
                env = dict(self.env, XDG_DATA_HOME=folder, XDG_CACHE_HOME=folder)
                program = SMETUNE if words[0] == "smetune" else RUN
                arguments, target = words[1:], None
                if arguments[-2:-1] == [">"]:
                    *arguments, _, target = arguments
                p = subprocess.run([*program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, env=env,
                                   cwd=folder, timeout=200)
                err = p.stderr.decode("utf-8", "replace")
                self.assertIn(p.returncode, good, "%s: %s\n%s" % (file, shlex.join(words), err))
                if target is not None:
                    self.assertTrue(p.stdout)
                shutil.rmtree(folder)
        for file, words in commands(r"scripts/compare_engines\.py"):
            if len(words) == 1:
                continue
            if "--by-placement" in words:
                pool = os.path.join(os.path.dirname(RUN[-1]), "..", "tests", "bench", "bench_pool")
                if not os.path.exists(pool) or len(os.sched_getaffinity(0)) < 2:
                    left_out.append(" ".join(words) + ": no bench_pool (Google Benchmark), or one core")
                    continue
                words = [*words, "--bench-pool", pool]
            folder = tempfile.mkdtemp(dir=self.folder)
            shutil.copytree(self.reader, folder, dirs_exist_ok=True)
            with self.subTest(file=file, command=" ".join(words)):
                env = dict(self.env, XDG_DATA_HOME=folder, XDG_CACHE_HOME=folder)
                p = subprocess.run([sys.executable, "-B", os.path.join(SOURCE, "scripts", words[0]), *words[1:], "-r",
                                    "2", "-p", "8", "-n", "4", "--smepilot-run", RUN[-1]], capture_output=True,
                                   text=True, cwd=folder, timeout=100, env=env)
                self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        self.assertEqual(mentioned, MENTIONS | PATTERNS, "they stand nowhere any more")
        self.assertGreater(len(done), 40)
        if left_out:
            self.skipTest("NOT TESTED: " + "; ".join(left_out))


if __name__ == "__main__":
    unittest.main()
