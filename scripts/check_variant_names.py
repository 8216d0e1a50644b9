#!/usr/bin/env python3
"""Checks the ids of kernel variants, read from the string literals of kernels/<operator>/*.

An id has seven fields separated by dots:

    op.dst.lhs.rhs.tile.isa.instruction        matmul.f32.q8.q4_0.2x16.portable.mul

    op           an operator of kernels/abi/operator_shape.h
    dst lhs rhs  element types of kernels/abi/dtype.h. norm, rope, swiglu, softmax: f32 all three; attention: lhs is the
                 queries, rhs the cache; quantize: lhs is the input, rhs repeats it
    tile         rows x columns of the register tile (4x16); either may count vectors of run-time length (4vlx1vl)
    isa          a step of kernels/abi/isa.h, the same as in the name of the file (*_<isa>.cc)
    instruction  what does the work, or what tells it from its siblings: lower-case letters, digits, underscores

Ids are unique, and every descriptor of the sources is in kernels/registry/variants.inc, under the preprocessor condition
of its ISA step, and nothing else is: what is not listed is neither tested nor measured.

usage: check_variant_names.py [--root DIR] [--self-test]
"""
import argparse
import re
import sys
from pathlib import Path

TILE = re.compile(r"[1-9]\d*(vl)?x[1-9]\d*(vl)?")
INSTRUCTION = re.compile(r"[a-z][a-z0-9_]*")
DEFINITION = re.compile(r"^(?:extern\s+)?(?:const|constexpr)\s+KernelVariant\s+(k\w+)\s*=", re.MULTILINE)


class Vocabulary:
    def __init__(self, root):
        abi = root / "kernels/abi"
        names = re.search(r"kOpNames\[\] = \{([^}]*)\}", (abi / "operator_shape.h").read_text()).group(1)
        self.ops = set(re.findall(r'"(\w+)"', names))
        traits = (abi / "dtype.h").read_text()
        self.dtypes = set(re.findall(r'\{"(\w+)", \d+, \d+', traits))
        self.isas = set(re.findall(r'\{kIsa\w+, "(\w+)"', (abi / "isa.h").read_text()))
        if not (self.ops and self.dtypes and self.isas):
            raise SystemExit("check_variant_names: cannot read operators, element types or ISA steps from kernels/abi")
        self.literal = re.compile(r'"((?:' + "|".join(sorted(self.ops)) + r')\.[^"]*)"')


def check_id(vocabulary, variant_id, file_isa):
    """The errors of one id found in a file of ISA step `file_isa` (None: the file name has no step)."""
    fields = variant_id.split(".")
    if len(fields) != 7:
        return [f"has {len(fields)} fields, expected 7: op.dst.lhs.rhs.tile.isa.instruction"]
    op, dst, lhs, rhs, tile, isa, instruction = fields
    errors = []
    if op not in vocabulary.ops:
        errors.append(f"unknown operator '{op}'")
    for field, value in (("dst", dst), ("lhs", lhs), ("rhs", rhs)):
        if value not in vocabulary.dtypes:
            errors.append(f"{field} '{value}' is no element type")
    if not TILE.fullmatch(tile):
        errors.append(f"tile '{tile}' is not like 4x16 or 4vlx1vl")
    if isa not in vocabulary.isas:
        errors.append(f"'{isa}' is no ISA step")
    elif isa != file_isa:
        errors.append(f"its ISA step is '{isa}', the file's is '{file_isa}'")
    if not INSTRUCTION.fullmatch(instruction):
        errors.append(f"instruction '{instruction}' is not lower-case letters, digits and underscores")
    return errors


def file_step(vocabulary, name):
    step = Path(name).stem.rsplit("_", 1)[-1]
    return step if step in vocabulary.isas else None


def listed_symbols(text):
    """Symbols of variants.inc with the ISA step whose condition surrounds them."""
    symbols, condition = [], "portable"
    for line in text.splitlines():
        if match := re.match(r"#if defined\(SMEPILOT_BUILT_(\w+)\)", line):
            condition = match.group(1).lower()
        elif line.startswith("#endif"):
            condition = "portable"
        elif match := re.match(r"SMEPILOT_VARIANT\((\w+)\)", line):
            symbols.append((match.group(1), condition))
    return symbols


