"""What the rows say about the operators of one model: choices, dots under the roofline, and what was ruled out."""

import re
from collections import Counter
from dataclasses import dataclass, field

from smepilot_report import operators, stats

STATUS_MEANING = {
    "pruned": "priced too far from the best by the roofline, or lost a race early",
    "refused": "ruled out by the kernel registry or by the machine",
    "unsupported": "this build or machine cannot run it",
    "constraint": "its parameters do not fit the shape",
    "incorrect": "ran, and its result differed from the reference",
    "timeout": "ran longer than it was allowed to",
    "crashed": "ended the process that ran it",
}
MAX_LISTED = 60  # candidates listed per reason; a search has thousands, and the rest reads the same


@dataclass
class Choice:
    """One entry of the plan with the evidence for it."""

    entry: dict
    roles: str
    chosen: dict = None  # measurement rows, None where there is none
    default: dict = None
    chosen_estimate: stats.Estimate = None
    default_estimate: stats.Estimate = None
    gain: float = None
    verdict: stats.Verdict = None
    is_default: bool = False


@dataclass
class Dot:
    """A measured operator call as a point under the roofline."""

    number: int
    op: dict
    roles: str
    phase: str  # "decode", "prefill"
    row: dict  # the measurement
    dtype: str  # that was multiplied
    intensity: float  # FLOP per byte
    gflops: float
    gbps: float
    roof_share: float = None  # predicted / measured time
    flag: str = ""  # why it lies above the roof, "" where it does not


@dataclass
class Reason:
    status: str
    text: str  # with # for the numbers
    rows: list = field(default_factory=list)

    @property
    def listed(self):
        return self.rows[:MAX_LISTED]

    @property
    def unlisted(self):
        return max(0, len(self.rows) - MAX_LISTED)


def choices(model, noise_floor):
    out = []
    for entry in model.entries:
        same = [op for op in model.operators if all(op[f] == entry[f] for f in operators.SHAPE_FIELDS)]
        roles = ", ".join(sorted({role for op in same for role in op["roles"]}))
        choice = Choice(entry, roles or entry["kind"])
        here = [
            row
            for row in model.measurements
            if row["status"] == "ok"
            and row["m"] == entry["measured_m"]
            and row["kv_len"] == entry["measured_kv"]
            and all(row[f] == entry[f] for f in operators.SHAPE_FIELDS)
        ]
        choice.chosen = next((row for row in here if operators.same_candidate(row, entry)), None)
        choice.default = next((row for row in here if row["is_default"]), None)
        choice.is_default = choice.chosen is not None and choice.chosen is choice.default
        choice.chosen_estimate = _estimate(choice.chosen)
        choice.default_estimate = _estimate(choice.default)
        if entry["measured_ns"] > 0 and entry["default_ns"] > 0:
            choice.gain = entry["default_ns"] / entry["measured_ns"]
        if not choice.is_default and choice.chosen_estimate and choice.default_estimate:
            choice.verdict = stats.judge(
                choice.chosen_estimate, choice.default_estimate, noise_floor, higher_is_better=False
            )
        out.append(choice)
    return out


def dots(model, peaks, noise_floor):
    """The plan's choice for each operator at M = 1 (decode) and at the largest M searched (prefill)."""
    sizes = sorted({op["m"] for op in model.operators})
    phases = {sizes[-1]: "prefill", 1: "decode"} if sizes and sizes[0] == 1 else dict.fromkeys(sizes[-1:], "prefill")
    out = []
    for op in sorted(model.operators, key=lambda op: op["m"]):
        if op["m"] not in phases:
            continue
        row = row_of_choice(model, op)
        moved = operators.bytes_moved(op)
        if row is None or moved is None:
            continue
        work = operators.flops(op)
        dot = Dot(
            len(out) + 1,
            op,
            ", ".join(sorted(op["roles"])),
            phases[op["m"]],
            row,
            operators.compute_dtype(row["variant"], row["mode"]),
            work / moved,
            work / row["median_ns"],
            moved / row["median_ns"],
        )
        if row["predicted_ns"]:
            dot.roof_share = row["predicted_ns"] / row["median_ns"]
        dot.flag = _above_roof(dot, peaks, noise_floor)
        out.append(dot)
    return out


def ruled_out(measurements):
    """Reasons in order of status and count. Reasons that differ in numbers only are one."""
    reasons = {}
    for row in measurements:
        if row["status"] == "ok":
            continue
        text = _without_numbers(row["reason"])
        reasons.setdefault((row["status"], text), Reason(row["status"], text)).rows.append(row)
    order = list(STATUS_MEANING)
    return sorted(reasons.values(), key=lambda r: (order.index(r.status), -len(r.rows), r.text))


def status_counts(measurements):
    """(status, count, meaning) with what ran first."""
    counts = Counter(row["status"] for row in measurements)
    meanings = {"ok": "measured", **STATUS_MEANING}
    return [(status, counts[status], meanings[status]) for status in meanings if counts[status]]


def best_peaks(peaks, dtype):
    """{(unit, workers): peak row} with the fastest instruction set of each."""
    best = {}
    for peak in peaks:
        key = (peak["unit"], peak["workers"])
        if peak["dtype"] == dtype and (key not in best or peak["gflops"] > best[key]["gflops"]):
            best[key] = peak
    return best


def row_of_choice(model, op):
    """The measurement of what the plan does with an operator; without a plan, the fastest. None: there is none."""
    measured = [row for row in model.measurements if row["operator_id"] == op["id"] and row["status"] == "ok"]
    if not model.entries:
        return min(measured, key=lambda row: row["median_ns"], default=None)
    entry = next((e for e in model.entries if operators.covers(e, op)), None)
    return next((row for row in measured if entry is not None and operators.same_candidate(row, entry)), None)


def _above_roof(dot, peaks, noise_floor):
    margin = 1 + (noise_floor or 0)
    units = {"coop": ("cpu", "matrix")}.get(dot.row["mode"], (dot.row["mode"],))
    best = [
        max((peak["gflops"] for (u, _), peak in best_peaks(peaks, dot.dtype).items() if u == unit), default=0)
        for unit in units
    ]
    if all(best) and dot.gflops > sum(best) * margin:
        return (
            "faster than the highest measured peak of its unit: the machine was busier during calibration than "
            "during the search; calibrate again on an idle machine"
        )
    if dot.roof_share and dot.roof_share > margin:
        return (
            "faster than its roofline price: its operands were in a nearer cache than the price assumes (a model's "
            "weights pass by between two calls when it runs), or calibration saw a busier machine"
        )
    return ""


def _estimate(row):
    return stats.estimate(row["samples"]) if row is not None and row["samples"] else None


def _without_numbers(reason):
    """A variant id or any number becomes a placeholder, so that like reasons are counted together."""
    reason = re.sub(r"\b(?:matmul|attention|norm|rope|swiglu|softmax|quantize)\.[\w.]+", "‹variant›", reason)
    return re.sub(r"(?<![\w#])\d+(?:\.\d+)?(?: (?:ns|us|µs|ms|s)\b)?", "#", reason)
