"""Damaged, hostile and old files: exit code 1, a message that names the file, no crash, nothing overwritten."""

import os
import random
import sqlite3
import struct
import unittest

from programs import EMULATOR, RUN, SMETUNE, ProgramTest, write_model


class DamagedModel(ProgramTest):
    def damaged(self, data, *parts):
        path = self.path("damaged.gguf")
        with open(path, "wb") as f:
            f.write(data)
        self.assert_fails(["-m", path, "--plan", "none", "-p", "ab", "-n", "2"], "damaged.gguf", *parts)
        return path

    def test_truncated_anywhere(self):
        size = len(self.model_bytes)
        steps = 6 if EMULATOR else 24
        for cut in [0, 3, 4, 8, 23, size - 1, size - 4] + [size * i // steps for i in range(1, steps)]:
            self.damaged(self.model_bytes[:cut])

    def test_wrong_magic_and_version(self):
        self.damaged(b"GGML" + self.model_bytes[4:], "\"GGML\"", "\"GGUF\"")
        self.damaged(self.model_bytes[:4] + struct.pack("<I", 99) + self.model_bytes[8:], "99")

    def test_counts_that_lie(self):
        for value in (0xffffffffffffffff, 1 << 40, 1 << 63):
            self.damaged(self.model_bytes[:8] + struct.pack("<Q", value) + self.model_bytes[16:])
            self.damaged(self.model_bytes[:16] + struct.pack("<Q", value) + self.model_bytes[24:])

    def test_unknown_architecture(self):
        path = self.path("gpt9.gguf")
        write_model(path, architecture="gpt9")
        self.assert_fails(["-m", path, "--plan", "none", "-p", "ab"], "gpt9.gguf", "gpt9", "llama")
        self.assert_fails(["search", "--model", path, "--db", self.db], "gpt9.gguf", "gpt9", program=SMETUNE)

    def test_unknown_tensor_type(self):
        path = self.path("type.gguf")
        write_model(path, tensor_type=250)
        self.assert_fails(["-m", path, "--plan", "none", "-p", "ab"], "type.gguf", "ffn_up.weight", "250")
        write_model(path, tensor_type=11)  # Q3_K: exists, but not here
        self.assert_fails(["-m", path, "--plan", "none", "-p", "ab"], "type.gguf", "ffn_up.weight")

    def test_flipped_bits_never_crash(self):
        header = self.model_bytes.index(b"blk.0.ffn_down.weight") + 64
        rng = random.Random(7)
        path = self.path("flipped.gguf")
        refused = 0
        for _ in range(15 if EMULATOR else 80):
            data = bytearray(self.model_bytes)
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(header)] ^= 1 << rng.randrange(8)
            with open(path, "wb") as f:
                f.write(data)
            code, out, err = self.run_model("-m", path, "--plan", "none", "-p", "ab", "-n", "2", "-t", "1")
            self.assertIn(code, (0, 1), err)  # a flipped score or byte of text is still a model
            if code == 1:
                refused += 1
                self.assertIn("flipped.gguf", err)
        self.assertGreater(refused, 0)

    def test_weights_that_are_not_numbers(self):
        data = bytearray(self.model_bytes)
        data[-4 * 64:] = struct.pack("<f", float("nan")) * 64
        path = self.path("nan.gguf")
        with open(path, "wb") as f:
            f.write(data)
        code, out, err = self.run_model("-m", path, "--plan", "none", "-p", "ab", "-n", "2")
        self.assertIn(code, (0, 1), err)


class DamagedDatabase(ProgramTest):
    def test_not_a_database(self):
        with open(self.db, "wb") as f:
            f.write(b"x" * 8192)
        args = ["-m", self.model, "-p", "ab", "-n", "2", "--db", self.db]
        self.assert_fails(args + ["--plan", "db"], "plans.db")
        _, err = self.assert_works(args)  # auto: said, and run untuned
        self.assertIn("plans.db", err)
        self.assertIn("untuned", err)
        _, err = self.assert_works(args + ["--plan", "none"])
        self.assertNotIn("plans.db", err)
        self.assert_fails(["-m", self.model, "--bench", "-p", "4", "-n", "0", "--record", "--db", self.db], "plans.db")
        with open(self.db, "rb") as f:
            self.assertEqual(f.read(), b"x" * 8192, "what is not ours is left alone")

    def test_truncated_and_overwritten(self):
        self.assert_works(["-m", self.model, "--plan", "none", "--bench", "-p", "4", "-n", "0", "-r", "1", "--record",
                           "--db", self.db])
        with open(self.db, "rb") as f:
            good = f.read()
        for bad in (good[:len(good) // 2], good[:4096] + b"\xa5" * (len(good) - 4096), good[:50]):
            with open(self.db, "wb") as f:
                f.write(bad)
            for extra in (self.db + "-wal", self.db + "-shm"):
                if os.path.exists(extra):
                    os.remove(extra)
            self.assert_fails(["-m", self.model, "-p", "ab", "-n", "2", "--db", self.db, "--plan", "db"], "plans.db")

    def test_unwritable(self):
        bad = "/proc/no/such/plans.db"
        self.assert_fails(["-m", self.model, "--bench", "-p", "4", "-n", "0", "--record", "--db", bad],
                          "/proc/no/such")
        self.assert_fails(["plan", "import", self.model, "--db", bad], program=SMETUNE)
        self.assert_fails(["-m", self.model, "-p", "ab", "--plan", "db", "--db", bad], bad)
        # A folder where the file should be.
        self.assert_fails(["-m", self.model, "-p", "ab", "--plan", "db", "--db", self.folder], self.folder)


class OldDatabase(ProgramTest):
    def write(self, name):
        source = os.path.join(os.environ["SMEPILOT_SOURCE"], "tests", "db", "data", name)
        db = sqlite3.connect(self.db)
        with open(source, encoding="utf-8") as f:
            db.executescript(f.read())
        db.close()

    def schema(self):
        db = sqlite3.connect(self.db)
        self.addCleanup(db.close)
        return db.execute("PRAGMA user_version").fetchone()[0]

    def test_what_reads_only_says_how_to_migrate(self):
        self.write("schema_007.sql")
        self.assert_fails(["plan", "list", "--db", self.db], "schema 7", "db migrate", program=SMETUNE)
        self.assertEqual(self.schema(), 7)
        newest = self.assert_works(["db", "migrate", "--db", self.db], SMETUNE)[0]
        self.assertIn("has schema %d" % self.schema(), newest)
        self.assertGreater(self.schema(), 7)
        self.assert_works(["plan", "list", "--db", self.db], SMETUNE)
        self.assertEqual(self.assert_works(["db", "migrate", "--db", self.db], SMETUNE)[0], newest)

    def test_nothing_is_made_where_there_is_none(self):
        self.assert_fails(["db", "migrate", "--db", self.db], self.db, program=SMETUNE)
        self.assertFalse(os.path.exists(self.db))


if __name__ == "__main__":
    unittest.main()
