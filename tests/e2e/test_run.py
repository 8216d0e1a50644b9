"""smepilot-run: usage, text, benchmark formats, statistics, and what an interrupt does."""

import csv
import io
import json
import os
import random
import re
import signal
import sqlite3
import struct
import subprocess
import time
import unittest

from programs import RUN, SHARED_MODELS, SMETUNE, ProgramTest, write_model


class Usage(ProgramTest):
    def test_help_and_version(self):
        for program in (RUN, SMETUNE):
            out, err = self.assert_works(["--help"], program)
            self.assertIn("--version", out)
            self.assertIn("130", out)
            self.assertEqual(err, "")
            out, err = self.assert_works(["--version"], program)
            for part in ("built by", "can run", "kernel variants"):
                self.assertIn(part, out)

    def test_wrong_usage_is_two(self):
        m = ["-m", self.model]
        for args in ([], m, ["-p", "x"], m + ["-p", "x", "--frobnicate"], m + ["--bench", "-o", "xml"],
                     m + ["-p", "x", "-t", "0"], m + ["-p", "x", "-n", "many"], m + ["--bench", "-i"],
                     m + ["--bench", "--dump-logits", self.path("l.bin")], m + ["-p", "x", "-f", "y"],
                     m + ["-p", "x", "--record"], m + ["--bench", "-p", "12,x"], m + ["--bench", "-n", "-4"],
                     m + ["-p", "x", "-b", "0"], m + ["-p", "x", "-b", "two"], m + ["-p", "x", "-u", "0"],
                     m + ["--bench", "-b", "0"], m + ["--bench", "-b", "1,x"], m + ["-p", "x", "--kv-type", "q4_0"],
                     m + ["-p", "x", "-p", "y", "-b", "2"], m + ["-i", "-b", "2"], m + ["-i", "-p", "x", "-p", "y"],
                     m + ["--perplexity", "f", "--bench"], m + ["-p", "x", "--mode", "gpu"]):
            self.assert_fails(args, code=2)
        self.assert_fails(m + ["-p", "x", "--frobnicate"], "--frobnicate", code=2)
        self.assert_fails(m, "nothing to do", code=2)

    def test_bad_values_are_named(self):
        m = ["-m", self.model, "--plan", "none"]
        self.assert_fails(m + ["-p", "x", "--top-p", "3"], "top-p")
        self.assert_fails(m + ["-p", "x", "-c", "100000"], "model.gguf", "100000", "128")
        self.assert_fails(m + ["-f", self.path("none.txt")], "none.txt")
        self.assert_fails(m + ["-p", "x" * 500], "context", "128")
        self.assert_fails(m + ["--bench", "-p", "500"], "context", "500")
        self.assert_fails(m + ["-p", "x", "--kv-type", "q8_0"], "q8_0", "32")
        self.assert_fails(m + ["-p", "x", "-b", "5000"], "5000 sequences")
        self.assert_fails(m + ["--perplexity", self.path("none.txt")], "none.txt")
        self.assert_fails(["-m", self.path("none.gguf"), "-p", "x"], "none.gguf")
        self.env["SMEPILOT_FORCE_ISA"] = "mmx"
        self.assert_fails(m + ["-p", "x"], "mmx")


