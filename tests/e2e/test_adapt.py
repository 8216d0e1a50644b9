"""smepilot-run --adapt: what is refused, what is said, the log, the statistics, the timeline, and what is learned."""

import json
import os
import re
import signal
import sqlite3
import time
import unittest

from programs import RUN, ProgramTest, write_model
from test_plans import PlanTest


class Usage(ProgramTest):
    def test_wrong_usage_is_two(self):
        m = ["-m", self.model, "-p", "x", "-n", "1"]
        self.assert_fails(m + ["--learn"], "--adapt", code=2)
        self.assert_fails(m + ["--adapt-log", self.path("l")], "--adapt", code=2)
        self.assert_fails(m + ["--adapt", "--learn", "--plan", "none"], "--learn", "plan", code=2)
        self.assert_fails(m + ["--adapt", "--learn", "--plan", self.path("p.json")], "--db", code=2)
        self.assert_fails(["-m", self.model, "--bench", "--record", "--adapt"], "--record", code=2)
        out, _ = self.assert_works(["--help"])
        for part in ("--adapt", "--adapt-log", "--learn"):
            self.assertIn(part, out)


class Adapt(ProgramTest):
    def text(self, *args, n="40"):
        return self.assert_works(["-m", self.model, "--plan", "none", "-p", "abc", "-n", n, "--ignore-eos", "--temp",
                                  "0", "-t", "2", *args])

    def test_says_what_there_is_to_move(self):
        _, err = self.text("--adapt", "--mode", "cpu")
        self.assertIn("nothing to move but the number of workers", err)
        _, err = self.assert_works(["-m", self.model, "--plan", "none", "-p", "abc", "-n", "2", "-t", "1", "--adapt"])
        self.assertIn("with one worker there is nothing to move", err)

    def test_text_stays_the_same_and_changes_are_logged(self):
        expected, _ = self.text("--mode", "cpu", n="100")
        log = self.path("log.jsonl")
        out, err = self.text("--mode", "cpu", "--adapt", "--adapt-log", log, n="100")
        self.assertEqual(out, expected)
        with open(log, encoding="utf-8") as f:
            records = [json.loads(line) for line in f]
        changes = [r for r in records if r["change"]]
        self.assertEqual([r["change"] for r in changes], list(range(1, len(changes) + 1)))
        self.assertEqual(len(re.findall(r"^smepilot-run: adapt: step \d+, ", err, re.M)) +
                         len(re.findall(r"^smepilot-run: adapt: step \d+: worker", err, re.M)), len(changes))
        self.assert_fails(["-m", self.model, "--plan", "none", "-p", "x", "-n", "1", "--adapt", "--adapt-log",
                           self.path("no/log")], "no/log")

    def test_statistics(self):
        out, _ = self.text("--adapt", "--stats", "--json")
        adaptation = json.loads(out[out.index("\n{"):])["adaptation"]
        self.assertEqual(adaptation["steps"], 41)  # the prompt, and each token
        by_role = {}
        for o in adaptation["operators"]:
            by_role[o["operator"]] = by_role.get(o["operator"], 0) + o["calls"]
        for role in ("attn_qkv", "attention", "ffn_down", "output"):
            self.assertEqual(by_role[role], 41, role)
        for trial in adaptation["trials"]:
            self.assertLessEqual({"step", "change"}, set(trial))
        _, err = self.text("--adapt", "--stats")
        self.assertRegex(err, r"adaptation: 41 steps, \d+ change")

    def test_both_units(self):
        if self.run_model("-m", self.model, "--testbed", "--plan", "none", "-p", "x", "-n", "1")[0] != 0:
            self.skipTest("this machine cannot be a test bed")
        expected, _ = self.text("--testbed", "--mode", "coop")
        out, err = self.text("--testbed", "--mode", "coop", "--adapt")
        self.assertEqual(out, expected)
        self.assertNotIn("nothing to move", err)

    def test_an_interrupt_keeps_what_there_is(self):
        log = self.path("log.jsonl")
        p = self.start(RUN, "-m", self.model, "--plan", "none", "-p", "abc", "-n", "0", "--ignore-eos", "-t", "2",
                       "--adapt", "--adapt-log", log, "--stats")
        for _ in range(1500):
            if os.path.exists(log):
                break
            time.sleep(0.02)
        p.send_signal(signal.SIGINT)
        out, err = (b.decode() for b in p.communicate(timeout=60))
        self.assertIn(p.returncode, (0, 130), err)  # it may have been faster
        self.assertTrue(out.startswith("abc"), out)
        self.assertRegex(err, r"adaptation: \d+ step")


class Learn(PlanTest):
    def test_without_a_change_nothing_is_stored(self):
        with sqlite3.connect(self.db) as db:
            before = db.execute("SELECT count(*) FROM plan").fetchone()
        args = ["-m", self.model, "--plan", "db", "--db", self.db, *self.text, "--adapt", "--learn"]
        _, err = self.assert_works(args)
        self.assertIn("the plan stays as it is", err)
        self.assert_fails(args + ["--mode", "cpu"], "--learn", "--mode cpu")
        other = self.path("other.gguf")
        write_model(other, context=256)
        self.assert_fails(["-m", other, "--plan", "auto", "--db", self.db, *self.text, "--adapt", "--learn"],
                          "--learn", "smetune search")
        with sqlite3.connect(self.db) as db:
            self.assertEqual(db.execute("SELECT count(*) FROM plan").fetchone(), before)


if __name__ == "__main__":
    unittest.main()
