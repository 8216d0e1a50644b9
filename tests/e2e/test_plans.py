"""smepilot-run and plans: the database's, a file's, those of another machine, model or build, and the fallback."""

import json
import shlex
import sqlite3
import unittest

from programs import RUN, SMETUNE, ProgramTest, write_model


class PlanTest(ProgramTest):
    """A plan made by the roofline planner, which measures nothing, from a calibration with plain numbers."""

    def setUp(self):
        super().setUp()
        # A recorded benchmark leaves the platform and a session; a calibration of it is added.
        self.assert_works(["-m", self.model, "--plan", "none", "--bench", "-p", "4", "-n", "0", "-r", "1", "--record",
                           "--db", self.db])
        with sqlite3.connect(self.db) as db:
            (cpu_count,) = db.execute("SELECT json_extract(facts_json, '$.cpus') FROM platform").fetchone() or (1,)
            db.execute("INSERT INTO calibration (session_id, created, quick, seconds, noise_floor, exp_geps, "
                       "pack_gbps, busy_fraction) VALUES (1, '2026-01-31T12:34:56Z', 0, 1, 0.02, 1, 1, 0)")
            isas = ("portable", "avx2", "avx512", "avx512vnni", "avx512bf16", "neon", "dotprod", "i8mm", "fp16")
            for workers in range(1, int(cpu_count or 1) + 1):
                for dtype in ("f32", "int8"):
                    db.executemany("INSERT INTO peak (calibration_id, unit, dtype, isa, workers, gflops, samples_json)"
                                   " VALUES (1, 'cpu', ?, ?, ?, ?, '[50]')",
                                   [(dtype, isa, workers, 50.0 * workers) for isa in isas])
                db.execute("INSERT INTO bandwidth (calibration_id, level, op, workers, working_set_bytes, gbps, "
                           "samples_json) VALUES (1, 'DRAM', 'read', ?, 268435456, 10, '[10]')", (workers,))
                db.execute("INSERT INTO fork_join (calibration_id, workers, ns, samples_json) VALUES (1, ?, 500, "
                           "'[500]')", (workers,))
        code, out, err = self.smetune("search", "--model", self.model, "--planner", "roofline")
        self.assertEqual(code, 0, err)
        self.plan = self.path("plan.json")
        code, _, err = self.smetune("plan", "export", "-o", self.plan)
        self.assertEqual(code, 0, err)
        self.text = ["-p", "ab", "-n", "2", "--temp", "0"]

    def edited(self, edit):
        with open(self.plan) as f:
            plan = json.load(f)
        edit(plan)
        path = self.path("edited.json")
        with open(path, "w") as f:
            json.dump(plan, f)
        return path

    def field(self, plan, name):
        """(container, key) of a platform field in the plan's JSON, which lists or maps them."""
        platform = plan["platform"]
        if isinstance(platform, dict):
            return platform, name
        for item in platform:
            if item[0] == name:
                return item, 1
        raise KeyError(name)

    def refused(self, edit, *parts):
        path = self.edited(edit)
        self.assert_fails(["-m", self.model, "--plan", path, "--db", self.db, *self.text], "edited.json", *parts)
        # With --plan-fallback it runs, on the roofline heuristic, and says why.
        out, err = self.assert_works(["-m", self.model, "--plan", path, "--db", self.db, "--plan-fallback",
                                      *self.text])
        self.assertTrue(out.startswith("ab"), out)
        for part in ("falling back to the roofline heuristic", "edited.json", *parts):
            self.assertIn(part, err)


