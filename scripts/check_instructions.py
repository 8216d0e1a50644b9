#!/usr/bin/env python3
"""Checks that the objects of an AArch64 ISA step hold no instruction of a step above it.

A compiler flag, an intrinsic or inline assembly can put, say, a dot product into a unit that runs on cores without it:
that core dies of SIGILL, and no test on a newer one shows it. Also forbidden is everything of SVE outside streaming
mode: machines with SME alone do not have it there. In the units of sme and sme2 that is followed along each function,
from `smstart sm` to `smstop sm`; nor may NEON instructions be in between. A function whose name contains "streaming" is
entered in streaming mode (kernels/sme/streaming.h).

usage: check_instructions.py [--objdump LLVM-OBJDUMP] STEP=OBJECT...     STEP: neon, dotprod, i8mm, bf16, fp16, sme, sme2, portable
       check_instructions.py --self-test
"""
import argparse
import re
import subprocess
import sys

# What an instruction, as llvm-objdump prints it, needs beyond the baseline.
FEATURES = [
    ("sve", re.compile(r"(^|[ ,{\[])[zp]\d+(\.[bhsdq]|/[zm]|$|[,}\] ])|^(rdvl|cntb|cnth|cntw|cntd|addvl|addpl|ptrue|setffr)\b")),
    ("sme", re.compile(r"^(smstart|smstop|rdsvl|addsvl|addspl)\b|(^|[ ,{\[])(za\d*|zt0)\b")),
    ("i8mm", re.compile(r"^(smmla|ummla|usmmla|usdot|sudot)\s+v")),
    ("dotprod", re.compile(r"^(sdot|udot)\s+v")),
    ("bf16", re.compile(r"^(bfdot|bfmmla|bfmlal[bt]|bfcvtn?2?)\s+[vh]")),
    ("fp16", re.compile(r"^f(?!cvt[ln]2?\b|mlal|mlsl)\w+\s.*\bv\d+\.(4h|8h|h\[)|^f(?!cvt\s)\w+\s+h\d+")),
    ("fhm", re.compile(r"^f(mlal|mlsl)2?\b")),
    ("rdm", re.compile(r"^sqrdml[as]h\b")),
    ("lse", re.compile(r"^(cas|swp|ld(add|clr|eor|set|smax|smin|umax|umin))[abhlp]*\s+[wx]")),
]
ALLOWED = {
    "portable": set(),
    "neon": set(),
    "dotprod": {"dotprod", "rdm", "lse"},  # armv8.2-a
    "i8mm": {"dotprod", "i8mm", "rdm", "lse"},
    "bf16": {"bf16", "rdm", "lse"},
    "fp16": {"fp16", "rdm", "lse"},
    "sme": {"sme"},
    "sme2": {"sme"},
}
FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
NEON = re.compile(r"\bv\d+\.(8b|16b|4h|8h|2s|4s|1d|2d|[bhsd]\[)")
LINE = re.compile(r"^\s*[0-9a-f]+:\s+[0-9a-f]{8}\s+(.*)$")


def needs(instruction):
    text = re.sub(r"\s+", " ", instruction.split("//")[0].split(" <")[0]).strip()
    return {feature for feature, pattern in FEATURES if pattern.search(text)}


def check_object(step, name, lines):
    """The errors of one object and the number of its instructions; lines are those of llvm-objdump -d."""
    errors, count, streaming = [], 0, False
    for line in lines:
        match = LINE.match(line)
        if not match:
            if function := FUNCTION.match(line):
                streaming = step in ("sme", "sme2") and "streaming" in function[1]
            continue
        count += 1
        extra = needs(match[1]) - ALLOWED[step]
        if re.match(r"smst(art|op)\s+sm\b|smst(art|op)$", match[1].strip()):
            streaming = match[1].startswith("smstart")
        if streaming:
            extra.discard("sve")
            if NEON.search(match[1]):
                extra.add("to be outside streaming mode")
        if extra:
            errors.append(f"{name}: {match[1].strip()}: needs {', '.join(sorted(extra))}, the unit is {step}")
    if count == 0:
        errors.append(f"{name}: no instructions: is this an AArch64 object?")
    return errors, count


