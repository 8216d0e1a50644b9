"""What the report recommends: from the rows, with commands that are complete."""

import contextlib
import io
import json
import os
import shlex
import tempfile
import unittest

import synthetic
from smepilot_report import advice, end_to_end
from smepilot_report.main import main


class Advice(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "my database.db")
        self.connection = synthetic.create(self.path)
        self.addCleanup(self.connection.close)

    def actions(self):
        data = synthetic.read(self.connection, self.path)
        floor = data.calibration["noise_floor"] if data.calibration else None
        cpu = data.platform["facts"]["cpu_model"] if data.platform else ""
        models = []
        for model in data.models:
            plan = model.plan["id"] if model.plan else None
            models.append((model, end_to_end.compare(model.benches, data.baselines, plan, cpu, floor)))
        found = advice.actions(data, models)
        for action in found:
            if action.command:
                self.assertIn(self.path, shlex.split(action.command.replace(";", " ")), action)
        return found

    def only(self, what):
        found = [action for action in self.actions() if what in action.what]
        self.assertEqual(len(found), 1, [action.what for action in self.actions()])
        return found[0]

    def none(self, what):
        self.assertEqual([action for action in self.actions() if what in action.what], [])

    def test_nothing_is_stored(self):
        self.assertEqual([a.what for a in self.actions()], ["Calibrate this machine"])

    def test_a_machine_without_a_model(self):
        _, session = synthetic.add_machine(self.connection)
        synthetic.add_calibration(self.connection, session)
        self.assertEqual([a.what for a in self.actions()], ["Search a model"])

    def test_a_bad_calibration(self):
        known = synthetic.fill(self.connection, "m")
        self.none("Calibrate")
        self.connection.execute("UPDATE calibration SET busy_fraction = 0.5, quick = 1")
        again = self.only("Calibrate again")
        self.assertIn(f"calibration {known['calibration']}: other programs took 50 %", again.why)
        self.assertIn("quick", again.why)
        for table in ("peak", "bandwidth", "fork_join"):
            self.connection.execute(f"DELETE FROM {table}")
        self.connection.execute("UPDATE search SET calibration_id = NULL")
        self.connection.execute("DELETE FROM calibration")
        self.only("Calibrate this machine")

    def test_a_plan_of_another_machine(self):
        known = synthetic.fill(self.connection, "m")
        _, session = synthetic.add_machine(self.connection, "ffff", "Another machine")
        self.connection.execute("UPDATE session SET started = '2026-02-01T00:00:00Z' WHERE id = ?", (session,))
        synthetic.add_bench(self.connection, session, known["model"], [1.5, 2.5, 3.5], n_gen=8)
        search = self.only("Search m")
        self.assertIn(f"plan {known['plan']} is for machine 00112233445566aa", search.why)
        self.assertTrue(search.command.startswith("smetune search --model model.gguf --db "))

    def test_a_stale_plan(self):
        known = synthetic.fill(self.connection, "m")
        self.none("again")
        newer = synthetic.add_calibration(self.connection, known["session"])
        self.assertIn(f"calibration {newer} is newer", self.only("Search m again").why)
        self.connection.execute(
            "INSERT INTO search (session_id, model_id, planner, variant_set_hash, budget_s, options_json, state, "
            "started, finished) VALUES (?, ?, 'race', 'beef', 1, '{}', 'stopped', '2026-03-01T00:00:00Z', "
            "'2026-03-01T00:00:01Z')",
            (known["session"], known["model"]),
        )
        self.assertIn("knows other kernels", self.only("Search m again").why)
        self.assertIn("is stopped", self.only("Continue the search").why)

    def test_the_gain_of_the_plan(self):
        known = synthetic.fill(self.connection, "m")
        use = self.only("Use the plan")
        self.assertIn("pp512 1.99× (1.96× to 2.02×)", use.why)
        self.assertIn("tg128 1.01×", self.only("not significant").why)
        self.none("Search longer")
        self.connection.execute("DELETE FROM bench WHERE plan_id IS NULL AND n_gen = 128")
        for _ in range(3):
            synthetic.add_bench(self.connection, known["session"], known["model"], [150.5, 151.5, 152.5], n_gen=128)
        self.assertIn("faster in tg128", self.only("Search longer").why)
        self.connection.execute("DELETE FROM bench WHERE plan_id IS NOT NULL")
        measure = self.only("Measure what the plan brings")
        self.assertIn("--plan db -p 512 -n 128 -t 2", measure.command)

    def test_missing_baselines(self):
        known = synthetic.fill(self.connection, "m")
        self.none("baseline: untuned")
        cores, heuristic = self.only("cores alone"), self.only("roofline heuristic")
        self.assertIn("--plan none --mode cpu -p 512 -n 128 -t 2", cores.command)
        self.assertIn("--plan roofline -p 512", heuristic.command)
        self.none("another engine")
        label = {"planner": "untuned", "mode": "cpu"}
        synthetic.add_bench(
            self.connection, known["session"], known["model"], [99.5, 99.6, 99.7], n_prompt=512, **label
        )
        self.assertIn("tg128", self.only("cores alone").why)
        self.assertNotIn("pp512", self.only("cores alone").why)
        synthetic.add_bench(self.connection, known["session"], known["model"], [99.5, 99.6, 99.7], n_gen=128, **label)
        self.none("cores alone")
        self.connection.execute("DELETE FROM baseline")
        self.assertIn("llama-bench -m model.gguf -p 512 -n 128 -t 2", self.only("another engine").command)

    def test_a_machine_without_a_matrix_unit_has_no_other_mode(self):
        synthetic.fill(self.connection, "m")
        facts = self.connection.execute("SELECT facts_json FROM platform").fetchone()[0]
        facts = facts.replace('"matrix_unit": "amx"', '"matrix_unit": ""')
        self.connection.execute("UPDATE platform SET facts_json = ?", (facts,))
        self.none("cores alone")

    def test_the_path_of_the_model_is_taken_from_the_command_line(self):
        known = synthetic.fill(self.connection, "m")
        command = "smepilot-run --bench -m /some/where/model.gguf -p 512 --record"
        session = synthetic.add_session(self.connection, known["platform"])
        self.connection.execute("UPDATE session SET command = ? WHERE id = ?", (command, session))
        synthetic.add_bench(self.connection, session, known["model"], [99.5, 99.6, 99.7], n_prompt=512)
        self.assertIn("-m /some/where/model.gguf ", self.only("roofline heuristic").command)
        # Of another file, it says nothing about this one.
        self.connection.execute("UPDATE session SET command = 'smepilot-run -m /x/other.gguf' WHERE id = ?", (session,))
        self.assertIn("-m model.gguf ", self.only("roofline heuristic").command)

    def test_names_are_quoted(self):
        known = synthetic.fill(self.connection, "m")
        self.connection.execute("UPDATE bench SET model_file = 'a b;$(rm -rf x).gguf'")
        command = self.only("roofline heuristic").command
        self.assertIn("a b;$(rm -rf x).gguf", shlex.split(command))
        self.assertTrue(known)

    def test_every_form_shows_it(self):
        synthetic.fill(self.connection, "m")
        wanted = self.only("roofline heuristic").command
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(main(["--db", self.path, "--format", "json"]), 0)
        self.assertIn(wanted, [action["command"] for action in json.loads(out.getvalue())["actions"]])
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(main(["--db", self.path, "--format", "md"]), 0)
        self.assertIn(wanted, " ".join(out.getvalue().replace("\\\n", " ").split()))


if __name__ == "__main__":
    unittest.main()
