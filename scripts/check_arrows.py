#!/usr/bin/env python3
"""Checks who includes whom.

    kernels <- profiles <- db <- {tuner, engine}      tuner and engine never include each other
    inside kernels: abi <- {operators, pack, reference}, abi <- base <- isa <- registry <- driver

SQLite only in db, CLI11 only in the mains, nlohmann/json only in profiles, db, reports and the mains; a main is a file that
defines main() or whose name begins with "cli". A translation unit that is compiled for an ISA step (*_<isa>.cc in an
operator's folder) may reach, directly or through headers, only kernels/abi, headers of operator folders, C headers and
intrinsics: an inline function of anything else, compiled with AVX-512 flags, may be the copy that the linker keeps.
Which operating system this is, only kernels/base/os_*.cc may ask.

usage: check_arrows.py [--root DIR] [--self-test]
"""
import argparse
import re
import sys
import tempfile
from pathlib import Path

ROOMS = {  # room: the rooms it may include
    "kernels": {"kernels"},
    "profiles": {"profiles", "kernels"},
    "db": {"db", "profiles", "kernels"},
    "tuner": {"tuner", "db", "profiles", "kernels"},
    "engine": {"engine", "db", "profiles", "kernels"},
    "tests": {"tests", "tuner", "engine", "db", "profiles", "kernels"},
}
# Folders of ISA units; sme holds what those for SME share.
OPERATORS = {"matmul", "attention", "norm", "rope", "quantize", "activation", "probe", "sme"}
KERNEL_ROOMS = {
    "abi": {"abi"},
    "base": {"base", "abi"},
    "isa": {"isa", "base", "abi"},
    "registry": {"registry", "isa", "base", "abi"},
    "reference": {"reference", "base", "abi"},
    "pack": {"pack", "base", "abi"},
    "driver": {"driver", "registry", "isa", "pack", "base", "abi"},
    **{op: OPERATORS | {"abi"} for op in OPERATORS},
}
ISA_HEADERS = {  # what a translation unit of an ISA step may include in angle brackets
    "stddef.h", "stdint.h", "string.h", "math.h", "float.h", "limits.h",
    "immintrin.h", "arm_neon.h", "arm_acle.h", "arm_fp16.h", "arm_bf16.h", "arm_sve.h", "arm_sme.h",
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)
SYSTEM = re.compile(r"^[ \t]*#.*\b(__linux__|__gnu_linux__|__ANDROID__|__APPLE__|__MACH__|__GLIBC__|__BIONIC__)\b", re.MULTILINE)
MAIN = re.compile(r"^int main\(", re.MULTILINE)


def isa_steps(root):
    return set(re.findall(r'\{kIsa\w+, "(\w+)"', (root / "kernels/abi/isa.h").read_text()))


class Checker:
    def __init__(self, root):
        self.root = root
        self.errors = []
        self.steps = isa_steps(root)
        self.files = {}
        for room in ROOMS:
            for path in sorted((root / room).rglob("*")):
                if path.suffix in (".h", ".cc", ".inc"):
                    self.files[path.relative_to(root).as_posix()] = path.read_text()

    def includes(self, name):
        return [(bracket == "<", target) for bracket, target in INCLUDE.findall(self.files[name])]

    def error(self, name, message):
        self.errors.append(f"{name}: {message}")

    def check_file(self, name):
        room, *rest = name.split("/")
        if (asked := SYSTEM.search(self.files[name])) and not name.startswith("kernels/base/os_"):
            self.error(name, f"asks for {asked[1]}: what differs between systems belongs behind kernels/base/os.h")
        is_main = MAIN.search(self.files[name]) or rest[-1].startswith("cli")
        for system, target in self.includes(name):
            if system:
                if target.startswith("sqlite3") and room not in ("db", "tests"):
                    self.error(name, f"includes <{target}>: SQLite is db's alone")
                if target.startswith("CLI/") and not is_main:
                    self.error(name, f"includes <{target}>: CLI11 is for the mains alone")
                if target.startswith("nlohmann/") and room not in ("profiles", "db", "tests") and not is_main:
                    self.error(name, f"includes <{target}>: JSON is for profiles, db and the mains")
                if re.match(r"(gtest|gmock|benchmark)/", target) and room != "tests":
                    self.error(name, f"includes <{target}> outside tests")
                continue
            other, *inner = target.split("/")
            if room == "tests" and not inner:
                continue  # a test and the header beside it
            if other not in ROOMS:
                self.error(name, f'includes "{target}": paths begin with a room ({", ".join(ROOMS)})')
            elif other not in ROOMS[room]:
                self.error(name, f'includes "{target}": {room} may include only {", ".join(sorted(ROOMS[room]))}')
            elif room == "kernels" and len(rest) > 1 and inner:
                if rest[0] not in KERNEL_ROOMS:
                    self.error(name, f"kernels/{rest[0]} is unknown to this check")
                elif inner[0] not in KERNEL_ROOMS[rest[0]]:
                    allowed = ", ".join(sorted(KERNEL_ROOMS[rest[0]]))
                    self.error(name, f'includes "{target}": kernels/{rest[0]} may include only {allowed}')

    def is_isa_unit(self, name):
        parts = name.split("/")
        return (len(parts) == 3 and parts[0] == "kernels" and parts[1] in OPERATORS and name.endswith(".cc")
                and parts[2][:-3].rsplit("_", 1)[-1] in self.steps)

    def check_isa_unit(self, name):
        seen, todo = set(), [(name, name)]
        while todo:
            at, via = todo.pop()
            if at in seen or at not in self.files:
                continue
            seen.add(at)
            for system, target in self.includes(at):
                where = "" if at == name else f" (through {at})"
                if system:
                    if target not in ISA_HEADERS:
                        self.error(name, f"includes <{target}>{where}: only C headers and intrinsics in an ISA unit")
                elif target.split("/")[0] == "kernels" and target.split("/")[1] in OPERATORS | {"abi"}:
                    todo.append((target, at))
                else:
                    self.error(name, f'includes "{target}"{where}: only kernels/abi and operator headers in an ISA unit')

    def run(self):
        for name in self.files:
            self.check_file(name)
            if self.is_isa_unit(name):
                self.check_isa_unit(name)
        return self.errors