def check(vocabulary, files, variants_inc):
    errors, seen, defined = [], {}, {}
    for name, text in files.items():
        step = file_step(vocabulary, name)
        for variant_id in vocabulary.literal.findall(text):
            errors += [f"{name}: {variant_id}: {e}" for e in check_id(vocabulary, variant_id, step)]
            if variant_id in seen:
                errors.append(f"{name}: {variant_id} is also in {seen[variant_id]}")
            seen[variant_id] = name
        for symbol in DEFINITION.findall(text):
            defined[symbol] = (name, step)
    listed = listed_symbols(variants_inc)
    for symbol, condition in listed:
        if symbol not in defined:
            errors.append(f"variants.inc: {symbol} is defined nowhere")
        elif defined[symbol][1] != condition:
            errors.append(f"variants.inc: {symbol} stands under '{condition}', its file is of '{defined[symbol][1]}'")
    names = [symbol for symbol, _ in listed]
    errors += [f"variants.inc: {symbol} is listed twice" for symbol in sorted({s for s in names if names.count(s) > 1})]
    errors += [f"{defined[symbol][0]}: {symbol} is not in variants.inc" for symbol in sorted(set(defined) - set(names))]
    if len(seen) != len(defined):
        errors.append(f"{len(seen)} ids but {len(defined)} descriptors: each descriptor has one id, written out")
    return errors, len(seen)


def self_test(vocabulary):
    file = "kernels/matmul/matmul_portable.cc"
    good_id = "matmul.f32.q8.q4_0.2x16.portable.mul"

    def errors_of(variant_id, name=file, inc="SMEPILOT_VARIANT(kA)\n", text='const KernelVariant kA = {"%s"};\n'):
        return check(vocabulary, {name: text % variant_id}, inc)[0]

    planted = [
        ("matmul.f32.q8.q4_0.2x16.portable", {}, "6 fields"),
        ("matmul.f32.q8.q4_0.2x16.portable.mul.x", {}, "8 fields"),
        ("matmul.f32.q8.q5_9.2x16.portable.mul", {}, "no element type"),
        ("matmul.f32.q8.q4_0.2by16.portable.mul", {}, "not like 4x16"),
        ("matmul.f32.q8.q4_0.2x16.mmx.mul", {}, "no ISA step"),
        ("matmul.f32.q8.q4_0.2x16.avx2.mul", {}, "the file's is 'portable'"),
        ("matmul.f32.q8.q4_0.2x16.portable.MUL", {}, "lower-case"),
        (good_id, {"name": "kernels/matmul/matmul.cc"}, "the file's is 'None'"),
        (good_id, {"inc": ""}, "not in variants.inc"),
        (good_id, {"inc": "SMEPILOT_VARIANT(kA)\nSMEPILOT_VARIANT(kB)\n"}, "kB is defined nowhere"),
        (good_id, {"inc": "SMEPILOT_VARIANT(kA)\nSMEPILOT_VARIANT(kA)\n"}, "listed twice"),
        (good_id, {"inc": "#if defined(SMEPILOT_BUILT_AVX2)\nSMEPILOT_VARIANT(kA)\n#endif\n"}, "stands under 'avx2'"),
        (good_id, {"text": 'const KernelVariant kA = {"%s"};\nconst char* x = "' + good_id + '";\n'}, "is also in"),
    ]
    failures = []
    if errors_of(good_id):
        failures.append(f"a correct id is refused: {errors_of(good_id)}")
    for variant_id, change, expected in planted:
        errors = errors_of(variant_id, **change)
        if not any(expected in e for e in errors):
            failures.append(f"{variant_id} {change}: expected '{expected}', found {errors}")
    print(f"{len(planted)} planted mistakes, {len(failures)} not found as expected")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--self-test", action="store_true", help="show that planted mistakes are found")
    args = parser.parse_args()
    vocabulary = Vocabulary(args.root)
    if args.self_test:
        errors = self_test(vocabulary)
    else:
        files = {}
        for path in sorted((args.root / "kernels").glob("*/*")):
            if path.suffix in (".cc", ".h") and path.parent.name not in ("abi", "base", "isa", "registry", "driver"):
                files[path.relative_to(args.root).as_posix()] = path.read_text()
        errors, count = check(vocabulary, files, (args.root / "kernels/registry/variants.inc").read_text())
        print(f"{count} variants: {len(errors)} mistakes")
        if count == 0:
            errors.append("no variant found: the check looked in the wrong place")
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
