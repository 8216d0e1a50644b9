#!/usr/bin/env python3
"""What runtime adaptation recovers when one core is taken by other work.

  scripts/prove_adapt.py -m model.gguf                      (test bed, prompt of 512, both cores in turn)
  scripts/prove_adapt.py -m model.gguf --test tg64 --cpus 1 --duty 0.5 --json out.json

A plan with fixed splits, balanced on the idle machine, is run idle, and with a busy process pinned to one core: as it
stands, with --adapt, and once more as it stands with the splits that are best under that load. The arms alternate, in
an order that reverses from round to round. Printed per loaded core: medians, ranges, and two recovered fractions,

  of the loss:        (adapted - static) / (idle - static)          the load keeps its part: 100 % cannot be had
  of what splits can: (adapted - static) / (best splits - static)   above 100 %: workers also changed places

The plan is --plan FILE, or the newest one of the database for this machine (`smetune search` makes it). Its dynamic
splits are made fixed (--keep-dynamic leaves them), as those balance a load by themselves; splits are then balanced by a
run with --adapt --learn on the idle machine, into a database of this script's own. Needs an otherwise idle machine, and
says so if it is not.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PERIOD = 0.02  # seconds: the load works and sleeps within that


def fail(message):
    sys.exit(f"prove_adapt.py: {message}")


def be_a_load(cpu, duty):
    """Keeps a core busy for that share of the time until it is ended, or its parent is gone."""
    os.sched_setaffinity(0, {cpu})
    parent = os.getppid()
    while os.getppid() == parent:
        begin = time.monotonic()
        while time.monotonic() - begin < PERIOD * duty:
            pass
        if duty < 1:
            time.sleep(PERIOD * (1 - duty))


class Load:
    """The busy process, for the time of a `with` block. Without a CPU: none."""

    def __init__(self, cpu, duty):
        self.cpu, self.duty, self.process = cpu, duty, None

    def __enter__(self):
        if self.cpu is not None:
            self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--load-process",
                                             str(self.cpu), str(self.duty)])
            time.sleep(0.2)
        return self

    def __exit__(self, *_):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def execute(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        fail(f"exit code {done.returncode}: {' '.join(command)}\n{done.stderr[-2000:]}")
    return done


def busy_fraction(seconds=1.0):
    """Of all CPUs, over a second: who else is working?"""
    def read():
        with open("/proc/stat", encoding="ascii") as f:
            t = [int(x) for x in f.readline().split()[1:]]
        return sum(t), t[3] + t[4]
    try:
        all0, idle0 = read()
        time.sleep(seconds)
        all1, idle1 = read()
        return 1 - (idle1 - idle0) / max(all1 - all0, 1)
    except OSError:
        return 0.0


class Bench:
    def __init__(self, o, folder):
        self.o, self.folder = o, folder
        self.db = os.path.join(folder, "prove.db")
        self.testbed = [] if o.no_testbed else ["--testbed"]

    def run(self, plan, cpu, adapt=False, learn=False, steps=None):
        """(tokens per second of each step, changes as dictionaries)"""
        kind, count = self.o.test[:2], self.o.test[2:]
        lengths = ["-p", count, "-n", "0"] if kind == "pp" else ["-p", "0", "-n", count]
        log = os.path.join(self.folder, "log.jsonl")
        command = [self.o.smepilot_run, "-m", self.o.model, *self.testbed, "--plan", plan, "--db", self.db, "--bench",
                   *lengths, "-r", str(steps or self.o.steps), "-o", "json"]
        if self.o.threads:
            command += ["-t", str(self.o.threads)]
        if adapt:
            command += ["--adapt", "--adapt-log", log] + (["--learn"] if learn else [])
        with Load(cpu, self.o.duty):
            rows = json.loads(execute(command).stdout)
        changes = []
        if adapt:
            with open(log, encoding="utf-8") as f:
                changes = [c for c in map(json.loads, f) if c["change"]]
        return rows[0]["samples_ts"], changes

    def learned(self, plan, cpu, name):
        """The plan that a run with --adapt makes of this one, or the same if it finds nothing to change."""
        _, changes = self.run(plan, cpu, adapt=True, learn=True, steps=max(8, self.o.steps))
        # What moved late has not run long enough to be learned: then there may be no database either.
        if not any("operator" in c for c in changes) or not os.path.exists(self.db):
            return plan
        path = os.path.join(self.folder, name)
        execute([self.o.smetune, "plan", "export", "--db", self.db, *self.testbed, "-o", path])
        return path


def starting_plan(o, bench):
    path = os.path.join(bench.folder, "plan.json")
    if o.plan:
        shutil.copy(o.plan, path)
    else:
        command = [o.smetune, "plan", "export", *bench.testbed, "-o", path] + (["--db", o.db] if o.db else [])
        execute(command)
    with open(path, encoding="utf-8") as f:
        plan = json.load(f)
    shared = [e for e in plan["entries"] if e.get("coop") and e["kind"] == "matmul"]
    if not shared:
        fail("the plan lets both units share no operator: nothing to prove")
    if not o.keep_dynamic:
        for e in shared:
            e["coop"]["dynamic"] = type(e["coop"]["dynamic"])(0)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(plan, f)
    return path


def middle(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "values": values}


def text(m, percent=False):
    if percent:
        return f"{100 * m['median']:.0f} % ({100 * m['low']:.0f} to {100 * m['high']:.0f})"
    return f"{m['median']:.1f} ({m['low']:.1f} to {m['high']:.1f})"


def measure(o, bench, plan, cpu):
    best = bench.learned(plan, cpu, f"best{cpu}.json")
    arms = {
        "idle": lambda: bench.run(plan, None),
        "static": lambda: bench.run(plan, cpu),
        "best splits": lambda: bench.run(best, cpu),
        "adapted": lambda: bench.run(plan, cpu, adapt=True),
    }
    rates = {arm: [] for arm in arms}
    settled, changes = [], []
    for i in range(o.rounds):
        for arm in arms if i % 2 == 0 else reversed(list(arms)):
            samples, found = arms[arm]()
            # All tokens by all time, the steps in which it was still adapting included.
            rates[arm].append(len(samples) / sum(1 / s for s in samples))
            if arm == "adapted":
                later = samples[len(samples) // 2:]
                settled.append(len(later) / sum(1 / s for s in later))
                changes.append(found)
        print(f"core {cpu}: round {i + 1} of {o.rounds} done", file=sys.stderr, flush=True)
    of_loss, of_loss_settled, of_best = [], [], []
    for idle, static, best_rate, adapted, late in zip(rates["idle"], rates["static"], rates["best splits"],
                                                      rates["adapted"], settled):
        of_loss.append((adapted - static) / (idle - static) if idle > static else float("nan"))
        of_loss_settled.append((late - static) / (idle - static) if idle > static else float("nan"))
        of_best.append((adapted - static) / (best_rate - static) if best_rate > static else float("nan"))
    return {
        "cpu": cpu, "duty": o.duty, "rates": {arm: middle(v) for arm, v in rates.items()}, "settled": middle(settled),
        "of_loss": middle(of_loss), "of_loss_settled": middle(of_loss_settled), "of_best_splits": middle(of_best),
        "changes": changes,
    }


def main():
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    build = os.path.join(here, "build/release")
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-m", "--model", required=True, help="GGUF file")
    p.add_argument("--plan", metavar="FILE", help="a plan instead of the database's newest")
    p.add_argument("--db", help="database that holds the plan (default: the programs' own)")
    p.add_argument("--test", default="pp512", help="ppN: prompts of N tokens, tgN: generation of N (default: pp512)")
    p.add_argument("--cpus", default="0,1", help="cores to load, one after the other (default: 0,1)")
    p.add_argument("--duty", type=float, default=1.0, help="share of the time that the load is busy (default: 1)")
    p.add_argument("-r", "--rounds", type=int, default=3, help="rounds (default: 3)")
    p.add_argument("--steps", type=int, default=12, help="repetitions of the test in a run (default: 12)")
    p.add_argument("-t", "--threads", type=int, default=0, help="workers (default: the plan's)")
    p.add_argument("--keep-dynamic", action="store_true", help="leave dynamic splits as they are")
    p.add_argument("--no-testbed", action="store_true", help="on a machine with a matrix unit of its own")
    p.add_argument("--bar", type=float, default=0.5, help="least fraction of the loss that must be recovered")
    p.add_argument("--json", metavar="FILE", help="also write everything as JSON")
    p.add_argument("--smepilot-run", default=os.path.join(build, "engine/smepilot-run"), metavar="PATH")
    p.add_argument("--smetune", default=os.path.join(build, "tuner/smetune"), metavar="PATH")
    o = p.parse_args()
    if o.test[:2] not in ("pp", "tg") or not o.test[2:].isdigit():
        fail(f"--test {o.test}: expected ppN or tgN")
    if not 0 < o.duty <= 1:
        fail(f"--duty {o.duty}: expected more than 0, at most 1")
    if o.rounds < 1 or o.steps < 2:
        fail("at least one round of two steps is needed")
    for path in (o.smepilot_run, o.smetune):
        if not os.access(path, os.X_OK):
            fail(f"{path}: not a program (build it, or name it by --smepilot-run and --smetune)")
    busy = busy_fraction()
    if busy > 0.05:
        print(f"prove_adapt.py: the machine is {100 * busy:.0f} % busy with other work: the figures will be off",
              file=sys.stderr)

    with tempfile.TemporaryDirectory(prefix="prove-adapt-") as folder:
        bench = Bench(o, folder)
        plan = starting_plan(o, bench)
        plan = bench.learned(plan, None, "balanced.json")
        results = []
        kept = "" if o.keep_dynamic else ", fixed splits"
        print(f"{os.path.basename(o.model)}, {o.test}{kept}; tokens/s, medians (ranges) of {o.rounds} rounds; measured\n")
        print("| loaded core | idle | static, loaded | best splits, loaded | adapted, loaded | once settled | "
              "recovered of the loss | once settled | of what splits can |")
        print("|" + " --- |" * 9, flush=True)
        for cpu in (int(c) for c in o.cpus.split(",")):
            r = measure(o, bench, plan, cpu)
            results.append(r)
            cells = [f"{cpu}, {100 * o.duty:.0f} %", *(text(r["rates"][a]) for a in
                                                      ("idle", "static", "best splits", "adapted")),
                     text(r["settled"]), text(r["of_loss"], True), text(r["of_loss_settled"], True),
                     text(r["of_best_splits"], True)]
            print("| " + " | ".join(cells) + " |", flush=True)
    reached = all(r["of_loss"]["median"] >= o.bar for r in results)
    print(f"\nbar, {100 * o.bar:.0f} % of the loss, time to adapt included: {'reached' if reached else 'NOT reached'}")
    if o.json:
        with open(o.json, "w", encoding="utf-8") as f:
            json.dump({"model": o.model, "test": o.test, "busy_before": busy, "bar": o.bar, "reached": reached,
                       "results": results}, f, indent=1)
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "--load-process":
        be_a_load(int(sys.argv[2]), float(sys.argv[3]))
    else:
        main()