class Modes(ProgramTest):
    def run_stats(self, *args):
        out, err = self.assert_works(["-m", self.model, "--plan", "none", "-p", "Hello", "-n", "4", "--ignore-eos",
                                      "--temp", "0", "-t", "2", "--stats", "--json", *args])
        text, stats = out[:out.index("\n{")], json.loads(out[out.index("\n{"):])
        return text, stats, err

    def test_modes_of_this_machine(self):
        text, stats, err = self.run_stats("--mode", "cpu")
        self.assertEqual({o["mode"] for o in stats["operators"]}, {"cpu"})
        self.assertFalse(stats["test_bed"])
        self.assertIn("mode cpu", err)
        for phase in ("prefill", "decode"):
            conversions = stats[phase]["conversions"]
            self.assertEqual([conversions[k] for k in ("count", "priced", "weights")], [0, 0, 0])

    def test_bed(self):
        code, _, err = self.run_model("-m", self.model, "--testbed", "--plan", "none", "-p", "x", "-n", "1")
        if code != 0:
            self.assertIn("avx512vnni", err)
            self.skipTest("this machine cannot be a test bed")
        texts = set()
        for mode, name in (("cpu", "cpu"), ("matrix", "testbed"), ("coop", "coop")):
            text, stats, err = self.run_stats("--testbed", "--mode", mode)
            texts.add(text)
            self.assertTrue(stats["test_bed"])
            self.assertIn("test bed", err)
            down = [o for o in stats["operators"] if o["operator"] == "ffn_down"]
            self.assertEqual({o["mode"] for o in down}, {name})
            for o in down:
                self.assertEqual(o["matrix_variant"] is not None, mode == "coop")
        self.assertEqual(len(texts), 1, texts)
        out, _ = self.assert_works(["-m", self.model, "--testbed", "--plan", "none", "--mode", "coop", "--bench", "-p",
                                    "8", "-n", "0", "-r", "1", "-o", "json"])
        row = json.loads(out)[0]
        self.assertEqual((row["mode"], row["matrix_unit"]), ("coop", "testbed"))
        self.assertIn("test bed", row["backends"])

    def timeline(self, *args):
        """Events by thread name, of a run on two workers."""
        path = self.path("trace.json")
        self.assert_works(["-m", self.model, "--plan", "none", "-p", "x" * 40, "-n", "2", "--ignore-eos", "-t", "2",
                           "--trace", path, *args])
        with open(path, encoding="utf-8") as f:
            trace = json.load(f)
        self.assertEqual(trace["otherData"]["dropped_events"], 0)
        events = trace["traceEvents"]
        names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
        by_thread = {name: [] for name in names.values()}
        for e in events:
            if e["ph"] == "X":
                self.assertGreaterEqual(e["dur"], 0)
                by_thread[names[e["tid"]]].append(e)
        return by_thread

    def test_timeline(self):
        threads = self.timeline("--mode", "cpu")
        self.assertEqual(list(threads), ["worker 0 (cpu)", "worker 1 (cpu)"])
        operators = {e["args"]["operator"] for events in threads.values() for e in events}
        for role in ("norm", "attn_qkv", "rope_kv", "attention", "attn_output", "ffn_gate_up", "swiglu", "ffn_down"):
            self.assertIn(role, operators)
        self.assert_fails(["-m", self.model, "--plan", "none", "-p", "x", "-n", "1", "--trace", self.path("no/t.json")],
                          "no/t.json")

    def test_timeline_of_both_units(self):
        if self.run_model("-m", self.model, "--testbed", "--plan", "none", "-p", "x", "-n", "1")[0] != 0:
            self.skipTest("this machine cannot be a test bed")
        threads = self.timeline("--testbed", "--mode", "coop")
        self.assertEqual(list(threads), ["worker 0 (matrix)", "worker 1 (cpu)"])
        stages = {name: {e["name"] for e in events if e["args"]["operator"] == "attention"}
                  for name, events in threads.items()}
        self.assertIn("scores", stages["worker 0 (matrix)"])
        self.assertIn("softmax", stages["worker 1 (cpu)"])
        self.assertNotIn("softmax", stages["worker 0 (matrix)"])
        self.assertNotIn("scores", stages["worker 1 (cpu)"])


