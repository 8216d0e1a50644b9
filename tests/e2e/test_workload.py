"""smetune workload: beside a script that prints what llama-bench does, interrupted, and with a baseline that fails."""

import json
import os
import signal
import sqlite3
import time
import unittest

from programs import SMETUNE, ProgramTest

BENCH = """#!/usr/bin/env python3
import json, sys
a = dict(zip(sys.argv[1::2], sys.argv[2::2]))
p, n, d = int(a["-p"]), int(a["-n"]), int(a.get("-d", 0))
ns = 2e9 if p else 3e9
print(json.dumps([{"build_commit": "feed", "build_number": 7, "cpu_info": "x", "gpu_info": "", "model_filename": a["-m"],
  "model_type": "llama", "n_threads": int(a["-t"]), "n_prompt": p, "n_gen": n, "n_batch": 512, "n_depth": d,
  "test_time": "2026-01-01T00:00:00Z", "avg_ns": ns, "stddev_ns": 0, "avg_ts": (p + n) * 1e9 / ns, "stddev_ts": 0,
  "samples_ns": [ns], "samples_ts": [(p + n) * 1e9 / ns]}]))
"""
# As ik_llama.cpp's: without -d, but with -gp; its batched bench knows no --output-format and prints to its log.
IK_BENCH = """#!/usr/bin/env python3
import json, sys
if "--help" in sys.argv:
  print("  -gp <pp,tg>                         (default: )")
  sys.exit(0)
a = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if "-d" in a:
  print("error: invalid parameter for argument: -d", file=sys.stderr)
  sys.exit(1)
p, n = map(int, a["-gp"].split(",")) if "-gp" in a else (int(a["-p"]), int(a["-n"]))
ns = 3e9 if "-gp" in a else 2e9
ts = (n if "-gp" in a else p + n) * 1e9 / ns
print(json.dumps([{"build_commit": "beef", "build_number": 7, "cpu_info": "x", "gpu_info": "", "model_filename": a["-m"],
  "model_type": "llama", "n_threads": int(a["-t"]), "n_prompt": p, "n_gen": n, "n_batch": 512,
  "test": "tg%d@pp%d" % (n, p) if "-gp" in a else "pp%d" % p, "test_time": "2026-01-01T00:00:00Z", "avg_ns": ns,
  "stddev_ns": 0, "avg_ts": ts, "stddev_ts": 0, "samples_ns": [ns], "samples_ts": [ts]}]))
"""
IK_BATCHED = """#!/bin/sh
cat >&2 <<END
|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |
|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|
|     9 |     10 |    3 |     57 |    4.000 |     6.75 |    6.500 |     4.62 |   10.500 |     5.43 |

llama_print_timings:       total time =   10500.00 ms /    57 tokens
END
"""
BATCHED = """#!/usr/bin/env python3
print("some log")
print('{"n_kv_max": 1, "pp": 9, "tg": 10, "pl": 3, "t_pp": 5.0, "t_tg": 7.0, "t": 12.0}')
"""


