"""The sentence, the key numbers and the warnings that open the page."""

from dataclasses import dataclass, field

from smepilot_report.end_to_end import ROLES, test_name
from smepilot_report.text import clean, percent, pluralise, ratio, significant

BUSY_LIMIT = 0.10  # share of CPU time taken by others above which rates are not trusted
NOISE_LIMIT = 0.10
LOAD_LIMIT = 1.25  # runnable processes per CPU when a run began; a run of ours just before leaves about 1


@dataclass
class Number:
    """A card: what, how much, how sure, and where from."""

    label: str
    value: str
    raw: float
    interval: str
    kind: str  # measured, predicted
    link: str
    notes: list = field(default_factory=list)


def headline(comparisons):
    """The comparisons that stand for prefill and decode: of those with a run of ours, the longest on most threads."""
    ours = [c for c in comparisons if c.reference is not None]
    decode = [c for c in ours if c.test[1] > 0 and c.test[0] == 0]
    prefill = [c for c in ours if c.test[0] > 0 and c.test[1] == 0]

    # With others to compare with first, then one sequence, an f16 cache, an empty one, then threads, then length.
    def rank(c):
        prompt, gen, depth, sequences, kv_type = c.test
        judged = bool(c.judged())
        return c.reference.role == "plan", judged, -sequences, kv_type == "f16", -depth, c.threads, prompt + gen

    return [max(group, key=rank) for group in (prefill, decode) if group]


def numbers(comparisons):
    out = []
    for comparison in headline(comparisons):
        ours = comparison.reference
        estimate = ours.estimate
        word = "decode" if comparison.test[1] else "prefill"
        with_plan = "with the plan" if ours.role == "plan" else "untuned"
        number = Number(
            f"{word}, {test_name(comparison.test)}, {with_plan}",
            f"{significant(estimate.median)} tokens/s",
            estimate.median,
            interval(estimate),
            "measured",
            f"#bench-{ours.rows[-1]['id']}",
        )
        for series in (s for s in comparison.judged() if s.same_cpu and s.role != "forced"):
            other = series.label if series.role == "baseline" else ROLES[series.role]
            v = series.verdict
            between = "" if v.low is None else f" ({ratio(v.low)} – {ratio(v.high)})"
            number.notes.append(f"{ratio(v.ratio)} of {clean(other)}: {v.word}{between}")
        out.append(number)
    return out


def operator_number(choices):
    """How often the choice for an operator beats the default, for the third card."""
    counts = count_verdicts(choices)
    judged = [c for c in choices if c.verdict]
    if not choices:
        return None
    same = sum(c.is_default for c in choices)
    return Number(
        "operator choices that beat the default",
        f"{counts['win']} of {len(choices)}",
        counts["win"],
        f"{counts['tie']} tie, {counts['loss']} lose, {same} are the default itself, "
        f"{len(choices) - same - len(judged) + counts['not judged']} not judged",
        "measured",
        "#choices",
    )


def count_verdicts(items):
    return _count(item.verdict for item in items)


def count_end_to_end(comparisons, workloads):
    """Of ours against others: of runs, and of whole workloads."""
    runs = [series.verdict for comparison in comparisons for series in comparison.series]
    return _count(runs + [engine.verdicts.get("total") for engines in workloads for engine in engines])


def _count(verdicts):
    counts = {"win": 0, "tie": 0, "loss": 0, "not judged": 0}
    for verdict in filter(None, verdicts):
        counts[verdict.word] += 1
    return counts


def interval(estimate):
    """As text. Too few samples for 95 % are said to be so."""
    if estimate.count < 2:
        return "1 sample, no interval"
    return (
        f"{significant(estimate.low)} to {significant(estimate.high)} "
        f"({percent(estimate.coverage, 1)} interval, {estimate.count} samples)"
    )