class Text(ProgramTest):
    def test_seed_repeats_the_text(self):
        args = ["-m", self.model, "--plan", "none", "-p", "Hello", "-n", "20", "--ignore-eos", "--temp", "2"]
        one, _ = self.assert_works(args + ["--seed", "5"])
        self.assertTrue(one.startswith("Hello"), one)
        self.assertTrue(one.endswith("\n"), one)
        self.assertEqual(one, self.assert_works(args + ["--seed", "5"])[0])
        self.assertEqual(one, self.assert_works(args + ["--seed", "5", "-t", "1"])[0])
        self.assertNotEqual(one, self.assert_works(args + ["--seed", "6"])[0])

    def test_prompt_from_file_and_standard_input(self):
        args = ["-m", self.model, "--plan", "none", "-n", "8", "--temp", "0"]
        expected, _ = self.assert_works(args + ["-p", "The cat"])
        with open(self.path("prompt.txt"), "w") as f:
            f.write("The cat")
        self.assertEqual(self.assert_works(args + ["-f", self.path("prompt.txt")])[0], expected)
        self.assertEqual(self.assert_works(args + ["-f", "-"], stdin=b"The cat")[0], expected)

    def test_full_context_is_said(self):
        out, err = self.assert_works(["-m", self.model, "--plan", "none", "-p", "abc", "-c", "16", "--ignore-eos"])
        self.assertIn("context of 16 tokens is full", err)

    def test_without_a_database_it_says_untuned(self):
        _, err = self.assert_works(["-m", self.model, "-p", "abc", "-n", "2", "--db", self.db])
        self.assertIn("running untuned", err)
        self.assertIn("plans.db", err)
        self.assertFalse(os.path.exists(self.db), "reading makes no database")

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_full_device_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            p = subprocess.run([*RUN, "-m", self.model, "--plan", "none", "-p", "abc", "-n", "4"], stdout=full,
                               stderr=subprocess.PIPE, env=self.env, timeout=120)
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"standard output", p.stderr)

    @unittest.skipUnless(os.path.exists(os.path.join(SHARED_MODELS, "stories260K-f32.gguf")),
                         "NOT TESTED: the shared model stories260K-f32.gguf is absent")
    def test_stories_word_for_word(self):
        with open(os.path.join(SHARED_MODELS, "stories260K-f32-p1.greedy.txt")) as f:
            expected = "Once upon a time" + f.read().split("\n", 1)[1]
        for extra in ([], ["-t", "2", "-u", "3"]):
            out, _ = self.assert_works(["-m", os.path.join(SHARED_MODELS, "stories260K-f32.gguf"), "--plan", "none",
                                        "-p", "Once upon a time", "-n", "200", "--temp", "0", *extra])
            self.assertEqual(out, expected)


class Batch(ProgramTest):
    def texts(self, *args):
        """(seed, text) of each, under its heading."""
        out, _ = self.assert_works(["-m", self.model, "--plan", "none", "-n", "12", "--ignore-eos", *args])
        parts = re.split(r"^=== (\d+) of (\d+): seed (\d+), 12 tokens, length reached$", out, flags=re.M)
        self.assertEqual(parts[0], "")
        count = len(parts) // 4
        self.assertEqual([parts[1 + 4 * i] for i in range(count)], [str(i + 1) for i in range(count)])
        self.assertEqual({parts[2 + 4 * i] for i in range(count)}, {str(count)})
        return [(int(parts[3 + 4 * i]), parts[4 + 4 * i]) for i in range(count)]

    def test_many_of_one_prompt(self):
        texts = self.texts("-p", "Hello", "-b", "5", "--seed", "7", "--temp", "2")
        self.assertEqual([seed for seed, _ in texts], [7, 8, 9, 10, 11])
        self.assertEqual(len({text for _, text in texts}), 5)
        for seed, text in texts:
            self.assertTrue(text.startswith("\nHello"), text)
            one, _ = self.assert_works(["-m", self.model, "--plan", "none", "-p", "Hello", "-n", "12", "--ignore-eos",
                                        "--temp", "2", "--seed", str(seed)])
            self.assertEqual(text, "\n" + one)

    def test_one_of_each_prompt(self):
        texts = self.texts("-p", "The cat", "-p", "The dog", "-p", "A", "--temp", "0")
        for (_, text), prompt in zip(texts, ("The cat", "The dog", "A")):
            one, _ = self.assert_works(["-m", self.model, "--plan", "none", "-p", prompt, "-n", "12", "--ignore-eos",
                                        "--temp", "0"])
            self.assertEqual(text, "\n" + one)

    def test_the_prefix_is_read_once(self):
        out, _ = self.assert_works(["-m", self.model, "--plan", "none", "-p", "x" * 60, "-n", "3", "-b", "4", "--stats",
                                    "--json", "--ignore-eos"])
        stats = json.loads("{" + out.rpartition("\n{\n")[2])
        self.assertEqual((stats["prefill"]["passes"], stats["prefill"]["tokens"]), (1, 61))
        self.assertEqual((stats["decode"]["passes"], stats["decode"]["tokens"]), (2, 8))


