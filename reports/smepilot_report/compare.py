"""Two databases side by side: what became faster or slower from A to B, and what of it is more than noise.

Compared is what a user would get: end-to-end runs of the same model, file, test and thread count with and without a
plan, workloads, and per operator the plan's choice and the default, whichever candidates these are.
"""

import os
from dataclasses import dataclass, field

from smepilot_report import analysis, document, end_to_end, operators, stats
from smepilot_report.data import load
from smepilot_report.database import Reader, ReportError
from smepilot_report.text import clean

MIN_SAMPLES = 4  # with three on each side, pure chance puts all of one below all of the other in one of ten cases
FORMAT = "smepilot-comparison"
VERSION = 1


@dataclass
class Side:
    """One of the two."""

    name: str  # as given
    data: object
    revisions: set = field(default_factory=set)

    @property
    def noise_floor(self):
        return self.data.calibration["noise_floor"] if self.data.calibration else None

    @property
    def cpu(self):
        return clean(self.data.platform["facts"].get("cpu_model", "")) if self.data.platform else ""


@dataclass
class Item:
    """Samples of the same thing on one side."""

    model: str
    what: str  # the test, or the operator
    how: str  # "plan", "untuned", "default", a kind of baseline, or a mode that was forced
    unit: str  # "tokens/s" or "ns"
    detail: str
    samples: list
    rows: list


@dataclass
class Change:
    """What became of an item. `ratio` above 1 is better, whatever the unit."""

    a: Item
    b: Item
    ratio: float
    low: float
    high: float
    word: str  # "gain", "regression", "no difference", "not judged"
    beyond: bool  # a regression of more than the threshold
    why: str


def split_name(text):
    """PATH or PATH:PLAN; a file that is called so wins."""
    path, _, plan = text.rpartition(":")
    if path and plan.isdecimal() and not os.path.exists(text):
        return path, int(plan)
    return text, None


def read(name, model_name):
    path, plan = split_name(name)
    reader = Reader(path)
    try:
        return Side(name, load(reader, model_name, plan))
    finally:
        reader.close()


def judge(a, b, noise_floor, threshold):
    """The change from item a to item b. It is significant if the whole interval lies beyond the noise floor."""
    ours, theirs = (b.samples, a.samples) if a.unit == "tokens/s" else (a.samples, b.samples)
    found = stats.unpaired_ratio(ours, theirs)
    ratio, low, high = found.ratio, found.low, found.high
    if min(len(ours), len(theirs)) < MIN_SAMPLES:
        return Change(a, b, ratio, None, None, "not judged", False, f"fewer than {MIN_SAMPLES} samples on one side")
    floor = noise_floor or 0.0
    if low > 1 + floor:
        return Change(a, b, ratio, low, high, "gain", False, "the interval lies above the noise floor")
    if high < 1 / (1 + floor):
        beyond = ratio < 1 - threshold
        why = f"the interval lies below the noise floor, {'beyond' if beyond else 'within'} the threshold"
        return Change(a, b, ratio, low, high, "regression", beyond, why)
    return Change(a, b, ratio, low, high, "no difference", False, "the interval reaches into the noise floor")


