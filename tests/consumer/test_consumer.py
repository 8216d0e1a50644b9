"""An installation is complete: another project finds, links and runs it; the Debian package holds it and names what it
needs."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
CMAKE, BUILD = os.environ["CMAKE"], os.environ["SMEPILOT_BUILD"]
MODEL = os.path.join(os.environ.get("SMEPILOT_SHARED_DIR", ""), "models", "stories260K-f32.gguf")


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="consumer-", dir=BUILD)
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        cls.prefix = os.path.join(cls.folder, "prefix")
        cls.run_ok([CMAKE, "--install", BUILD, "--prefix", cls.prefix])

    @staticmethod
    def run_ok(command, **kwargs):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", **kwargs)
        if done.returncode != 0:
            raise AssertionError("%s\n%s%s" % (command, done.stdout, done.stderr))
        return done.stdout, done.stderr

    def env(self):
        return dict(os.environ, XDG_DATA_HOME=self.folder, XDG_CACHE_HOME=self.folder)

    def test_a_project_finds_links_and_runs_it(self):
        build = os.path.join(self.folder, "build")
        self.run_ok([CMAKE, "-S", os.path.join(HERE, "project"), "-B", build, "-G", os.environ["SMEPILOT_GENERATOR"],
                     "-DCMAKE_PREFIX_PATH=" + self.prefix, "-DCMAKE_BUILD_TYPE=Release"])
        self.run_ok([CMAKE, "--build", build])
        consumer = os.path.join(build, "consumer")
        missing = subprocess.run([consumer, "none.gguf", "x", "1"], capture_output=True, text=True, env=self.env())
        self.assertEqual(missing.returncode, 1)
        self.assertIn("none.gguf", missing.stderr)
        if not os.path.exists(MODEL):
            self.skipTest("no shared models")
        out, err = self.run_ok([consumer, MODEL, "Once upon a time", "24"], env=self.env())
        self.assertIn("tokens 24, plan untuned", err)
        run = os.path.join(self.prefix, "bin", "smepilot-run")
        expected, _ = self.run_ok([run, "-m", MODEL, "-p", "Once upon a time", "-n", "24", "--temp", "0", "--no-cache"],
                                  env=self.env())
        self.assertEqual("Once upon a time" + out, expected.rstrip("\n"))

    def test_programs_find_their_data_in_the_prefix(self):
        tune = os.path.join(self.prefix, "bin", "smetune")
        out, _ = self.run_ok([tune, "models", "list"], env=self.env())
        self.assertIn("llama-3.2-3b", out)
        moved = os.path.join(self.prefix, "share", "smepilot", "models")
        self.assertIn("llama-3.2-3b.json", os.listdir(moved))

    def test_debian_package(self):
        for tool in ("dpkg-deb", "dpkg-shlibdeps"):
            if shutil.which(tool) is None:
                self.skipTest("no " + tool)
        package = os.path.join(self.folder, "package")
        # A quick compression: what is in it counts here, not how small it is.
        self.run_ok([os.environ["CPACK"], "-G", "DEB", "--config", os.path.join(BUILD, "CPackConfig.cmake"), "-B", package,
                     "-D", "CPACK_DEBIAN_COMPRESSION_TYPE=gzip"])
        debs = [name for name in os.listdir(package) if name.endswith(".deb")]
        self.assertEqual(len(debs), 1, debs)
        self.assertRegex(debs[0], r"^smepilot_[0-9.]+(-\d+)?_\w+\.deb$")
        deb = os.path.join(package, debs[0])
        info, _ = self.run_ok(["dpkg-deb", "-I", deb])
        depends = re.search(r"^ Depends: (.*)$", info, re.MULTILINE)
        self.assertIsNotNone(depends, info)
        for library in ("libc6", "libstdc++6", "libfmt", "libsqlite3-0", "libpcre2-8-0"):
            self.assertIn(library, depends[1])
        listing, _ = self.run_ok(["dpkg-deb", "-c", deb])
        for path in ("bin/smetune", "bin/smepilot-run", "include/smepilot/engine/smepilot.h",
                     "share/smepilot/models/llama-3.2-3b.json", "share/smepilot/reports/smepilot_report/"):
            self.assertIn("./usr/" + path, listing)
        for suffix in ("libsmepilot_kernels.a", "cmake/smepilot/smepilotConfig.cmake"):
            self.assertRegex(listing, r"\./usr/lib\S*/" + re.escape(suffix))
        self.assertRegex(info, r"(?m)^ Maintainer: \S.* <[^@<> ]+@[^@<> ]+>$")
        self.assertRegex(info, r"(?m)^ Description: \S.*\n  smetune calibrates .*\n  of a model; .*\n  stored plan")
        self.assertRegex(info, r"(?m)^ Recommends: .*python3-matplotlib")
        for path in ("bash-completion/completions/smetune", "zsh/vendor-completions/_smetune",
                     "fish/vendor_completions.d/smepilot-run.fish", "man/man1/smetune.1.gz", "doc/smepilot/README.md",
                     "doc/smepilot/copyright", "doc/smepilot/docs/cli.md"):
            self.assertIn("./usr/share/" + path, listing)

        # Unpacked somewhere: everybody may read it, and the programs find their data beside them.
        root = os.path.join(self.folder, "root")
        self.run_ok(["dpkg-deb", "-x", deb, root])
        for folder, _, names in os.walk(root):
            for name in names:
                self.assertTrue(os.stat(os.path.join(folder, name)).st_mode & 0o444 == 0o444, name)
        tune, run = (os.path.join(root, "usr", "bin", name) for name in ("smetune", "smepilot-run"))
        self.assertIn("smetune 0.", self.run_ok([tune, "--version"], env=self.env())[0])
        self.assertIn("smepilot-run 0.", self.run_ok([run, "--version"], env=self.env())[0])
        shown, _ = self.run_ok([tune, "platforms", "show", "apple-m4-pro"], env=self.env())
        self.assertIn(os.path.join(root, "usr", "share", "smepilot", "platforms"), shown)
        self.assertIn("llama-3.2-3b", self.run_ok([tune, "models", "list"], env=self.env())[0])
        if os.path.exists(MODEL):
            text, _ = self.run_ok([run, "-m", MODEL, "-p", "Once upon a time", "-n", "8", "--temp", "0", "--no-cache"],
                                  env=self.env())
            self.assertTrue(text.startswith("Once upon a time"), text)


if __name__ == "__main__":
    unittest.main()