class Perplexity(ProgramTest):
    def test_text_and_json(self):
        text = "".join(random.Random(3).choice("abcdefgh ") for _ in range(300))
        with open(self.path("text.txt"), "w") as f:
            f.write(text + "\n")
        args = ["-m", self.model, "--plan", "none", "--perplexity", self.path("text.txt"), "-c", "64"]
        out, _ = self.assert_works(args)
        found = re.match(r"perplexity ([\d.]+) ± ([\d.]+) \(4 chunks of 64 tokens, 124 scored;", out)
        self.assertTrue(found, out)
        row = json.loads(self.assert_works(args + ["--json"])[0])
        self.assertAlmostEqual(row["perplexity"], float(found[1]), places=3)
        self.assertAlmostEqual(row["error"], float(found[2]), places=3)
        self.assertEqual((row["chunks"], row["n_ctx"], row["scored"], row["type_k"]), (4, 64, 124, "f16"))
        self.assertTrue(1 < row["perplexity"] < 10000, row)
        piped, _ = self.assert_works(["-m", self.model, "--plan", "none", "--perplexity", "-", "-c", "64"],
                                     stdin=text.encode())
        self.assertEqual(piped.split()[1], found[1])
        self.assert_fails(["-m", self.model, "--plan", "none", "--perplexity", "/dev/null", "-c", "128"], "chunk of 128")


class Interrupt(ProgramTest):
    def test_text_so_far_is_kept(self):
        long_model = self.path("long.gguf")
        write_model(long_model, context=60000)
        for number in (signal.SIGINT, signal.SIGTERM):
            p = self.start(RUN, "-m", long_model, "--plan", "none", "-p", "Once", "-c", "60000", "--ignore-eos",
                           "--seed", "1")
            with p.stdout, p.stderr:
                seen = os.read(p.stdout.fileno(), 64)
                while len(seen) < 100:  # well into the answer
                    more = os.read(p.stdout.fileno(), 4096)
                    if not more:
                        self.fail("ended before it could be interrupted: %r" % p.stderr.read())
                    seen += more
                p.send_signal(number)
                rest = p.stdout.read()
                self.assertEqual(p.wait(60), 130, p.stderr.read())
            text = seen + rest
            self.assertTrue(text.startswith(b"Once"), text[:20])
            self.assertTrue(text.endswith(b"\n"), text[-20:])
            text.decode("utf-8")  # no character is cut in two

    def test_bench_prints_what_it_has(self):
        long_model = self.path("long.gguf")
        write_model(long_model, context=4096)
        p = self.start(RUN, "-m", long_model, "--plan", "none", "--bench", "-p", "2000", "-n", "1000", "-r", "1000",
                       "-o", "json", "-t", "1")
        time.sleep(1.5)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 130, err)
        self.assertIn(b"interrupted", err)
        json.loads(out)