def items(side):
    """{key: Item} of everything that can be compared."""
    out = {}
    for model in side.data.models:
        name, identity = clean(model.model["name"]), model.model["hash"]
        shown = {}
        plan_id = model.plan["id"] if model.plan else None
        for comparison in end_to_end.compare(model.benches, [], plan_id, "", None):
            for s in comparison.series:
                how = "plan" if s is comparison.reference and s.plan_id is not None else s.role
                if how == "forced":
                    how = f"mode {clean(s.rows[0]['mode'])}"
                key = ("bench", identity, s.model_file, s.test, s.threads, how)
                # Ours is the run of the plan that was named, or is shown; of others of a kind the newest stands for it.
                if key in shown and shown[key] is comparison.reference:
                    continue
                if key not in shown or s is comparison.reference or s.newest > shown[key].newest:
                    shown[key] = s
        for key, s in shown.items():
            samples = [x for row in s.rows for x in row["samples"] if x > 0]
            if samples:
                test = f"{end_to_end.test_name(s.test)}, {s.threads} thr."
                rows = [row["id"] for row in s.rows]
                out[key] = Item(name, test, key[-1], "tokens/s", clean(f"{s.label}, {s.model_file}"), samples, rows)
                side.revisions |= {row["revision"] for row in s.rows}
        for run in side.data.workloads_of(model):  # the newest first
            row, rounds = run[0].row, run[0].rounds["total"]
            how = "untuned" if row["plan_mode"] == "none" else "plan"
            shape = ("workload", "scale", "batch", "n_prompt", "n_gen", "kv_type", "n_threads", "model_file")
            key = ("workload", identity, *(row[name] for name in shape), how)
            if row["is_baseline"] or key in out:
                continue
            scale = f" at scale {row['scale']:g}" if row["scale"] != 1 else ""
            what = clean(f"{row['workload']}{scale}, batch {row['batch']}, {row['n_threads']} thr.")
            detail = clean(f"{row['engine']} {row['build']}, {row['model_file']}")
            tokens = row["batch"] * (row["n_prompt"] + row["n_gen"])
            out[key] = Item(
                name, what, how, "tokens/s", detail, [tokens / seconds for seconds in rounds.values()], [row["id"]]
            )
            side.revisions.add(row["build"])
        for op in model.operators:
            shape = tuple(op[f] for f in (*operators.SHAPE_FIELDS, "m", "kv_len"))
            here = [row for row in model.measurements if row["operator_id"] == op["id"] and row["status"] == "ok"]
            default = next((row for row in here if row["is_default"]), None)
            for how, row in (("plan", analysis.row_of_choice(model, op)), ("default", default)):
                if row is not None and row["samples"] and min(row["samples"]) > 0:
                    what = f"{', '.join(sorted(op['roles']))}, M {op['m']}"
                    detail = clean(f"{operators.describe_operator(op)}: {operators.describe_candidate(row)}")
                    out[("operator", identity, shape, how)] = Item(
                        name, clean(what), how, "ns", detail, row["samples"], [row["id"]]
                    )
                    side.revisions.add(row["revision"])
    return out


def build(a, b, threshold):
    """The comparison as a JSON object (schemas/comparison.schema.json). threshold: a fraction."""
    floors = [side.noise_floor for side in (a, b) if side.noise_floor is not None]
    floor = max(floors, default=None)
    of_a, of_b = items(a), items(b)
    changes = [judge(of_a[key], of_b[key], floor, threshold) for key in of_a if key in of_b]
    if not changes:
        raise ReportError(
            f"{a.name} and {b.name} have nothing in common to compare: no run of the same model, file and test, and no "
            "measurement of the same operator; smetune search and smepilot-run --bench --record make them"
        )
    order = {"regression": 0, "gain": 1, "no difference": 2, "not judged": 3}
    changes.sort(key=lambda c: (order[c.word], not c.beyond, c.ratio if c.word != "gain" else -c.ratio))
    counts = {word: sum(c.word == word for c in changes) for word in order}
    beyond = sum(c.beyond for c in changes)
    made = {
        "format": FORMAT,
        "version": VERSION,
        "created": document.now(),
        "a": _side(a),
        "b": _side(b),
        "same_machine": bool(a.data.platform and b.data.platform)
        and a.data.platform["fingerprint"] == b.data.platform["fingerprint"],
        "noise_floor": floor,
        "threshold": threshold,
        "counts": counts,
        "regressions_beyond_threshold": beyond,
        "only_a": sum(key not in of_b for key in of_a),
        "only_b": sum(key not in of_a for key in of_b),
        "changes": [_change(c) for c in changes],
    }
    made["sentence"] = _sentence(made)
    return made


def _side(side):
    platform = side.data.platform
    return {
        "database": clean(side.name),
        "machine": platform["fingerprint"] if platform else None,
        "cpu": side.cpu,
        "revisions": sorted(map(clean, side.revisions)),
        "noise_floor": side.noise_floor,
    }


def _change(change):
    def values(item):
        e = document.estimate(stats.estimate(item.samples))
        return {**e, "rows": item.rows, "detail": item.detail}

    return {
        "model": change.a.model,
        "what": change.a.what,
        "how": change.a.how,
        "unit": change.a.unit,
        "kind": "measured",
        "a": values(change.a),
        "b": values(change.b),
        "ratio": change.ratio,
        "ratio_low": change.low,
        "ratio_high": change.high,
        "verdict": change.word,
        "beyond_threshold": change.beyond,
        "why": change.why,
    }


def _sentence(made):
    counts = made["counts"]
    limit = f"{100 * made['threshold']:g} %"
    beyond = made["regressions_beyond_threshold"]
    text = (
        f"From A to B, of {sum(counts.values())} comparable measurements {counts['regression']} regressed "
        f"({beyond} by more than {limit}), {counts['gain']} gained, {counts['no difference']} show no difference "
        f"beyond noise and {counts['not judged']} have too few samples to judge"
    )
    if not made["same_machine"]:
        text += "; the two were measured on different machines"
    return text + "."
