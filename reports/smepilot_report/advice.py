"""What to do next, from what the rows show: each step with its reason and the exact command."""

import os
import shlex
from dataclasses import dataclass

from smepilot_report.end_to_end import ROLES, test_name
from smepilot_report.summary import BUSY_LIMIT, NOISE_LIMIT
from smepilot_report.text import clean, percent, pluralise, ratio

BASELINES = {  # options of smepilot-run that make a run of a role
    "untuned": ("--plan", "none"),
    "cpu": ("--plan", "none", "--mode", "cpu"),
    "roofline": ("--plan", "roofline"),
}
USUAL_TESTS = [(512, 0, 0, 1, "f16"), (0, 128, 0, 1, "f16")]  # of smepilot-run --bench
REPETITIONS = 10  # so that an interval of 95 % leaves out the extremes


@dataclass
class Action:
    what: str
    why: str
    command: str = ""  # "": nothing to run


def actions(data, models):
    """Actions in order of what they are worth. models: (ModelData, its comparisons), the one shown first first."""
    out = list(_machine(data))
    for model, comparisons in models:
        out += _plan(data, model)
        out += _gain(data, model, comparisons)
        out += _baselines(data, model, comparisons)
    if data.platform is not None and not models:
        out.append(
            Action(
                "Search a model",
                "no model has been searched or run on this machine",
                f"smetune search --model MODEL.gguf {_db(data)}",
            )
        )
    if models and (data.trace_path is None or not data.conversions()):
        out.append(_look_inside(data, models[0][0]))
    return out


def model_path(model):
    """As it was given on a command line that is stored, else the name of its file."""
    rows = sorted(model.benches, key=lambda row: (row["created"], row["id"]))
    file = rows[-1]["model_file"] if rows else None
    for row in [*rows[::-1], model.search]:
        words = row["command"].split() if row else []
        for option, value in zip(words, words[1:], strict=False):
            name = os.path.basename(value)
            if option in ("-m", "--model") and (name == file or (file is None and name.endswith(".gguf"))):
                return value
    return file or model.model["name"]


def _db(data):
    return f"--db {_quote(data.path)}"


def _quote(value):
    return shlex.quote(clean(value))


def _machine(data):
    command = f"smetune calibrate {_db(data)}"
    calibration = data.calibration
    if calibration is None:
        why = "ceilings, predictions and the noise floor are unknown without it"
        yield Action("Calibrate this machine", why, command)
        return
    problems = []
    if calibration["busy_fraction"] > BUSY_LIMIT:
        problems.append(f"other programs took {percent(calibration['busy_fraction'], 0)} of the CPU time")
    if calibration["noise_floor"] > NOISE_LIMIT:
        problems.append(f"its noise floor is {percent(calibration['noise_floor'])}")
    if calibration["quick"]:
        problems.append("it is a quick one")
    if problems:
        yield Action(
            "Calibrate again on the idle machine", f"of calibration {calibration['id']}: {', '.join(problems)}", command
        )


def _plan(data, model):
    name, path = clean(model.model["name"]), _quote(model_path(model))
    search = f"smetune search --model {path} {_db(data)}"
    plan, newest = model.plan, model.newest_search
    if plan is None:
        why = "there is no plan of it for this machine"
        if model.plan_elsewhere is not None:
            why += f"; plan {model.plan_elsewhere['id']} is for machine {clean(model.plan_elsewhere['fingerprint'])}"
        yield Action(f"Search {name}", why, search)
        return
    if newest is not None and newest["state"] != "done":
        yield Action(
            f"Continue the search of {name}",
            f"search {newest['id']} is {newest['state']}: what it did not decide keeps the default",
            search,
        )
    stale = []
    if newest is not None and newest["variant_set_hash"] != plan["variant_set_hash"]:
        stale.append(f"search {newest['id']} knows other kernels, and smepilot-run refuses a plan for others")
    used = model.search["calibration_id"] if model.search else None
    newer = data.newer_calibration or data.calibration
    if used is not None and newer is not None and newer["id"] != used:
        stale.append(f"it was priced by calibration {used}; calibration {newer['id']} is newer")
    if stale:
        yield Action(f"Search {name} again", f"plan {plan['id']} is stale: {'; '.join(stale)}", search)