class Bench(ProgramTest):
    def bench(self, form, *extra):
        return self.assert_works(["-m", self.model, "--plan", "none", "--bench", "-p", "8,16", "-n", "4", "-r", "2",
                                  "-t", "1", "-o", form, *extra])[0]

    def check_rows(self, rows):
        self.assertEqual([(int(r["n_prompt"]), int(r["n_gen"])) for r in rows], [(8, 0), (16, 0), (0, 4)])
        for r in rows:
            self.assertTrue(r["model_filename"].endswith("model.gguf"))
            self.assertEqual(int(r["n_threads"]), 1)
            self.assertGreater(float(r["avg_ts"]), 0)
            self.assertEqual(r["plan"], "untuned")

    def test_json(self):
        rows = json.loads(self.bench("json"))
        self.check_rows(rows)
        for r in rows:
            self.assertEqual(len(r["samples_ns"]), 2)
            self.assertEqual(len(r["samples_ts"]), 2)
            mean = sum(r["samples_ts"]) / 2
            self.assertAlmostEqual(r["avg_ts"] / mean, 1, places=4)

    def test_jsonl(self):
        self.check_rows([json.loads(line) for line in self.bench("jsonl").splitlines()])

    def test_csv(self):
        self.check_rows(list(csv.DictReader(io.StringIO(self.bench("csv")))))

    def test_md(self):
        lines = self.bench("md").splitlines()
        self.assertEqual(len(lines), 5)
        widths = {len(line.split("|")) for line in lines}
        self.assertEqual(widths, {10}, lines)
        for line, test in zip(lines[2:], ("pp8", "pp16", "tg4")):
            self.assertIn(" %s |" % test, line)

    def test_sequences_together(self):
        rows = json.loads(self.bench("json", "-b", "1,3", "-d", "20"))
        self.assertEqual([(r["n_prompt"], r["n_gen"], r["n_depth"], r["n_seqs"]) for r in rows],
                         [(8, 0, 20, 1), (16, 0, 20, 1), (0, 4, 20, 1), (0, 4, 20, 3)])
        for ns, ts in zip(rows[3]["samples_ns"], rows[3]["samples_ts"]):
            self.assertAlmostEqual(ts / (3 * 4e9 / ns), 1, places=4)
        self.assertIn("| tg4 b3 @ d20 |", self.bench("md", "-b", "3", "-d", "20").replace("  ", ""))
        with open(self.path("bench.json"), "w") as f:
            json.dump(rows, f)
        code, _, err = self.smetune("baseline", "import", self.path("bench.json"))
        self.assertEqual(code, 1)
        self.assertIn("n_seqs is 3", err)

    def test_recorded_for_the_report(self):
        self.bench("md", "--record", "--db", self.db)
        with sqlite3.connect(self.db) as db:
            rows = db.execute("SELECT n_prompt, n_gen, n_threads, plan_mode, avg_ts, samples_json FROM bench "
                              "ORDER BY id").fetchall()
        self.assertEqual([r[:4] for r in rows], [(8, 0, 1, "none"), (16, 0, 1, "none"), (0, 4, 1, "none")])
        for r in rows:
            self.assertEqual(len(json.loads(r[5])), 2)
        self.bench("md", "--record", "--db", self.db, "--mode", "cpu")
        with sqlite3.connect(self.db) as db:
            rows = db.execute("SELECT planner, mode, load_json, conversions_json, n_prompt FROM bench "
                              "ORDER BY id").fetchall()
        self.assertEqual([r[:2] for r in rows], 3 * [("untuned", "auto")] + 3 * [("untuned", "cpu")])
        for r in rows:
            check_load(self, json.loads(r[2]))
            passes = json.loads(r[3])
            have, other = ("prefill", "decode") if r[4] else ("decode", "prefill")
            self.assertIsNone(passes[other])
            self.assertEqual((passes[have]["passes"], passes[have]["tokens"]), (1, r[4] or 1))
            self.assertGreater(passes[have]["ns"], 0)
            self.assertEqual(set(passes[have]["conversions"]), {"count", "ns", "priced", "priced_ns", "avoided",
                                                               "avoided_ns", "weights"})
        # It is llama-bench's format: it can be imported as such.
        with open(self.path("bench.json"), "w") as f:
            f.write(self.bench("json"))
        code, out, err = self.smetune("baseline", "import", self.path("bench.json"))
        self.assertEqual(code, 0, err)
        self.assertIn("3 of 3 rows are new", out)


