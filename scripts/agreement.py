#!/usr/bin/env python3
"""How often independent searches decide alike.

  scripts/agreement.py --db ~/.local/share/smepilot/smepilot.db                   (attention of llama-3.2-3b, 6 searches)
  scripts/agreement.py --model llama-3.2-1b --op ffn_down,attn_q --m 1,8,512 --runs 4
  scripts/agreement.py --compare old/smetune                                      (two builds in turns)

Each search is a process of its own, on a copy of the database (whose calibration of this machine it takes), and measures
everything again. Printed per program: for each operator that was not decided alike every time, what was chosen how
often and what that takes by the untuned default's time; then how many pairs of searches agree, over all operators.
Needs an otherwise idle machine.
"""
import argparse
import collections
import contextlib
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tempfile


def fail(message):
    sys.exit(f"agreement.py: {message}")


def default_database():
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "smepilot", "smepilot.db")


def search(program, args, folder):
    db = os.path.join(tempfile.mkdtemp(dir=folder), "copy.db")
    with contextlib.closing(sqlite3.connect(f"file:{args.db}?mode=ro", uri=True)) as source:
        with contextlib.closing(sqlite3.connect(db)) as copy:
            source.backup(copy)
    command = [program, "search", "--model", args.model, "--fresh", "--json", "--db", db, "--budget", str(args.budget)]
    for option in ("op", "m", "context"):
        if getattr(args, option):
            command += ["--" + option, getattr(args, option)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode != 0:
        fail(f"{' '.join(command)}: exit code {ran.returncode}: {ran.stderr.strip()}")
    return json.loads(ran.stdout)


def operator(entry):
    attention = f" kv={entry['measured_kv']}" if entry["measured_kv"] else ""
    return f"{entry['kind']} {entry['dtype']} m={entry['measured_m']} n={entry['n']} k={entry['k']}{attention}"


def choice(entry):
    blocking = "/".join(str(entry[x]) for x in ("mc", "nc", "kv_tile", "kv_splits"))
    return f"{'.'.join(entry['variant'].split('.')[-2:])} x{entry['workers']} {blocking}"


def report(name, results):
    """Lines for one program, and the pairs of searches that agree, of all pairs."""
    decided = collections.defaultdict(list)
    for result in results:
        for entry in result["entries"]:
            if entry["measured_m"]:
                decided[operator(entry)].append(entry)
    alike = pairs = 0
    lines = []
    for key, entries in decided.items():
        choices = [choice(e) for e in entries]
        two = list(itertools.combinations(choices, 2))
        pairs += len(two)
        alike += sum(a == b for a, b in two)
        if len(set(choices)) > 1:
            counts = ", ".join(f"{n} of {len(choices)} {c}" for c, n in collections.Counter(choices).most_common())
            ratios = " ".join(f"{e['measured_ns'] / e['default_ns']:.3f}" for e in entries if e["default_ns"] > 0)
            lines.append(f"  {key}: {counts}; by the default's time {ratios}")
    seconds = " ".join(f"{r['seconds']:.0f}" for r in results)
    lines.append(f"  {len(decided)} operators, {len(results)} searches ({seconds} s): {alike} of {pairs} pairs agree")
    return [name] + lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--smetune", default=os.path.join(here, "build", "release", "tuner", "smetune"))
    parser.add_argument("--compare", metavar="SMETUNE", help="another build, in turns with the first one")
    parser.add_argument("--db", default=default_database(), help="with a calibration of this machine")
    parser.add_argument("--model", default="llama-3.2-3b")
    parser.add_argument("--op", default="attention", help="as smetune search --op; '' for all")
    parser.add_argument("--m", default="", help="as smetune search --m")
    parser.add_argument("--context", default="512", help="as smetune search --context")
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--budget", type=float, default=120, help="seconds of each search")
    args = parser.parse_args()
    if args.runs < 2:
        parser.error("--runs: two searches at least")
    programs = [args.smetune] + ([args.compare] if args.compare else [])
    for path in programs + [args.db]:
        if not os.path.exists(path):
            fail(f"{path}: no such file")
    results = {p: [] for p in programs}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.runs):
            for program in programs:
                results[program].append(search(program, args, folder))
    for program in programs:
        print("\n".join(report(program, results[program])))


if __name__ == "__main__":
    main()