GOOD = {
    "kernels/abi/isa.h": '#include <stdint.h>\n{kIsaAvx2, "avx2", 0},\n{kIsaPortable, "portable", 0},\n',
    "kernels/base/status.h": "#include <fmt/format.h>\n",
    "kernels/base/os_linux.cc": "#if defined(__ANDROID__)\n#endif\n// not __APPLE__\n",
    "kernels/matmul/tile.h": '#include "kernels/abi/isa.h"\n',
    "kernels/matmul/matmul_avx2.cc": '#include <immintrin.h>\n#include "kernels/matmul/tile.h"\n',
    "kernels/driver/operators.cc": '#include <vector>\n#include "kernels/base/status.h"\n',
    "profiles/timer.h": '#include "kernels/base/status.h"\n',
    "db/plan.h": '#include <sqlite3.h>\n#include "profiles/timer.h"\n',
    "tuner/smetune.cc": '#include <CLI/CLI.hpp>\n#include "db/plan.h"\nint main() {}\n',
    "engine/graph.cc": '#include "db/plan.h"\n',
}
BAD = [  # (file, text, a part of the expected message)
    ("engine/graph.cc", '#include "tuner/search.h"\n', "engine may include only"),
    ("tuner/search.cc", '  #  include "engine/graph.h"\n', "tuner may include only"),
    ("kernels/driver/operators.cc", '#include "profiles/timer.h"\n', "kernels may include only"),
    ("profiles/timer.h", '#include "db/plan.h"\n', "profiles may include only"),
    ("kernels/base/status.h", '#include "kernels/isa/isa_detect.h"\n', "kernels/base may include only"),
    ("kernels/registry/registry.cc", '#include "kernels/driver/operators.h"\n', "kernels/registry may include only"),
    ("kernels/pack/pack.cc", '#include "kernels/matmul/tile.h"\n', "kernels/pack may include only"),
    ("kernels/newroom/x.cc", '#include "kernels/abi/isa.h"\n', "unknown to this check"),
    ("engine/graph.cc", "  # if defined(__APPLE__)\n# endif\n", "asks for __APPLE__"),
    ("kernels/driver/operators.cc", "#ifdef __linux__\n#endif\n", "asks for __linux__"),
    ("engine/graph.cc", "#include <sqlite3.h>\n", "SQLite is db's alone"),
    ("tuner/search.cc", "#include <CLI/CLI.hpp>\n", "CLI11 is for the mains alone"),
    ("engine/graph.cc", "#include <nlohmann/json.hpp>\n", "JSON is for"),
    ("engine/graph.cc", '#include "graph.h"\n', "paths begin with a room"),
    ("engine/graph.cc", "#include <gtest/gtest.h>\n", "outside tests"),
    ("db/plan.h", '#include "tests/kernels/x.h"\n', "db may include only"),
    ("kernels/matmul/matmul_avx2.cc", "#include <algorithm>\n", "only C headers and intrinsics"),
    ("kernels/matmul/matmul_avx2.cc", "#include <fmt/format.h>\n", "only C headers and intrinsics"),
    ("kernels/matmul/matmul_portable.cc", '#include "kernels/base/check.h"\n', "only kernels/abi and operator headers"),
    ("kernels/matmul/tile.h", "#include <vector>\n", "through kernels/matmul/tile.h"),
]


def self_test():
    def check(files):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            return Checker(root).run()

    failures = []
    errors = check(GOOD)
    if errors:
        failures.append(f"a clean tree is refused: {errors}")
    for name, text, expected in BAD:
        errors = check({**GOOD, name: GOOD.get(name, "") + text})
        if not any(expected in e for e in errors):
            failures.append(f"{name} with {text!r}: expected '{expected}', found {errors}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--self-test", action="store_true", help="show that planted violations are found")
    args = parser.parse_args()
    if args.self_test:
        errors = self_test()
        print(f"{len(BAD)} planted violations, {len(errors)} not found as expected")
    else:
        checker = Checker(args.root)
        errors = checker.run()
        units = sum(checker.is_isa_unit(name) for name in checker.files)
        print(f"{len(checker.files)} files, {units} of them ISA units: {len(errors)} violations")
        if units == 0:
            errors.append("no ISA unit found: the check looked in the wrong place")
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