def check_load(test, load):
    test.assertEqual(set(load), {"seconds", "weights_seconds", "weights_from", "cache_file", "peak_rss_bytes",
                                 "weights_bytes", "kv_cache_bytes", "scratch_bytes"})
    test.assertGreater(load["seconds"], load["weights_seconds"])
    test.assertIn(load["weights_from"], ("memory", "packed", "cache"))
    test.assertEqual(load["cache_file"] is None, load["weights_from"] == "memory")
    test.assertGreater(load["peak_rss_bytes"], load["weights_bytes"])
    for part in ("weights_bytes", "kv_cache_bytes", "scratch_bytes"):
        test.assertGreater(load[part], 0)


class Stats(ProgramTest):
    def test_json_parses(self):
        out, _ = self.assert_works(["-m", self.model, "--plan", "none", "-p", "Hello", "-n", "8", "--temp", "0",
                                    "--ignore-eos", "--stats", "--json", "-t", "1"])
        text, _, stats = out.rpartition("\n{\n")
        self.assertTrue(text.startswith("Hello"), out)
        stats = json.loads("{" + stats)
        rows = stats["operators"]
        self.assertEqual((stats["prefill"]["passes"], stats["prefill"]["tokens"]), (1, 6))
        self.assertEqual((stats["decode"]["passes"], stats["decode"]["tokens"]), (8, 8))
        check_load(self, stats["load"])
        for phase, passes in (("prefill", 1), ("decode", 8)):
            conversions = stats[phase]["conversions"]
            self.assertEqual(conversions["avoided"] % passes, 0)
            self.assertIsNone(conversions["avoided_ns"])  # no calibration is stored
        self.assertIsNone(stats["decode"]["read_gbps"])
        self.assertGreater(stats["decode"]["gbps"], 0)
        down = {r["phase"] == "decode": r for r in rows if r["operator"] == "ffn_down"}
        self.assertEqual(down[True]["calls"], 8)  # one layer, eight tokens
        self.assertEqual(down[False]["calls"], 1)
        self.assertEqual(down[False]["m_max"], 1 + len("Hello"))  # with the begin token
        for r in rows:
            self.assertGreater(r["ns"], 0)
            self.assertIsNone(r["roofline_ns"])  # no calibration is stored

    def test_table_goes_to_standard_error(self):
        out, err = self.assert_works(["-m", self.model, "--plan", "none", "-p", "Hello", "-n", "4", "--stats"])
        for part in ("operator", "attention", "ffn_gate_up", "total", "smetune calibrate", "decode: ", "avoided by sharing",
                     "memory: at most "):
            self.assertIn(part, err)
        self.assertNotIn("ffn_gate_up", out)


class DumpLogits(ProgramTest):
    def test_file_and_tokens(self):
        file = self.path("logits.bin")
        out, _ = self.assert_works(["-m", self.model, "--plan", "none", "-p", "ab", "-n", "3", "--dump-logits", file])
        ids = [int(i) for i in out.split("\n")[0].split()]
        self.assertEqual(ids[:3], [1, 3 + ord("a"), 3 + ord("b")])
        self.assertEqual(len(ids), 6)
        with open(file, "rb") as f:
            data = f.read()
        vocab, rows = struct.unpack_from("<ii", data)
        self.assertEqual((vocab, rows), (259, 5))
        self.assertEqual(len(data), 8 + rows * (4 + 4 * vocab))
        at = 8
        for row in range(rows):
            token, *logits = struct.unpack_from("<i%df" % vocab, data, at)
            at += 4 + 4 * vocab
            self.assertEqual(token, ids[row])
            if row >= 2:
                self.assertEqual(logits.index(max(logits)), ids[row + 1])

    def test_unwritable(self):
        file = self.path("no/folder/l.bin")
        self.assert_fails(["-m", self.model, "--plan", "none", "-p", "ab", "--dump-logits", file], file)
        if os.path.exists("/dev/full"):
            self.assert_fails(["-m", self.model, "--plan", "none", "-p", "ab", "--dump-logits", "/proc/l.bin"],
                              "/proc/l.bin")


if __name__ == "__main__":
    unittest.main()
