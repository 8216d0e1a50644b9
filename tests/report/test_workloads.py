"""The section of workloads."""

import os
import tempfile
import unittest

import synthetic
from htmlcheck import Page
from test_page import write_page


class Workloads(unittest.TestCase):
    def test_ours_beside_a_baseline(self):
        with tempfile.TemporaryDirectory() as folder:
            connection = synthetic.create(os.path.join(folder, "w.db"))
            self.addCleanup(connection.close)
            _, session = synthetic.add_machine(connection)
            model = synthetic.insert(connection, "model", name="m", architecture="llama", hash="ab", shape_json="{}")
            for engine, baseline, seconds in (("smepilot", 0, 1.0), ("llama-bench", 1, 2.0)):
                run = synthetic.insert(
                    connection, "workload_run", session_id=session, model_id=model, plan_mode="", workload="gsm8k",
                    scale=0.5, batch=2, n_prompt=46, n_gen=50, engine=engine, is_baseline=baseline, build="b1",
                    arguments="", model_file="m.gguf", kv_type="f16", n_threads=2, created="2026-01-01T00:00:00Z",
                )
                for i in range(1, 7):
                    synthetic.insert(
                        connection, "workload_round", run_id=run, round=i, prefill_s=seconds + 0.001 * i, decode_s=3,
                        joules=None if baseline else 96.0,
                    )
            connection.commit()
            page = Page(write_page(folder, connection))
            self.assertEqual(page.problems, [])
            text = page.sections["workloads"]
            for part in ("gsm8k at scale 0.5, not the full workload", "46 + 50 tokens, batch 2", "win", "tie",
                         "not counted"):
                self.assertIn(part, text)
            # Among the standings, whole rounds: ours takes 4.0035 s, the baseline 5.0035 s for 2 × 96 tokens.
            standing = " ".join(page.sections["endtoend"].split())
            self.assertIn("gsm8k at scale 0.5 (46 + 50 tokens, batch 2)2 threads, m.gguf", standing)
            self.assertIn("win 1.25×", standing)
            self.assertIn(str(192 / 4.0035), page.values["endtoend"])
            self.assertIn("#workload-1", page.links)


if __name__ == "__main__":
    unittest.main()