def sentence(data, model, comparisons):
    """What an engineer would say first, without more than the numbers carry."""
    if data.platform is None:
        return "This database is empty: nothing has been measured yet."
    cpu = clean(data.platform["facts"].get("cpu_model") or "this machine").strip()
    if data.is_testbed:
        cpu = f"the test bed on {cpu}"
    if model is None:
        what = "calibrated" if data.calibration else "known"
        return f"{cpu[0].upper()}{cpu[1:]} is {what}; no model has been searched or run yet."
    name = clean(model.model["name"])
    heads = headline(comparisons)
    if not heads:
        if model.plan is None:
            return f"On {cpu}, there is neither a plan nor a run of {name} yet."
        return (
            f"On {cpu}, plan {model.plan['id']} for {name} is stored with "
            f"{pluralise(len(model.entries), 'entry', 'entries')}; no end-to-end run has been recorded yet."
        )
    parts = []
    for comparison in heads:
        ours = comparison.reference.estimate
        verb = "generates" if comparison.test[1] else "reads a prompt at"
        parts.append(f"{verb} {significant(ours.median)} tokens/s")
    planned = any(c.reference.role != "untuned" for c in heads)
    text = (
        f"On {cpu} with {pluralise(heads[-1].threads, 'thread')}, {name} {' and '.join(parts)} "
        f"{'with a stored plan' if planned else 'without a plan'}"
    )
    verdicts = [(c, s) for c in heads for s in c.judged() if s.same_cpu and s.role != "forced"]
    if not verdicts:
        return text + "; nothing is stored to compare it with."
    return (
        text
        + "; "
        + "; ".join(_verdicts_of(role, verdicts) for role in ROLES if any(s.role == role for _, s in verdicts))
        + "."
    )


def _verdicts_of(role, verdicts):
    said = []
    for comparison, series in verdicts:
        if series.role == role:
            word = {"win": "a win", "loss": "a loss", "tie": "a tie"}.get(series.verdict.word, series.verdict.word)
            said.append(f"{ratio(series.verdict.ratio)} in {test_name(comparison.test)} ({word})")
    names = {clean(s.rows[0]["engine"]) for _, s in verdicts if s.role == role and role == "baseline"}
    name = " and ".join(sorted(names)) or f"the {ROLES[role]}"
    return f"against {name} {', '.join(said)}"


def warnings(data, models):
    """What limits how far the numbers can be trusted, worst first."""
    out = []
    calibration = data.calibration
    cpus = data.platform["facts"].get("cpus") if data.platform else None
    if data.is_testbed:
        out.append(
            "This is a test bed, not the machine as it is: its AVX-512 kernels on one worker play a matrix unit, and its "
            "cores are limited to AVX2. Numbers are measured, and say nothing about either a matrix unit or this CPU."
        )
    if calibration:
        if calibration["busy_fraction"] > BUSY_LIMIT:
            out.append(
                f"Other programs took {percent(calibration['busy_fraction'], 0)} of the CPU time during calibration: "
                "ceilings may be too low, and operators may lie above them. Calibrate again on an idle machine."
            )
        if calibration["noise_floor"] > NOISE_LIMIT:
            out.append(
                f"The noise floor is {percent(calibration['noise_floor'])}: the same kernel differs from itself by as "
                "much, and no smaller difference counts as a win or a loss on this page."
            )
        if calibration["quick"]:
            out.append("The calibration is a quick one: fewer samples and worker counts.")
        if data.newer_calibration:
            out.append(
                f"Shown is calibration {calibration['id']}, which the search used; calibration "
                f"{data.newer_calibration['id']} is newer. A new search would be priced by that."
            )
    loaded = [
        bench
        for model in models
        for bench in model.benches
        if bench["load1"] is not None and isinstance(cpus, int) and bench["load1"] > LOAD_LIMIT * cpus
    ]
    if loaded:
        worst = max(bench["load1"] for bench in loaded)
        out.append(
            f"{pluralise(len(loaded), 'end-to-end row')} began on a busy machine (load average up to {worst:.1f} on "
            f"{pluralise(cpus, 'CPU')}): throughputs are what was left."
        )
    files = {bench["model_file"] for model in models for bench in model.benches}
    if any(row["model_file"] in files for row in data.baselines):
        out.append(
            "Baselines ran at another time than ours and under an unrecorded load: a win or a loss against them "
            "holds only if the machine was as idle then. Run both alternately to be sure."
        )
    for model in models:
        name = clean(model.model["name"])
        used = model.search["calibration_id"] if model.search else None
        if used and calibration and used != calibration["id"]:
            out.append(
                f"Predictions for {name} were priced by calibration {used}, not by calibration {calibration['id']}, "
                "whose ceilings are drawn."
            )
        if model.search and model.search["state"] != "done":
            out.append(
                f"Search {model.search['id']} of {name} is {model.search['state']}, not done: operators that it did "
                "not decide keep the default. The same smetune search command continues it."
            )
        revisions = {bench["revision"] for bench in model.benches}
        if len(revisions) > 1:
            builds = ", ".join(sorted(map(clean, revisions)))
            out.append(f"End-to-end rows of {name} come from {len(revisions)} builds ({builds}).")
    if data.other_platforms:
        out.append(
            f"The database holds {pluralise(data.other_platforms, 'other machine')} too; nothing of it is on this page."
        )
    return out