def self_test():
    planted = [
        ("neon", "sdot\tv0.4s, v1.16b, v2.4b[0]", "dotprod"),
        ("neon", "udot\tv0.4s, v1.16b, v2.16b", "dotprod"),
        ("dotprod", "smmla\tv0.4s, v1.16b, v2.16b", "i8mm"),
        ("dotprod", "usdot\tv0.4s, v1.16b, v2.4b[1]", "i8mm"),
        ("neon", "bfdot\tv0.4s, v1.8h, v2.8h", "bf16"),
        ("neon", "fmla\tv0.8h, v1.8h, v2.h[3]", "fp16"),
        ("neon", "fadd\th0, h1, h2", "fp16"),
        ("fp16", "fmlal\tv0.4s, v1.4h, v2.4h", "fhm"),
        ("neon", "ld1w\t{ z0.s }, p0/z, [x0]", "sve"),
        ("portable", "cntd\tx0", "sve"),
        ("portable", "ldr\tz0, [x0]", "sve"),
        ("dotprod", "addvl\tsp, sp, #-1", "sve"),
        ("dotprod", "smstart\tsm", "sme"),
        ("neon", "ldaddal\tw0, w1, [x2]", "lse"),
        ("sme2", "cntd\tx0", "sve"),
        ("sme2", "mov\tz0.d, z1.d", "sve"),
        ("sme", "sdot\tv0.4s, v1.16b, v2.4b[0]", "dotprod"),
        ("sme", "bfdot\tv0.4s, v1.8h, v2.8h", "bf16"),
    ]
    streaming, other = "0000000000000000 <_ZN1z14streaming_bodyEv>:", "0000000000000020 <_ZN1z5entryEv>:"
    modes = [  # instructions of a unit, and how many mistakes they are
        ("sme2", ["smstart\tsm", "ptrue\tp0.b", "smstop\tsm"], 0),
        ("sme2", ["smstart\tsm", "smstop\tsm", "ptrue\tp0.b"], 1),
        ("sme2", ["smstart\tsm", "add\tv0.4s, v1.4s, v2.4s", "smstop\tsm"], 1),
        ("sme2", ["smstart\tza", "ptrue\tp0.b"], 1),
        ("sme", [streaming, "ptrue\tp0.b"], 0),
        ("sme2", ["smstart\tsm", "bfdot\tza.s[w8, 0, vgx4], { z4.h - z7.h }, z1.h[0]", "smstop\tsm"], 0),
        ("sme2", [streaming, "sdot\tza.s[w8, 0, vgx4], { z0.b - z3.b }, z4.b[0]"], 0),
        ("sme", [streaming, "ptrue\tp0.b", "add\tv0.4s, v1.4s, v2.4s"], 1),
        ("sme", [streaming, "ptrue\tp0.b", other, "ptrue\tp0.b"], 1),
        ("sme", [other, "smstart", "blr\tx2", "smstop", "cntd\tx0"], 1),
        ("neon", [streaming, "ptrue\tp0.b"], 1),
    ]
    fine = [
        ("neon", "fmla\tv0.4s, v1.4s, v2.s[3]"),
        ("neon", "fcvtl\tv0.4s, v1.4h"),
        ("neon", "fcvtl2\tv0.4s, v1.8h"),
        ("neon", "fcvtn\tv0.4h, v1.4s"),
        ("neon", "fcvt\th0, s1"),
        ("neon", "ldr\th0, [x1]"),
        ("neon", "smlal2\tv0.8h, v1.16b, v2.16b"),
        ("neon", "ldp\tq0, q1, [x0]"),
        ("neon", "b\t0x40 <_ZN1z1pEz0.s>"),
        ("neon", "prfm\tpldl1keep, [x0]"),
        ("dotprod", "sdot\tv0.4s, v1.16b, v2.4b[0]"),
        ("i8mm", "smmla\tv0.4s, v1.16b, v2.16b"),
        ("fp16", "fmla\tv0.8h, v1.8h, v2.8h"),
    ]
    failures = []
    for step, text, feature in planted:
        errors, _ = check_object(step, "bad.o", [f"       0: 00000000     \t{text}"])
        if len(errors) != 1 or f"needs {feature}" not in errors[0]:
            failures.append(f"{step}: {text}: expected 'needs {feature}', found {errors}")
    for step, text in fine:
        errors, _ = check_object(step, "good.o", [f"       0: 00000000     \t{text}"])
        if errors:
            failures.append(f"{step}: {text}: refused: {errors}")
    for step, instructions, mistakes in modes:
        lines = [text if text.endswith(":") else f"       0: 00000000     \t{text}" for text in instructions]
        errors, _ = check_object(step, "mode.o", lines)
        if len(errors) != mistakes:
            failures.append(f"{step}: {instructions}: expected {mistakes} mistakes, found {errors}")
    if not check_object("neon", "empty.o", ["empty.o:\tfile format elf64-littleaarch64"])[0]:
        failures.append("an object without instructions is accepted")
    print(f"{len(planted) + len(modes) + 1} planted mistakes, {len(failures)} not found as expected")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objdump", default="llvm-objdump")
    parser.add_argument("--self-test", action="store_true", help="show that planted mistakes are found")
    parser.add_argument("objects", nargs="*", metavar="STEP=OBJECT")
    args = parser.parse_args()
    if args.self_test:
        errors = self_test()
    else:
        if not args.objects:
            parser.error("no objects")
        errors, total = [], 0
        for item in args.objects:
            step, _, path = item.partition("=")
            if step not in ALLOWED:
                parser.error(f"unknown step '{step}' in '{item}'; known are {', '.join(ALLOWED)}")
            out = subprocess.run([args.objdump, "-d", "--mattr=+all", path], check=True, capture_output=True, text=True)
            found, count = check_object(step, path, out.stdout.splitlines())
            errors += found
            total += count
        print(f"{len(args.objects)} objects, {total} instructions: {len(errors)} mistakes")
    for error in errors[:50]:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