def _gain(data, model, comparisons):
    """What the plan is worth against the untuned default."""
    plan = model.plan
    if plan is None:
        return
    path = _quote(model_path(model))
    mine = [c for c in comparisons if c.reference is not None and c.reference.plan_id == plan["id"]]
    if not mine:
        tests = [c.test for c in comparisons if c.reference is not None] or USUAL_TESTS
        threads = comparisons[0].threads if comparisons else plan["workers"]
        why = f"plan {plan['id']} of {clean(model.model['name'])} has not been run end to end"
        yield Action("Measure what the plan brings", why, _bench(data, path, ("--plan", "db"), tests, threads))
        return
    judged = [(c, s.verdict) for c in mine for s in c.judged() if s.role == "untuned" and s.verdict.low is not None]
    groups = {"win": [], "tie": [], "loss": []}
    for comparison, verdict in judged:
        groups[verdict.word].append(
            f"{test_name(comparison.test)} {ratio(verdict.ratio)} ({ratio(verdict.low)} to {ratio(verdict.high)})"
        )
    if groups["win"]:
        command = f"smepilot-run -m {path} --plan db {_db(data)} -i"
        yield Action("Use the plan", f"it beats the untuned default in {', '.join(groups['win'])}", command)
    if groups["tie"]:
        tests = [c.test for c, v in judged if v.word == "tie"]
        yield Action(
            "Do not count on the plan where its gain is not significant",
            f"against the untuned default: {', '.join(groups['tie'])}. More repetitions narrow the interval",
            _bench(data, path, ("--plan", "db"), tests, mine[0].threads),
        )
    if groups["loss"]:
        yield Action(
            "Search longer: the plan loses",
            f"the untuned default is faster in {', '.join(groups['loss'])}; until then run with --plan none",
            f"smetune search --model {path} --fresh --budget 600 {_db(data)}",
        )


def _baselines(data, model, comparisons):
    """Those that the tests of ours lack, one command for each kind and thread count."""
    path = _quote(model_path(model))
    ours = [c for c in comparisons if c.reference is not None]
    for role, options in BASELINES.items():
        if role == "cpu" and not data.has_matrix_unit:
            continue  # nothing else than untuned
        if role == "roofline" and data.calibration is None:
            continue
        lacking = {}
        for c in ours:
            if c.reference.role != role and all(s.role != role for s in c.series):
                lacking.setdefault((c.threads, c.test[2], c.test[4]), []).append(c.test)
        for (threads, _, _), tests in lacking.items():
            yield Action(
                f"Measure the baseline: {ROLES[role]}",
                f"with {pluralise(threads, 'thread')} it was not measured for {', '.join(map(test_name, tests))}",
                _bench(data, path, options, tests, threads),
            )
    alone = [c for c in ours if c.test[3] == 1 and all(s.role != "baseline" for s in c.series)]
    if alone:
        tests, threads = [c.test for c in alone], alone[0].threads
        yield Action(
            "Measure another engine",
            f"no baseline of this file is imported for {', '.join(map(test_name, tests))}",
            f"llama-bench -m {path} {_lengths(tests, '-pg')} -t {threads} -r {REPETITIONS} -o json > base.json && "
            f"smetune baseline import base.json {_db(data)}",
        )


def _lengths(tests, both="--pg"):
    """Options for the lengths, which smepilot-run and llama-bench have in common."""
    prompts = sorted({p for p, g, *_ in tests if p and not g})
    lengths = sorted({g for p, g, *_ in tests if g and not p})
    parts = [f"-p {','.join(map(str, prompts or [0]))}", f"-n {','.join(map(str, lengths or [0]))}"]
    parts += [f"{both} {p},{g}" for p, g in sorted({(p, g) for p, g, *_ in tests if p and g})]
    depth = max(test[2] for test in tests)
    return " ".join(parts) + (f" -d {depth}" if depth else "")


def _bench(data, path, options, tests, threads):
    sequences = sorted({test[3] for test in tests if test[1]})
    batch = f" -b {','.join(map(str, sequences))}" if sequences not in ([], [1]) else ""
    kv_type = "" if tests[0][4] == "f16" else f" --kv-type {_quote(tests[0][4])}"
    return (
        f"smepilot-run --bench -m {path} {' '.join(options)} {_lengths(tests)}{batch}{kv_type} -t {threads} "
        f"-r {REPETITIONS} --record {_db(data)}"
    )


def _look_inside(data, model):
    path = _quote(model_path(model))
    run = f"smepilot-run -m {path} {_db(data)} -p 'Once upon a time' -n 16"
    report = f"smetune report {_db(data)}"
    if data.trace_path is None:
        run += " --trace trace.json"
        report += " --trace trace.json"
    if not data.conversions():
        run += " --stats --json > stats.json"
        report += " --stats stats.json"
    what = " and ".join(
        word
        for word, have in (("the timeline of a layer", data.trace_path), ("layout conversions", data.conversions()))
        if not have
    )
    return Action("Look inside a run", f"{what} need files that one run writes", f"{run}; {report}")
