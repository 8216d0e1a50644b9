#!/usr/bin/env python3
"""Builds the programs for macOS and for Linux without glibc (static; runs on Android too), on a Linux machine.

    aarch64-macos         compiled and linked
    aarch64-linux-musl    compiled, linked, and run under qemu-user where scripts/setup_aarch64.sh has installed it:
                          both programs' --version, and the tests of the kernels and of what depends on the system

The compiler is zig's clang (PyPI package ziglang), which has the headers and C libraries of both. SQLite and PCRE2 are
compiled from the sources that the Rust packages libsqlite3-sys and pcre2-sys carry; fmt, CLI11 and nlohmann-json are
used as headers, and GoogleTest as sources, as installed on this machine (Debian packages libfmt-dev, libcli11-dev,
nlohmann-json3-dev, libgtest-dev). Needs cargo and pip besides what scripts/setup.sh installs. Everything lands in
build/portability; what is there is used again. The programs: build/portability/TARGET/build/{tuner/smetune,engine/smepilot-run}.
"""
import argparse
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ("aarch64-macos", "aarch64-linux-musl")
ZIG = "0.17.1"
SOURCES = """[package]
name = "sources"
version = "0.0.0"
edition = "2021"
[dependencies]
libsqlite3-sys = { version = "=0.40.0", default-features = false, features = ["bundled"] }
pcre2-sys = "=0.2.10"
"""
PROGRAMS = ["smepilot_kernels", "smetune", "smepilot-run"]
TESTS = ["tests/kernels/kernel_base_test", "tests/kernels/kernel_variants_test", "tests/kernels/kernel_checks_test",
         "tests/profiles/profiles_platform_test", "tests/engine/engine_chat_template_test"]

# zig names a CPU and its features, where clang takes an architecture: -march=armv8.2-a+dotprod+fp16.
WRAPPER = """#!{python}
import os, sys
os.environ["ZIG_GLOBAL_CACHE_DIR"] = os.environ["ZIG_LOCAL_CACHE_DIR"] = {cache!r}
features = {{"fp16": "fullfp16", "simd": "neon", "fp": "fp_armv8"}}
arguments = [{zig!r}, {mode!r}, "-target", {target!r}]
for a in sys.argv[1:]:
    if a.startswith("-march="):
        version, *extensions = a[len("-march="):].split("+")
        version = version.removeprefix("arm").removesuffix("-a").replace(".", "_")
        names = [version + "a"] + [features.get(e, e.replace("-", "_")) for e in extensions]
        a = "-mcpu=generic+" + "+".join(names)
    arguments.append(a)
os.execv(arguments[0], arguments)
"""


def run(command, **options):
    options.setdefault("cwd", ROOT)
    result = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    return result.returncode, result.stdout


def must(command, **options):
    code, out = run(command, **options)
    if code != 0:
        sys.exit(f"check_portability: {' '.join(map(str, command))} failed:\n{out[-4000:]}")
    return out


