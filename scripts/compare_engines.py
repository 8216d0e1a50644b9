#!/usr/bin/env python3
"""Times smepilot-run beside llama-bench: same file, same threads, alternating runs, medians.

  scripts/compare_engines.py -m model.gguf --llama-bench PATH/llama-bench
  scripts/compare_engines.py -m a.gguf -m b.gguf -p 512 -n 64 -t 2 -r 5 --plan db \\
      --llama-bench llama.cpp=PATH/llama-bench --llama-bench ik=PATH2/llama-bench --peer-args ik="-rtr 1 -fa 1" --json out.json

Each round runs every engine once, in an order that reverses from round to round, so that a drift of the machine hits
all alike. Printed: the median rate of each engine and the median of the per-round ratios, with its range.

  scripts/compare_engines.py ... -p 0 -n 64 -r 20 --by-placement

The cores of a virtual machine may be moved between parts of the processor that share a cache, which changes what memory
gives them. --by-placement asks tests/bench/bench_pool before and after every run how long two workers take to start and
to end together ("fork/join"), and sorts the runs by that: what is up to 1.6 times the least is one place, the rest may
be another. A run during which it changed, or beside which something else had a core, counts for neither. Printed for
each place: the median rate of each engine and the ratios of the medians.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys


PLACES_APART = 1.6  # ratio of fork and join


def fail(message):
    sys.exit(f"compare_engines.py: {message}")


def run(command, what):
    """Rows of a program that prints llama-bench's JSON."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        fail(f"{what}: {reason}: {shlex.join(command)}\n{done.stderr[-2000:]}")
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as e:
        fail(f"{what}: its output is not JSON ({e}): {done.stdout[:200]!r}")


def measure(engine, model, test, options):
    """Tokens per second of one run of one test."""
    kind, count = test
    lengths = ["-p", str(count), "-n", "0"] if kind == "pp" else ["-p", "0", "-n", str(count)]
    common = ["-m", model, "-t", str(options.threads), "-r", "1", "-o", "json", *lengths]
    if engine == "smepilot":
        command = [options.smepilot_run, "--bench", "--plan", options.plan, *common]
        if options.db:
            command += ["--db", options.db]
    else:
        command = [options.peers[engine], *common, *shlex.split(options.peer_args.get(engine, ""))]
    rows = run(command, engine)
    if len(rows) != 1 or not rows[0].get("avg_ts"):
        fail(f"{engine}: expected one row with avg_ts, found {len(rows)} rows: {shlex.join(command)}")
    return rows[0]["avg_ts"]


def fork_join(options):
    """Nanoseconds that two workers take to start and to end together."""
    rows = run([options.bench_pool, "--benchmark_filter=^fork_join/workers=2/", "--benchmark_min_time=0.002",
                "--benchmark_repetitions=5", "--benchmark_format=json"], "bench_pool")
    medians = [row["real_time"] for row in rows["benchmarks"] if row.get("aggregate_name") == "median"]
    if not medians:
        fail(f"{options.bench_pool}: no median of fork_join/workers=2: --by-placement needs two cores")
    return medians[0]


def places(samples):
    """Ranges of fork and join, of one place or of two. Disturbances only add time: so the nearer place has what is little
    above the least, and the other one, if there are a tenth of all samples for it, what is about their median."""
    near = min(samples) * PLACES_APART
    ranges = [(0, near)]
    others = [ns for ns in samples if ns > near]
    if 10 * len(others) >= len(samples):
        ranges.append((near, statistics.median(others) * PLACES_APART))
    return ranges


def line(name, test, samples, ratios):
    """Of the table: the median of each engine's samples, and of each peer's ratios, with their range if they are several."""
    cells = [f"{statistics.median(values):.1f}" if values else "-" for values in samples.values()]
    for values in ratios:
        text = f"{statistics.median(values):.2f}" if values else "-"
        cells.append(f"{text} ({min(values):.2f}-{max(values):.2f})" if len(values) > 1 else text)
    return f"| {name} | {test} | " + " | ".join(cells) + " |"


