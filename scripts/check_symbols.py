#!/usr/bin/env python3
"""Checks with nm what the objects of the ISA units export: constants named smepilot::kName, nothing else.

A weak or global function compiled with the flags of an ISA step may be the copy that the linker keeps for the whole
program, which then dies on an older machine. For the same reason an object may call only C functions.

usage: check_symbols.py [--nm NM] OBJECT...
       check_symbols.py --self-test
"""
import argparse
import re
import subprocess
import sys

CONSTANT = re.compile(r"_ZN8smepilot\d+k[A-Z]\w*E")
DATA = "RDBGS"  # read-only, relocated read-only or plain data; S: what macOS has beside text and data
# What sanitizers and coverage add to every object.
INSTRUMENTATION = re.compile(r"_*(?:start_|stop_)?(odr_asan|asan|ubsan|tsan|msan|sancov|llvm_|gcov|profc|DW\.ref)")


def check_object(name, lines):
    """The errors of one object and the number of its constants; lines are those of nm -P."""
    errors, constants = [], 0
    for line in lines:
        symbol, kind = line.split()[:2]
        symbol = re.sub(r"^__Z", "_Z", symbol)  # as macOS writes it
        if INSTRUMENTATION.match(symbol):
            continue
        if kind == "U":
            if symbol.startswith("_Z"):
                errors.append(f"{name}: uses {symbol}: only C functions may be called")
        elif kind in "wvWVu":
            errors.append(f"{name}: exports {symbol} ({kind}): weak, another object may get this copy")
        elif kind.isupper() and kind != "N":
            if kind in DATA and CONSTANT.fullmatch(symbol):
                constants += 1
            else:
                errors.append(f"{name}: exports {symbol} ({kind}): only constants smepilot::kName may leave")
    if constants == 0:
        errors.append(f"{name}: exports no descriptor")
    return errors, constants


def self_test():
    good = ["_ZN8smepilot8kMatmulFE R 0 30", "_ZN8smepilot12_GLOBAL__N_1L5helpEv t 0 10", "memcpy U"]
    planted = [
        ("_ZSt4sortIPfEvT_S1_ W 0 10", "weak"),
        ("_ZN8smepilot4helpEv T 0 10", "only constants"),
        ("_ZN8smepilot5kBadFEv T 0 10", "only constants"),
        ("helper T 0 10", "only constants"),
        ("_ZN8smepilot7counterE D 0 4", "only constants"),
        ("_ZN8smepilot5kTailE u 0 4", "weak"),
        ("_ZN3fmt2v96formatEv U", "only C functions"),
        ("__ZN3fmt2v96formatEv U", "only C functions"),
        ("__ZN8smepilot4helpEv T 0 0", "only constants"),
    ]
    good_macos = ["__ZN8smepilot9kNeonNormE S 260 0", "__ZN8smepilot12_GLOBAL__N_1L4helpEv t 0 0", "ltmp0 t 0 0", "_memcpy U"]
    failures = []
    for lines in (good, good_macos):
        if check_object("good.o", lines)[0]:
            failures.append(f"a correct object is refused: {check_object('good.o', lines)[0]}")
    for line, expected in planted:
        errors, _ = check_object("bad.o", good + [line])
        if not any(expected in e for e in errors):
            failures.append(f"{line}: expected '{expected}', found {errors}")
    if not check_object("empty.o", ["memcpy U"])[0]:
        failures.append("an object without a descriptor is accepted")
    print(f"{len(planted) + 1} planted mistakes, {len(failures)} not found as expected")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nm", default="nm")
    parser.add_argument("--self-test", action="store_true", help="show that planted mistakes are found")
    parser.add_argument("objects", nargs="*")
    args = parser.parse_args()
    if args.self_test:
        errors = self_test()
    else:
        errors, total = [], 0
        for path in args.objects:
            out = subprocess.run([args.nm, "-P", path], check=True, capture_output=True, text=True).stdout
            found, constants = check_object(path, out.splitlines())
            errors += found
            total += constants
        print(f"{len(args.objects)} objects, {total} constants: {len(errors)} mistakes")
        if not args.objects:
            errors.append("no object given: nothing was checked")
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
