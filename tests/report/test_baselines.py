"""Ours against each kind of baseline: what drove a run, what is ours, and what the table of standings says."""

import json
import os
import tempfile
import unittest

import synthetic
from htmlcheck import Page
from smepilot_report import compare, end_to_end
from smepilot_report.database import ReportError
from test_page import write_page

LOAD = {
    "seconds": 0.5,
    "weights_seconds": 0.25,
    "weights_from": "packed",
    "cache_file": "x",
    "peak_rss_bytes": 3 << 20,
    "weights_bytes": 2 << 20,
    "kv_cache_bytes": 1 << 20,
    "scratch_bytes": 4096,
}


class Baselines(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = os.path.join(self.folder, "test.db")
        self.connection = synthetic.create(self.path)
        self.addCleanup(self.connection.close)
        self.known = synthetic.fill(self.connection, "m")

    def bench(self, samples, *plan, **values):
        session, model = self.known["session"], self.known["model"]
        return synthetic.add_bench(self.connection, session, model, samples, *plan, **values)

    def comparisons(self, plan_id):
        data = synthetic.read(self.connection, self.path)
        return end_to_end.compare(data.models[0].benches, data.baselines, plan_id, "Test CPU 9000", 0.02)

    def copy_plan(self, planner):
        self.connection.execute("CREATE TEMP TABLE one AS SELECT * FROM plan WHERE id = ?", (self.known["plan"],))
        self.connection.execute("UPDATE one SET id = 50, planner = ?", (planner,))
        self.connection.execute("INSERT INTO plan SELECT * FROM one")
        self.connection.execute("DROP TABLE one")
        return 50

    def test_each_kind_is_told_apart(self):
        self.bench([150.5, 151.5, 152.5], n_prompt=512, planner="untuned", mode="cpu")
        self.bench([160.5, 161.5, 162.5], n_prompt=512, planner="roofline", mode="auto")
        self.bench([170.5, 171.5, 172.5], n_prompt=512, planner="untuned", mode="coop")
        heuristic = self.copy_plan("roofline")
        self.bench([165.5, 166.5, 167.5], heuristic, "db", n_prompt=512, planner="roofline", mode="auto")
        (prefill,) = [c for c in self.comparisons(self.known["plan"]) if c.name == "pp512"]
        roles = {s.label.split(", ", 1)[1].rpartition(",")[0]: s.role for s in prefill.series if s.role != "baseline"}
        self.assertEqual(
            roles,
            {
                "plan 1": "plan",
                "untuned default": "untuned",
                "untuned default, mode cpu": "cpu",
                "roofline heuristic": "roofline",
                "untuned default, mode coop": "forced",
                "plan 50 (roofline heuristic)": "roofline",
            },
        )
        self.assertEqual(prefill.reference.plan_id, self.known["plan"])
        # A plan of the heuristic is ours where it is the plan that is shown.
        (prefill,) = [c for c in self.comparisons(heuristic) if c.name == "pp512"]
        self.assertEqual(prefill.reference.plan_id, heuristic)

    def test_ours_is_the_run_of_the_plan_shown_not_the_newest(self):
        other = self.copy_plan("race")
        self.bench([999.5, 999.6, 999.7], other, "db", n_prompt=512)
        for plan in (self.known["plan"], other):
            (prefill,) = [c for c in self.comparisons(plan) if c.name == "pp512"]
            self.assertEqual(prefill.reference.plan_id, plan)
        # Within a second, the id tells which is newer.
        (prefill,) = [c for c in self.comparisons(None) if c.name == "pp512"]
        self.assertEqual(prefill.reference.plan_id, other)

    def test_a_comparison_of_plans_compares_their_runs(self):
        other = self.copy_plan("race")
        self.bench([202.5 / 2] * 6 + [101.0], other, "db", n_prompt=512)
        self.bench([202.5] * 6 + [202.0], self.known["plan"], "db", n_prompt=512)
        self.connection.commit()
        a, b = (compare.read(f"{self.path}:{plan}", None) for plan in (self.known["plan"], other))
        found = {(c["what"], c["how"]): c for c in compare.build(a, b, 0.05)["changes"]}
        self.assertEqual(found["pp512, 2 thr.", "plan"]["verdict"], "regression")
        self.assertAlmostEqual(found["pp512, 2 thr.", "plan"]["ratio"], 0.5, delta=0.01)

    def test_standings(self):
        self.bench([150.5, 151.5, 152.5], n_prompt=512, planner="untuned", mode="cpu")
        columns, lines = end_to_end.standings(self.comparisons(self.known["plan"]))
        self.assertEqual(columns, ["untuned default", "cores alone", "roofline heuristic", "llama.cpp"])
        prefill = next(line for line in lines if line.name == "prefill (pp512)")
        words = [cell and cell.verdict.word for cell in prefill.cells]
        self.assertEqual(words, ["win", "win", None, "tie"])
        verdict = prefill.cells[0].verdict
        self.assertAlmostEqual(verdict.low, 200.5 / 102.5)
        self.assertAlmostEqual(verdict.high, 203.5 / 100.5)
        self.assertEqual(
            end_to_end.workload_name((92, 100, 0, 4, "f16")), "prompt and generation, batch 4 (pp92+tg100 b4)"
        )

    def test_the_page_has_standings_joules_and_loading(self):
        self.bench(
            [150.5, 151.5, 152.5],
            n_prompt=512,
            planner="untuned",
            mode="cpu",
            joules_per_token=0.125,
            load_json=json.dumps(LOAD),
        )
        self.connection.commit()
        page = Page(write_page(self.folder, self.connection))
        self.assertEqual(page.problems, [])
        text = " ".join(page.sections["endtoend"].split())
        for part in ("prefill (pp512)", "J/token", "0.125", "not measured", "win 1.33×"):
            self.assertIn(part, text)
        for value in ("0.5", "0.25", str(3 << 20), str(2 << 20), str(1 << 20), "4096"):
            self.assertIn(value, page.values["load"])
        self.assertIn("packed, and stored in the cache", page.sections["load"])

    def test_loading_that_is_none_is_refused(self):
        for change, says in (({"seconds": "x"}, "seconds is 'x'"), ({"weights_from": "air"}, "weights_from is 'air'")):
            row = self.bench([1.5, 1.6, 1.7], n_prompt=8, load_json=json.dumps({**LOAD, **change}))
            with self.assertRaisesRegex(ReportError, f"bench {row}: load_json: {says}"):
                self.comparisons(None)
            self.connection.execute("DELETE FROM bench WHERE id = ?", (row,))

    def test_newest_is_told_by_time_in_a_merged_database(self):
        # Ids of a merged database tell nothing: the plan with the lower one is the newer.
        older = self.copy_plan("race")
        self.connection.execute("UPDATE plan SET created = '2025-01-01T00:00:00Z' WHERE id = ?", (older,))
        session = synthetic.add_session(self.connection, self.known["platform"])
        self.connection.execute("UPDATE session SET started = '2025-01-01T00:00:00Z' WHERE id = ?", (session,))
        self.connection.execute("UPDATE plan SET session_id = ? WHERE id = ?", (session, older))
        data = synthetic.read(self.connection, self.path)
        self.assertEqual(data.models[0].plan["id"], self.known["plan"])
        self.assertEqual(data.session["id"], self.known["session"])


if __name__ == "__main__":
    unittest.main()