def lines_by_place(name, test, samples, around, peers):
    """Of the table, one for each place. around: of each run of each engine, fork and join before and after it."""
    for low, high in places([ns for pairs in around.values() for pair in pairs for ns in pair]):
        inside = {e: [i for i, pair in enumerate(around[e]) if all(low < ns <= high for ns in pair)] for e in samples}
        if not any(inside.values()):
            continue
        chosen = {e: [samples[e][i] for i in inside[e]] for e in samples}
        ns = statistics.median(ns for e in samples for i in inside[e] for ns in around[e][i])
        ratios = [[statistics.median(chosen["smepilot"]) / statistics.median(chosen[e])] if chosen["smepilot"] and chosen[e] else []
                  for e in peers]
        runs = ", ".join(str(len(values)) for values in chosen.values())
        yield line(name, f"{test}, fork/join {ns:.0f} ns, {runs} runs", chosen, ratios)


def named(values, option):
    out = {}
    for value in values:
        name, sep, rest = value.partition("=")
        if not sep and option == "--llama-bench":
            name, rest = "llama.cpp", value
        elif not sep:
            fail(f"{option} {value!r}: expected NAME=VALUE")
        out[name] = rest
    return out


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-m", "--model", action="append", required=True, help="GGUF file; repeatable")
    p.add_argument("--llama-bench", action="append", required=True, metavar="[NAME=]PATH", help="peer; repeatable")
    p.add_argument("--peer-args", action="append", default=[], metavar="NAME=ARGS", help="more arguments for a peer")
    p.add_argument("--smepilot-run", default=os.path.join(here, "build/release/engine/smepilot-run"), metavar="PATH")
    p.add_argument("--bench-pool", default=os.path.join(here, "build/release/tests/bench/bench_pool"), metavar="PATH")
    p.add_argument("--plan", default="auto", help="smepilot-run's --plan (default: auto)")
    p.add_argument("--db", help="smepilot-run's --db")
    p.add_argument("-p", "--n-prompt", default="512", help="prompt lengths, comma-separated, 0: none (default: 512)")
    p.add_argument("-n", "--n-gen", default="64", help="generation lengths, comma-separated, 0: none (default: 64)")
    p.add_argument("-t", "--threads", type=int, default=os.cpu_count())
    p.add_argument("-r", "--rounds", type=int, default=5, help="rounds (default: 5)")
    p.add_argument("--by-placement", action="store_true", help="sort runs by where the cores were, see above")
    p.add_argument("--json", metavar="FILE", help="also write all samples")
    o = p.parse_args()
    o.peers, o.peer_args = named(o.llama_bench, "--llama-bench"), named(o.peer_args, "--peer-args")
    for path in [o.smepilot_run, *o.peers.values(), *([o.bench_pool] if o.by_placement else [])]:
        if not os.access(path, os.X_OK):
            fail(f"{path}: not a program")
    tests = [("pp", int(x)) for x in o.n_prompt.split(",") if int(x)] + [("tg", int(x)) for x in o.n_gen.split(",") if int(x)]
    engines = ["smepilot", *o.peers]

    results = []
    header = "| model | test | " + " | ".join(f"{e} t/s" for e in engines) + " | "
    header += " | ".join(f"smepilot / {e}" for e in o.peers) + " |"
    print(header + "\n|" + " --- |" * header.count(" | ") + " --- |", flush=True)
    for model in o.model:
        for test in tests:
            samples, around = {e: [] for e in engines}, {e: [] for e in engines}
            for i in range(o.rounds):
                for e in engines if i % 2 == 0 else reversed(engines):
                    before = fork_join(o) if o.by_placement else 0
                    samples[e].append(measure(e, model, test, o))
                    if o.by_placement:
                        around[e].append((before, fork_join(o)))
                    if sys.stderr.isatty():
                        print(f"\r{os.path.basename(model)} {test[0]}{test[1]}: round {i + 1} of {o.rounds} ", end="", file=sys.stderr)
            if sys.stderr.isatty():
                print("\r" + " " * 78 + "\r", end="", file=sys.stderr)
            name, text = os.path.basename(model), f"{test[0]}{test[1]}"
            result = {"model": model, "test": text, "threads": o.threads, "samples_ts": samples}
            if o.by_placement:
                result["fork_join_ns"] = around
                for printed in lines_by_place(name, text, samples, around, o.peers):
                    print(printed, flush=True)
            else:
                ratios = [[a / b for a, b in zip(samples["smepilot"], samples[e])] for e in o.peers]
                print(line(name, text, samples, ratios), flush=True)
            results.append(result)
    if o.json:
        with open(o.json, "w", encoding="utf-8") as f:
            json.dump(results, f, indent=1)


if __name__ == "__main__":
    main()
