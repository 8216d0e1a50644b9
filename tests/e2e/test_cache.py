"""The weight cache from the command line: first and second start, listing, clearing, damage, and doing without."""
import glob
import os
import unittest

from programs import ProgramTest


class Cache(ProgramTest):
    def setUp(self):
        super().setUp()
        self.args = ["-m", self.model, "--plan", "none", "-p", "Hello", "-n", "8", "--ignore-eos", "--temp", "0"]

    def files(self):
        return glob.glob(os.path.join(self.folder, "smepilot", "weights", "*"))

    def test_second_start_maps_what_the_first_packed(self):
        first, err = self.assert_works(self.args + ["--stats"])
        self.assertIn("packed, and stored", err)
        self.assertEqual(len(self.files()), 1)
        second, err = self.assert_works(self.args + ["--stats"])
        self.assertIn("from the cache", err)
        without, err = self.assert_works(self.args + ["--stats", "--no-cache"])
        self.assertIn("packed into memory", err)
        self.assertEqual([second, without], [first, first])

    def test_list_and_clear(self):
        self.assert_works(self.args)
        out, _ = self.assert_works(["--cache", "list"])
        self.assertIn(self.model, out)
        out, _ = self.assert_works(["--cache", "clear"])
        self.assertIn("1 files deleted", out)
        self.assertEqual(self.files(), [])

    def test_damage_is_said_and_repaired(self):
        text, _ = self.assert_works(self.args)
        with open(self.files()[0], "r+b") as f:
            f.seek(-9000, os.SEEK_END)
            f.write(b"\x55" * 4096)
        again, err = self.assert_works(self.args)
        self.assertIn("damaged", err)
        self.assertEqual(again, text)

    def test_no_room_is_said_and_does_not_stop_the_run(self):
        _, err = self.assert_works(self.args + ["--cache-limit", "0"])
        self.assertIn("--cache-limit", err)
        self.assertEqual(self.files(), [])


if __name__ == "__main__":
    unittest.main()