class Plans(PlanTest):
    def test_plan_is_used(self):
        for plan in ("db", "auto", self.plan):
            out, err = self.assert_works(["-m", self.model, "--plan", plan, "--db", self.db, *self.text])
            self.assertEqual(err, "", plan)
            self.assertTrue(out.startswith("ab"))
        out, _ = self.assert_works(["-m", self.model, "--plan", "db", "--db", self.db, "--bench", "-p", "4", "-n", "2",
                                    "-r", "1", "-o", "json", "--record"])
        for row in json.loads(out):
            self.assertEqual(row["plan"], "plan")
            self.assertGreater(row["plan_id"], 0)
        with sqlite3.connect(self.db) as db:
            modes = db.execute("SELECT plan_mode, plan_id IS NOT NULL FROM bench ORDER BY id").fetchall()
        self.assertEqual(modes, [("none", 0), ("db", 1), ("db", 1)])

    def test_the_heuristic_is_a_baseline(self):
        self.assert_works(["-m", self.model, "--plan", "roofline", "--db", self.db, "--bench", "-p", "4", "-n", "0",
                           "-r", "1", "--record"])
        with sqlite3.connect(self.db) as db:
            labels = db.execute("SELECT plan_mode, plan_id, planner, mode FROM bench ORDER BY id DESC").fetchone()
        self.assertEqual(labels, ("none", None, "roofline", "auto"))
        self.assert_fails(["-m", self.model, "--plan", "roofline", "--db", self.path("no.db"), *self.text], "no.db",
                          "calibration", "smetune calibrate")

    def actions(self):
        code, out, err = self.smetune("report", "--format", "json")
        self.assertEqual(code, 0, err)
        return json.loads(out)["actions"]

    def test_what_the_report_recommends_can_be_run(self):
        self.assertIn("Measure what the plan brings", [a["what"] for a in self.actions()])
        done = set()
        for _ in range(6):  # one may lead to the next
            commands = [a["command"] for a in self.actions() if (a["command"] or "").startswith("smepilot-run --bench")]
            todo = [c for c in commands if c not in done]
            if not todo:
                break
            for command in todo:
                self.assert_works(shlex.split(command)[1:])
                done.add(command)
        self.assertGreaterEqual(len(done), 2)  # with the plan, and what it is then compared with
        left = [a for a in self.actions() if a["what"].startswith("Measure")]
        self.assertEqual([a["what"] for a in left], ["Measure another engine"])
        inside = next(a["command"] for a in self.actions() if a["what"] == "Look inside a run")
        run, report = inside.split("; ")

        def here(command):
            return [self.path(word) if word.endswith(".json") else word for word in shlex.split(command)[1:]]

        # The runs that were recorded above have stored their conversions: only the timeline is missing.
        self.assertNotIn("--stats", inside)
        self.assert_works(here(run))
        out, _ = self.assert_works([*here(report), "--format", "json"], SMETUNE)
        made = json.loads(out)
        self.assertTrue(any(c["prefill"] or c["decode"] for c in made["conversions"]))
        self.assertTrue(made["timeline"])
        self.assertGreater(made["loads"][0]["peak_rss_bytes"], made["loads"][0]["weights_bytes"])

    def test_stats_know_the_roofline(self):
        out, _ = self.assert_works(["-m", self.model, "--plan", "db", "--db", self.db, *self.text, "--stats",
                                    "--json"])
        stats = json.loads("{" + out.rpartition("\n{\n")[2])
        priced = {r["operator"] for r in stats["operators"] if r["roofline_ns"] is not None}
        self.assertLessEqual({"attn_qkv", "attention", "ffn_down", "output"}, priced)
        self.assertGreater(stats["decode"]["read_gbps"], 0)
        self.assertAlmostEqual(stats["decode"]["read_fraction"], stats["decode"]["gbps"] / stats["decode"]["read_gbps"],
                               places=3)

    def test_another_machine(self):
        def edit(plan):
            place, key = self.field(plan, "cpu_model")
            place[key] = "Imaginary 9000"
        self.refused(edit, "cpu_model", "Imaginary 9000")

        def cores(plan):
            place, key = self.field(plan, "cores")
            place[key] = "77"
        self.refused(cores, "cores", "77")
        self.refused(lambda plan: plan.update(fingerprint="0123456789abcdef"), "fingerprint", "0123456789abcdef")

    def test_another_model_or_build(self):
        self.refused(lambda plan: plan["model"].update(hash="0123456789abcdef"), "model", "0123456789abcdef")
        self.refused(lambda plan: plan.update(variant_set_hash="0123456789abcdef"), "variant_set_hash",
                     "0123456789abcdef")

    def test_damaged_entries(self):
        self.refused(lambda plan: plan["entries"][0].update(variant="matmul.no.such"), "matmul.no.such")
        self.refused(lambda plan: plan["entries"][0].update(workers=0), "workers")
        self.refused(lambda plan: plan["entries"][0].update(m_min=-1), "m_min")
        self.refused(lambda plan: plan.update(schema="smepilot-plan/99"), "smepilot-plan/99")
        self.refused(lambda plan: plan.pop("entries"), "entries")

    def test_incomplete_plan_says_so(self):
        path = self.edited(lambda plan: plan.update(entries=plan["entries"][:1]))
        _, err = self.assert_works(["-m", self.model, "--plan", path, "--db", self.db, *self.text])
        self.assertIn("does not cover", err)

    def test_missing_plan(self):
        self.assert_fails(["-m", self.model, "--plan", self.path("none.json"), *self.text], "none.json")
        # Another model: the database has no plan for it.
        other = self.path("other.gguf")
        write_model(other, context=256)
        args = ["-m", other, "--db", self.db, *self.text]
        self.assert_fails(args + ["--plan", "db"], "plans.db", "no plan for model", "smetune search")
        _, err = self.assert_works(args + ["--plan", "db", "--plan-fallback"])
        self.assertIn("falling back to the roofline heuristic", err)
        # A plan in the database from another set of kernels: what differs is named.
        self.env["SMEPILOT_FORCE_ISA"] = "portable"
        err = self.assert_fails(["-m", self.model, "--db", self.db, "--plan", "db", *self.text], "plans.db", "refused")
        self.assertIn("isa", err)

    def test_missing_database(self):
        args = ["-m", self.model, "--db", self.path("none.db"), *self.text]
        self.assert_fails(args + ["--plan", "db"], "none.db", "smetune calibrate")
        _, err = self.assert_works(args + ["--plan", "db", "--plan-fallback"])
        self.assertIn("untuned default (no calibration)", err)


if __name__ == "__main__":
    unittest.main()