def fetch(base):
    """zig and the sources, once."""
    zig = base / "tools/ziglang/zig"
    if not zig.exists() or must([zig, "version"]).strip() != ZIG:
        must([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target", base / "tools", f"ziglang=={ZIG}"])
    crates = base / "sources"
    manifest = crates / "Cargo.toml"
    if not (crates / "vendor").exists() or manifest.read_text() != SOURCES:
        shutil.rmtree(crates, ignore_errors=True)
        (crates / "src").mkdir(parents=True)
        (crates / "src/lib.rs").touch()
        manifest.write_text(SOURCES)
        must(["cargo", "vendor", "--quiet"], cwd=crates)
    return zig, crates / "vendor"


def write(path, text, executable=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    if executable:
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def library(folder, prefix, name, sources, flags):
    """A static library in the prefix; objects are kept by their names."""
    made = prefix / f"lib/lib{name}.a"
    if made.exists():
        return
    objects = folder / f"objects/{name}"
    objects.mkdir(parents=True, exist_ok=True)
    for source in sources:
        compiler = folder / ("bin/cc" if source.suffix == ".c" else "bin/c++")
        must([compiler, "-O2", "-fPIC", "-w", *flags, "-c", source, "-o", objects / (source.stem + ".o")])
    made.parent.mkdir(parents=True, exist_ok=True)
    must([folder / "bin/ar", "rcs", made, *sorted(objects.glob("*.o"))])


def header_only(prefix, package, target, definitions=""):
    options = f" INTERFACE_COMPILE_DEFINITIONS {definitions}" if definitions else ""
    write(prefix / f"lib/cmake/{package}/{package}Config.cmake",
          f"add_library({target} INTERFACE IMPORTED)\n"
          f"set_target_properties({target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES \"{prefix}/include\"{options})\n")


def make_prefix(folder, zig, vendor, target, headers):
    """The compilers under the names that CMake is told, and the libraries that the project links."""
    for name, mode in (("cc", "cc"), ("c++", "c++")):
        write(folder / "bin" / name, WRAPPER.format(python=sys.executable, zig=str(zig), cache=str(folder.parent / "cache"), mode=mode, target=target), True)
    for name in ("ar", "ranlib"):
        write(folder / "bin" / name, f'#!/bin/sh\nexec "{zig}" {name} "$@"\n', True)

    prefix = folder / "prefix"
    (prefix / "include").mkdir(parents=True, exist_ok=True)
    for name in ("fmt", "CLI", "nlohmann", "gtest"):
        link = prefix / "include" / name
        if not (headers / name).is_dir():
            sys.exit(f"check_portability: {headers / name} not found: run scripts/setup.sh, or give --headers")
        if not link.exists():
            link.symlink_to(headers / name)
    header_only(prefix, "fmt", "fmt::fmt", "FMT_HEADER_ONLY=1")
    header_only(prefix, "CLI11", "CLI11::CLI11")
    header_only(prefix, "nlohmann_json", "nlohmann_json::nlohmann_json")

    sqlite = vendor / "libsqlite3-sys/sqlite3"
    library(folder, prefix, "sqlite3", [sqlite / "sqlite3.c"], ["-DSQLITE_THREADSAFE=1", "-DSQLITE_OMIT_LOAD_EXTENSION"])
    shutil.copy(sqlite / "sqlite3.h", prefix / "include")

    pcre2 = vendor / "pcre2-sys/upstream"
    included = {"pcre2_jit_match.c", "pcre2_jit_misc.c", "pcre2_ucptables.c"}  # by others of the sources
    library(folder, prefix, "pcre2-8", [s for s in sorted((pcre2 / "src").glob("*.c")) if s.name not in included],
            ["-DPCRE2_CODE_UNIT_WIDTH=8", "-DHAVE_CONFIG_H", "-DHAVE_STDLIB_H", "-DHAVE_MEMMOVE", "-DPCRE2_STATIC",
             "-DSTDC_HEADERS", "-DSUPPORT_PCRE2_8", "-DSUPPORT_UNICODE",
             "-I", pcre2 / "src", "-I", pcre2 / "deps", "-I", pcre2 / "include"])
    shutil.copy(pcre2 / "include/pcre2.h", prefix / "include")
    write(prefix / "lib/pkgconfig/libpcre2-8.pc",
          f"Name: libpcre2-8\nDescription: PCRE2\nVersion: 10\nCflags: -I{prefix}/include -DPCRE2_STATIC\nLibs: -L{prefix}/lib -lpcre2-8\n")

    if "linux" in target:  # where the tests can run
        tests = Path("/usr/src/googletest/googletest")
        library(folder, prefix, "gtest", [tests / "src/gtest-all.cc", tests / "src/gtest_main.cc"],
                ["-std=c++20", "-I", tests, "-I", tests / "include"])
        write(prefix / "lib/cmake/GTest/GTestConfig.cmake",
              f"add_library(GTest::gtest STATIC IMPORTED)\n"
              f"set_target_properties(GTest::gtest PROPERTIES IMPORTED_LOCATION \"{prefix}/lib/libgtest.a\"\n"
              f"  INTERFACE_INCLUDE_DIRECTORIES \"{prefix}/include\")\n"
              f"add_library(GTest::gtest_main INTERFACE IMPORTED)\n")


def emulator():
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("SMEPILOT_AARCH64_DIR", cache / "smepilot/aarch64")) / "bin/qemu-aarch64"


class Check:
    def __init__(self):
        self.failed = 0

    def step(self, target, what, command, **options):
        begin = time.monotonic()
        code, out = run(command, **options)
        print(f"{target}: {what}: {'passed' if code == 0 else 'FAILED'} ({time.monotonic() - begin:.0f} s)", flush=True)
        if code != 0:
            self.failed += 1
            print(out[-6000:])
        return code == 0

    def target(self, target, base, zig, vendor, headers, jobs):
        folder = base / target
        make_prefix(folder, zig, vendor, target, headers)
        runs = "linux" in target
        configured = self.step(target, "configure", [
            "cmake", "-S", ROOT, "-B", folder / "build", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DSMEPILOT_WERROR=ON",
            f"-DSMEPILOT_TESTS={'ON' if runs else 'OFF'}", f"-DCMAKE_TOOLCHAIN_FILE={ROOT}/scripts/cmake/zig-toolchain.cmake",
            f"-DSMEPILOT_ZIG_TARGET={target}", f"-DSMEPILOT_ZIG_DIR={folder}"])
        if not configured:
            return
        built = self.step(target, "build", ["ninja", "-k", "0", "-j", jobs, "-C", folder / "build", "--quiet", *PROGRAMS, *(map(os.path.basename, TESTS) if runs else [])])
        if not built or not runs:
            return
        qemu = emulator()
        if not qemu.exists():
            print(f"{target}: not run: {qemu} not found (scripts/setup_aarch64.sh installs it)")
            return
        for program in ("tuner/smetune", "engine/smepilot-run"):
            self.step(target, f"{program} --version", [qemu, folder / "build" / program, "--version"])
        for test in TESTS:
            self.step(target, test, [qemu, folder / "build" / test, "--gtest_brief=1"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=TARGETS, action="append", help="only this one (may be repeated)")
    parser.add_argument("--jobs", default=os.cpu_count(), type=int, help="compilers at a time")
    parser.add_argument("--headers", default=Path("/usr/include"), type=Path, help="where fmt/, CLI/, nlohmann/ and gtest/ are")
    args = parser.parse_args()
    for tool in ("cargo", "cmake", "ninja", "pkg-config"):
        if shutil.which(tool) is None:
            sys.exit(f"check_portability: {tool} not found")
    base = ROOT / "build/portability"
    base.mkdir(parents=True, exist_ok=True)
    zig, vendor = fetch(base)
    check = Check()
    for target in args.target or TARGETS:
        check.target(target, base, zig, vendor, args.headers, args.jobs)
    print(f"{check.failed} failed" if check.failed else "everything passed")
    return 1 if check.failed else 0


if __name__ == "__main__":
    sys.exit(main())
