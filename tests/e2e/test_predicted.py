"""A plan that was predicted for another machine: stored, listed, exported, and never run."""

import os
import unittest

from programs import RUN, ProgramTest

PROFILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "profiles", "platforms",
                       "apple-m4-pro.json")


class Predicted(ProgramTest):
    def setUp(self):
        super().setUp()
        self.text = ["-m", self.model, "-p", "ab", "-n", "2", "--temp", "0", "--db", self.db]
        # Of f32 weights only the matrix units' rate is published.
        code, out, err = self.smetune("search", "--platform", PROFILE, "--model", self.model, "--modes", "sme")
        self.assertEqual(code, 0, err)
        self.assertIn("predicted (published profile)", out)
        self.assertIn("no machine runs it", out)

    def test_database_plan_is_refused(self):
        err = self.assert_fails([*self.text, "--plan", "db"], "is refused")
        self.assertIn("published profile 'apple-m4-pro'", err)

    def test_file_is_refused(self):
        plan = self.path("plan.json")
        code, _, err = self.smetune("plan", "export", "--model", self.model, "-o", plan)
        self.assertEqual(code, 0, err)
        self.assert_fails([*self.text, "--plan", plan], "the plan is refused", "published profile 'apple-m4-pro'")

    def test_it_does_not_take_part_by_default(self):
        untuned, _ = self.assert_works([*self.text, "--plan", "none"], program=RUN)
        default, err = self.assert_works(self.text, program=RUN)
        self.assertEqual(untuned, default)
        self.assertIn("untuned", err)

    def test_options_of_a_measuring_search_are_refused(self):
        for option in (["--budget", "3"], ["--fresh"], ["--op", "ffn_up"], ["--strategy", "race"]):
            code, _, err = self.smetune("search", "--platform", PROFILE, "--model", self.model, *option)
            self.assertEqual(code, 2, err)
            self.assertIn("--platform", err)


if __name__ == "__main__":
    unittest.main()