@unittest.skipIf(os.environ.get("SMEPILOT_EMULATOR"), "a program under an emulator starts no other one")
class Workload(ProgramTest):
    def program(self, name, text):
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o755)
        return path

    def rows(self, sql):
        with sqlite3.connect(self.db) as db:
            return db.execute(sql).fetchall()

    def args(self, *more):
        return ["workload", "gsm8k", "--model", self.model, "--plan", "none", "-t", "2", "--db", self.db, *more]

    def test_beside_a_baseline(self):
        bench = self.program("llama-bench", BENCH)
        out, _ = self.assert_works(self.args("--scale", "0.1", "--json", "--baseline-cmd", bench), program=SMETUNE)
        j = json.loads(out)
        self.assertEqual((j["workload"], j["scale"], j["full_size"], j["n_prompt"], j["n_gen"], j["interrupted"]),
                         ("gsm8k", 0.1, False, 9, 10, False))
        ours, theirs = j["engines"]
        self.assertEqual((ours["engine"], theirs["engine"]), ("smepilot", "llama-bench"))
        self.assertEqual(theirs["total"]["samples_s"], [5.0] * 6)  # the default suffices for a verdict
        self.assertAlmostEqual(theirs["decode"]["tokens_per_s"], 10 / 3)
        self.assertEqual(theirs["total_ratio"]["verdict"], "win")
        self.assertEqual(len(ours["prefill"]["samples_s"]), 6)
        self.assertEqual(self.rows("SELECT workload, scale, batch, engine, is_baseline, build, n_prompt, n_gen FROM "
                                   "workload_run ORDER BY id")[1],
                         ("gsm8k", 0.1, 1, "llama-bench", 1, "feed (7)", 9, 10))
        self.assertEqual(self.rows("SELECT count(*), min(round), max(round) FROM workload_round"), [(12, 1, 6)])

    def test_table_says_that_it_is_scaled_and_who_did_not_take_part(self):
        bench = self.program("llama-bench", BENCH)
        batched = self.program("llama-batched-bench", BATCHED)
        out, _ = self.assert_works(self.args("-r", "1", "--scale", "0.1", "--batch", "3", "--baseline-cmd", bench,
                                             "--baseline-cmd", batched), program=SMETUNE)
        self.assertIn("scale 0.1 (not the full workload)", out)
        self.assertIn("llama-bench #1 did not take part", out)
        self.assertIn("not judged", out)
        self.assertEqual(self.rows("SELECT engine, prefill_s, decode_s FROM workload_run JOIN workload_round ON run_id "
                                   "= id WHERE is_baseline"), [("llama-batched-bench #2", 5.0, 7.0)])

    def test_engines_of_other_forks_and_names_for_them(self):
        bench = self.program("llama-bench", IK_BENCH)
        out, _ = self.assert_works(self.args("--scale", "0.1", "-r", "2", "--baseline-cmd", "ik=" + bench), program=SMETUNE)
        self.assertIn("Time of ik / ours:", out)
        rows = ("SELECT engine, build, round, prefill_s, decode_s FROM workload_run JOIN workload_round ON run_id = id "
                "WHERE is_baseline AND batch = ")
        self.assertEqual(self.rows(rows + "1"), [("ik", "beef (7)", 1, 2.0, 3.0), ("ik", "beef (7)", 2, 2.0, 3.0)])
        batched = self.program("llama-batched-bench", IK_BATCHED)
        self.assert_works(self.args("--scale", "0.1", "-r", "1", "--batch", "3", "--baseline-cmd", "ik=" + batched),
                          program=SMETUNE)
        self.assertEqual(self.rows(rows + "3"), [("ik", "", 1, 4.0, 6.5)])
        # A path that holds an equals sign is a path.
        os.makedirs(self.path("a=b"))
        os.rename(bench, self.path("a=b/llama-bench"))
        out, _ = self.assert_works(self.args("--scale", "0.1", "-r", "1", "--baseline-cmd", self.path("a=b/llama-bench")),
                                   program=SMETUNE)
        self.assertIn("Time of llama-bench / ours:", out)

    def test_errors(self):
        more = ["--scale", "0.1", "-r", "1", "--baseline-cmd"]
        self.assert_fails(self.args(*more, self.path("none")), "--baseline-cmd", "none", "no such file", program=SMETUNE)
        self.assert_fails(self.args(*more, self.model), "not a program", program=SMETUNE)
        bad = self.program("bad", "#!/bin/sh\necho broken >&2\nexit 3\n")
        self.assert_fails(self.args(*more, bad), "exit code 3", "broken", "1 of 2 runs are stored", program=SMETUNE)
        self.assertEqual(self.rows("SELECT count(*) FROM workload_round"), [(1,)])
        self.assert_fails(self.args("--scale", "2"), "scale", code=2, program=SMETUNE)
        self.assert_fails(["workload", "other", "--model", self.model], "WORKLOAD", code=2, program=SMETUNE)
        self.assert_fails(["workload", "gsm8k", "--model", self.path("no.gguf")], "no.gguf", program=SMETUNE)

    def test_baselines_that_do_not_behave(self):
        more = ["--scale", "0.1", "-r", "1", "--baseline-cmd"]
        for name in ("llama-bench", "llama-batched-bench"):
            def fails(text, *parts, options=()):
                path = self.program(name, "#!/bin/sh\n" + text + "\n")
                self.assert_fails(self.args(*more, path, *options), path, "1 of 2 runs are stored", *parts,
                                  program=SMETUNE)

            with self.subTest(name):
                fails("echo no JSON at all",
                      "no JSON at all" if "batched" in name else "expected the output of llama-bench")
                fails("exit 0")
                fails("echo '[]'")
                fails("echo '{\"t_pp\": \"fast\"}'")
                fails("echo lost >&2; kill -SEGV $$", "ended by signal 11", "lost")
                fails("echo waiting >&2; sleep 60", "not done after 5 s (--timeout)", "waiting",
                      options=("--timeout", "5"))
        self.assertEqual(self.rows("SELECT count(*) FROM workload_round JOIN workload_run ON run_id = id WHERE "
                                   "is_baseline"), [(0,)])

    def test_an_engine_that_does_not_behave(self):
        for text, part in (("echo not a list", "prints no list of one result: not a list"), ("exit 9", "exit code 9"),
                           ("echo '[{\"samples_ns\": [1, 2]}]'", "samples_ns is [1,2], expected a list of one number")):
            self.env["SMEPILOT_RUN"] = self.program("engine", "#!/bin/sh\n" + text + "\n")
            self.assert_fails(self.args("-r", "1"), self.path("engine"), part, program=SMETUNE)
        self.env["SMEPILOT_RUN"] = self.path("gone")
        self.assert_fails(self.args("-r", "1"), "gone: no such file", program=SMETUNE)

    def test_an_interrupt_keeps_the_finished_rounds(self):
        slow = self.program("slow", "#!/bin/sh\ntouch '%s'\nexec sleep 60\n" % self.path("started"))
        p = self.start(SMETUNE, *self.args("--scale", "0.1", "--json", "--baseline-cmd", slow))
        for _ in range(600):
            if os.path.exists(self.path("started")):
                break
            time.sleep(0.05)
        p.send_signal(signal.SIGINT)
        out, err = (b.decode() for b in p.communicate(timeout=60))
        self.assertEqual(p.returncode, 130, err)
        self.assertTrue(json.loads(out)["interrupted"])
        self.assertEqual(self.rows("SELECT engine, round FROM workload_run JOIN workload_round ON run_id = id"),
                         [("smepilot", 1)])


if __name__ == "__main__":
    unittest.main()
