#!/usr/bin/env python3
"""Counts the instructions that matmul variants, and the matrix stages of attention, execute on Arm, under qemu-user:
what an emulator can say of their cost.

Per variant: instructions in all, per outer product (or per vg1x4 dot product where there are more of those), and bytes
loaded into registers, with whole vectors counted where a predicate may mask some of it. Only the kernel counts; packing
does not. Of attention, --m is query rows, --n positions and --k the head dimension.

  scripts/count_instructions.py                               the table of docs/sme_instruction_counts.md
  scripts/count_instructions.py matmul.f32.q8.q4_0.1vlx2vl.sme2.smopa --m 64 --n 256 --k 1024 --classes

Needs the aarch64 preset built (target count_call).
"""
import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRACE = re.compile(r"^Trace \d+: \S+ \[\w+/(\w+)/")
LINE = re.compile(r"^0x([0-9a-f]+):\s+([0-9a-f]{8})\b")
TYPES = ("q4_0", "q8_0", "q4_1", "q5_0", "q5_1", "iq4_nl", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k")
DEFAULT = [(f"matmul.f32.q8.{t}.1vlx2vl.sme2.smopa", 64) for t in TYPES]
DEFAULT += [("matmul.f32.q8.q8_0.1vlx4vl.sme2.smopa", 64)]
FEW_ROWS, ONE_ROW = ("q4_0", "q8_0", "q4_k"), ("q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q5_k", "q6_k")
DEFAULT += [(f"matmul.f32.q8.{t}.4x4vl.sme2.sdot", 1) for t in FEW_ROWS]
DEFAULT += [(f"matmul.f32.q8.{t}.1x1vl.sme2.sdot", 1) for t in ONE_ROW]
DEFAULT += [(f"matmul.f32.q8.{t}.4x4vl.sme2.sdot", 4) for t in FEW_ROWS]
DEFAULT += [(f"matmul.f32.q8.{t}.1vlx2vl.sme.smopa", 64) for t in TYPES]
FLOATS = (("f32", "2vlx2vl", "fmopa"), ("bf16", "2vlx2vl", "bfmopa"), ("f16", "2vlx2vl", "fmopa"))
DEFAULT += [(f"matmul.f32.{t}.{t}.{tile}.{step}.{name}", 64) for step in ("sme2", "sme") for t, tile, name in FLOATS]
STAGES = [(f"attention_tile.f32.f32.{kv}.4vlx1vl.{step}.fmopa", stage)
          for step in ("sme2", "sme") for kv in ("f16", "q8_0") for stage in ("scores", "values")]
STAGE_SHAPE = (64, 256, 128)  # query rows, positions, head dimension


def fail(message):
    sys.exit(f"count_instructions.py: {message}")


def functions(program, nm, argument):
    """(start, size) of the kernels' functions, local ones of a namespace, whose mangled name contains `argument`."""
    out = subprocess.run([nm, "--print-size", "--defined-only", program], check=True, capture_output=True, text=True)
    found = []
    for line in out.stdout.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2] == "t" and "_GLOBAL__N_1" in fields[3] and argument in fields[3]:
            found.append((int(fields[0], 16), int(fields[1], 16)))
    if not found:
        fail(f"{program}: no kernel function found")
    return found


def executed(command, ranges, cpu, qemu):
    """How often each instruction word within the ranges was executed."""
    counts, blocks, runs = collections.Counter(), {}, collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log")
        os.mkfifo(log)
        where = ",".join(f"0x{start:x}+0x{size:x}" for start, size in ranges)
        process = subprocess.Popen([*qemu, "-cpu", cpu, "-d", "in_asm,exec,nochain", "-dfilter", where, "-D", log, *command],
                                   stdout=subprocess.DEVNULL)

        def unblock():  # qemu may end before it opens the log
            process.wait()
            try:
                os.close(os.open(log, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                pass

        threading.Thread(target=unblock, daemon=True).start()
        block = None
        with open(log, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if trace := TRACE.match(line):
                    runs[int(trace[1], 16)] += 1
                elif instruction := LINE.match(line):
                    address = int(instruction[1], 16)
                    if block is None:
                        block = blocks[address] = []
                    block.append(instruction[2])
                elif line.startswith("IN:"):
                    block = None
        if process.wait() != 0:
            fail(f"exit code {process.returncode}: {' '.join(command)}")
    for address, times in runs.items():
        for word in blocks.get(address, ()):
            counts[word] += times
    return counts


def disassemble(words, mc):
    text = "\n".join(" ".join(f"0x{word[i:i + 2]}" for i in (6, 4, 2, 0)) for word in words)
    out = subprocess.run([mc, "--disassemble", "--triple=aarch64", "-mattr=+all"], input=text, check=True,
                         capture_output=True, text=True)
    lines = [line.strip() for line in out.stdout.splitlines() if line.strip() and not line.strip().startswith(".")]
    if len(lines) != len(words):
        fail(f"{len(lines)} instructions of {len(words)} words could be disassembled")
    return lines


def vectors(operands):
    """How many vector registers a load writes."""
    first = operands.split("}")[0]
    if span := re.search(r"z(\d+)\.\w+ - z(\d+)\.", first):
        return (int(span[2]) - int(span[1])) % 32 + 1
    return max(1, len(re.findall(r"\bz\d+\.", first))) if "{" in operands else 1


def loaded_bytes(name, operands, svl):
    if name.startswith("ld1rq"):
        return 16
    if re.fullmatch(r"ld[1-4]r?", name):  # NEON
        sizes = {"b": 1, "h": 2, "s": 4, "d": 8}
        lanes, element = re.search(r"\{ ?v\d+\.(\d*)([bhsd])", operands).groups()
        one = name.endswith("r") or lanes == ""
        each = sizes[element] * (1 if one else int(lanes))
        return each * len(re.findall(r"\bv\d+\.", operands.split("}")[0]))
    if name.startswith("ld1r"):
        return {"b": 1, "h": 2, "w": 4, "d": 8}[name[-1]]
    if re.fullmatch(r"ld(nt)?1s?[bhwd]", name):
        memory, element = {"b": 1, "h": 2, "w": 4, "d": 8}[name[-1]], {"b": 1, "h": 2, "s": 4, "d": 8}
        size = re.search(r"\.([bhsd])\b", operands)
        return vectors(operands) * svl * memory // element[size[1]]
    if name in ("ldr", "ldur") and operands[0] == "z":
        return 64 if operands.startswith("zt") else svl
    if name in ("ldr", "ldur", "ldp"):
        return {"x": 8, "w": 4, "q": 16, "d": 8, "s": 4, "h": 2, "b": 1}.get(operands[0], 0) * (2 if name == "ldp" else 1)
    return 0


def kind(name, operands):
    if re.search(r"mop[as]$", name):
        return "outer product"
    if re.fullmatch(r"[us]*dot|f?ml[as]l*", name) and "za." in operands:
        return "dot product into ZA" if name.endswith("dot") else "multiply-add into ZA"
    if name.startswith("f") and "za." in operands:
        return "multiply-add into ZA"
    if name.startswith("luti"):
        return "table"
    if name.startswith("ld"):
        return "load"
    if name.startswith("st"):
        return "store"
    if "za" in operands:
        return "ZA move"
    if re.search(r"\bz\d", operands):
        return "vector"
    return "scalar"


def measure(options, variant, shape, argument="MatmulArgs"):
    program = options.build / "tests/kernels/count_call"
    if not program.exists():
        fail(f"{program} is not there: build target count_call of the aarch64 preset")
    qemu = [options.qemu, "-L", options.sysroot]
    counts = executed([str(program), variant, *map(str, shape)], functions(program, options.nm, argument),
                      options.cpu.format(svl=options.svl), qemu)
    if not counts:
        fail(f"{variant}: nothing of it was executed")
    words = list(counts)
    classes, total, loaded = collections.Counter(), 0, 0
    for word, text in zip(words, disassemble(words, options.mc)):
        name, _, operands = text.partition("\t")
        times = counts[word]
        total += times
        loaded += times * loaded_bytes(name, operands.strip(), options.svl // 8)
        integer = kind(name, operands) == "outer product" and not name.startswith("f")
        classes["integer outer product" if integer else kind(name, operands)] += times
    return total, loaded, classes


def show(options, variant, what, measured):
    total, loaded, classes = measured
    products = max(classes[c] for c in ("integer outer product", "outer product", "dot product into ZA"))
    each = f"{total / products:.2f}" if products else "-"
    print(f"| {variant} | {what} | {total:,} | {products:,} | {each} | {loaded:,} |", flush=True)
    if options.classes:
        print("".join(f"|   {name} | | {times:,} | | | |\n" for name, times in classes.most_common()), end="")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = os.environ.get("SMEPILOT_AARCH64_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "smepilot/aarch64")
    parser.add_argument("variants", nargs="*", help="ids of variants (default: those of the tables)")
    parser.add_argument("--m", type=int, default=64)
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--k", type=int, default=1024)
    parser.add_argument("--svl", type=int, default=512, help="streaming vector length in bits")
    parser.add_argument("--cpu", default="max,sve=off,sme{svl}=on", help="QEMU CPU")
    parser.add_argument("--build", type=Path, default=ROOT / "build/aarch64")
    parser.add_argument("--qemu", default=os.path.join(cache, "bin/qemu-aarch64"))
    parser.add_argument("--sysroot", default=os.path.join(cache, "sysroot"))
    parser.add_argument("--nm", default="llvm-nm-22")
    parser.add_argument("--mc", default="llvm-mc-22")
    parser.add_argument("--classes", action="store_true", help="also say what kinds of instructions they are")
    options = parser.parse_args()
    stages = [(v, stage) for v in options.variants if v.startswith("attention") for stage in ("scores", "values")]
    matmuls = [(v, options.m) for v in options.variants if not v.startswith("attention")]
    if not options.variants:
        stages, matmuls = STAGES, DEFAULT
    if matmuls:
        print("| variant | m | instructions | products | instructions per product | bytes loaded |")
        print("|---|---|---|---|---|---|")
    for variant, m in matmuls:
        show(options, variant, m, measure(options, variant, (m, options.n, options.k)))
    if stages:
        print("\n" if matmuls else "", end="")
        print("| variant | stage | instructions | products | instructions per product | bytes loaded |")
        print("|---|---|---|---|---|---|")
    for variant, stage in stages:
        shape = (options.m, options.n, options.k) if options.variants else STAGE_SHAPE
        show(options, variant, stage, measure(options, variant, shape, f"streaming_{stage}I"))


if __name__ == "__main__":
    main()
