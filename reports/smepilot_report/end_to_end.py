"""Tokens per second: our runs with a plan, untuned, on the cores alone and by the roofline heuristic, and those of
other engines, side by side and judged."""

import json
from dataclasses import dataclass, field

from smepilot_report import stats
from smepilot_report.text import clean, pluralise

ROLES = {  # what drove a run, in the order in which they are shown
    "plan": "other plan",
    "untuned": "untuned default",
    "cpu": "cores alone",
    "roofline": "roofline heuristic",
    "forced": "forced mode",
    "baseline": "another engine",
}


@dataclass
class Series:
    """Runs of the same thing, pooled: so their interval also holds what changes from run to run."""

    role: str  # of ROLES
    label: str
    test: tuple  # n_prompt, n_gen, n_depth, n_seqs, type of the KV cache
    threads: int
    model_file: str
    rows: list = field(default_factory=list)
    same_cpu: bool = True
    plan_id: int = None
    estimate: stats.Estimate = None
    verdict: stats.Verdict = None  # of the reference against this one

    @property
    def created(self):
        return max(row["created"] for row in self.rows)

    @property
    def newest(self):
        """For sorting: within a second the id decides."""
        return max((row["created"], row["id"]) for row in self.rows)

    @property
    def joules_per_token(self):
        """Median of the rows that have it, or None."""
        known = [row["joules_per_token"] for row in self.rows if row.get("joules_per_token") is not None]
        return stats.median(known) if known else None

    @property
    def load(self):
        return max((row["load1"] for row in self.rows if row.get("load1") is not None), default=None)

    @property
    def runs(self):
        return f"{pluralise(self.estimate.count, 'sample')} in {pluralise(len(self.rows), 'run')}"


@dataclass
class Comparison:
    """All series of one model file, test and thread count; `reference` is ours, which the others are compared with."""

    model_file: str
    test: tuple
    threads: int
    series: list
    reference: Series = None
    note: str = ""

    @property
    def name(self):
        return test_name(self.test)

    @property
    def anchor(self):
        """An element id: of the first row, which no other comparison has."""
        first = self.series[0]
        return f"test-{'baseline' if first.role == 'baseline' else 'bench'}-{first.rows[0]['id']}"

    def judged(self):
        return [s for s in self.series if s.verdict is not None]


def test_name(test):
    """As smepilot-run --bench prints it: pp512, tg128 @ d1024, tg64 b8; and what the KV cache held, unless f16."""
    prompt, gen, depth, sequences, kv_type = test
    parts = ([f"pp{prompt}"] if prompt else []) + ([f"tg{gen}"] if gen else [])
    name = "+".join(parts) + (f" b{sequences}" if sequences > 1 else "") + (f" @ d{depth}" if depth else "")
    return name if kv_type == "f16" else f"{name}, KV {kv_type}"


def test_of(row):
    """Of a row of ours, or of another engine's: one sequence, and the cache type that it printed, if it did."""
    kv_type = row.get("kv_type")
    if "raw_json" in row:
        raw = json.loads(row["raw_json"])
        kv_type = raw.get("type_k") if isinstance(raw, dict) else None
    kv_type = kv_type if isinstance(kv_type, str) else "f16"
    return row["n_prompt"], row["n_gen"], row["n_depth"], row.get("n_seqs", 1), kv_type


def compare(benches, baselines, plan_id, cpu_model, noise_floor):
    """Comparisons in order of model file, test (prefill before decode) and threads."""
    groups = {}
    for series in _pool_benches(benches) + _pool_baselines(baselines, cpu_model):
        series.estimate = stats.estimate(
            [x for row in series.rows for x in row["samples"]] or [row["avg_ts"] for row in series.rows]
        )
        groups.setdefault((series.model_file, series.test, series.threads), []).append(series)
    order = list(ROLES)
    out = []
    for key in sorted(groups, key=lambda k: (k[0], k[1][1] > 0, k[1], k[2])):
        members = sorted(groups[key], key=lambda s: (order.index(s.role), s.label))
        comparison = Comparison(*key, members, _reference(members, plan_id))
        if comparison.reference is None:
            comparison.note = (
                f"No run of ours with this file, test and {pluralise(key[2], 'thread')}: nothing to compare with."
            )
        for series in members:
            if comparison.reference is None or series is comparison.reference:
                continue
            if not series.same_cpu:
                ratio = comparison.reference.estimate.median / series.estimate.median
                series.verdict = stats.Verdict("not judged", ratio, "it ran on another CPU")
            else:
                series.verdict = stats.judge(comparison.reference.estimate, series.estimate, noise_floor)
        out.append(comparison)
    return out


def _reference(members, plan_id):
    """The run of the plan shown, else of another plan, else untuned; of several the newest."""
    shown = [s for s in members if s.plan_id is not None and s.plan_id == plan_id and s.role in ("plan", "roofline")]
    for ours in (shown, *([s for s in members if s.role == role] for role in ("plan", "untuned"))):
        if ours:
            return max(ours, key=lambda s: s.newest)
    return None


@dataclass
class Standing:
    """Of one workload: ours against each kind of baseline."""

    name: str
    detail: str
    reference: Series
    cells: list  # of Series, None where there is none, by column
    link: str  # of the rows


def standings(comparisons, workloads=(), matrix_unit=True):
    """(columns, standings): win, tie and loss at a glance, of the comparisons that have a run of ours, and of workloads
    (lists of workloads.Engine, ours first). Without a matrix unit the untuned default runs on the cores alone: then that
    has no column of its own, unless it was measured."""
    ours = [c for c in comparisons if c.reference is not None]
    engines = {clean(s.rows[0]["engine"]) for c in comparisons for s in c.series if s.role == "baseline"}
    engines = sorted(engines | {clean(e.row["engine"]) for run in workloads for e in run if e.row["is_baseline"]})
    alone = matrix_unit or any(s.role == "cpu" for c in ours for s in c.series)
    columns = [ROLES["untuned"], *([ROLES["cpu"]] if alone else []), ROLES["roofline"], *(engines or ["llama.cpp"])]
    out = []
    for c in ours:
        cells = []
        for column in columns:
            same = [s for s in c.series if s is not c.reference and column in (ROLES[s.role], _engine(s))]
            build = c.reference.rows[-1]["revision"]
            # Of several, the one of our build, else the newest.
            cells.append(max(same, key=lambda s: (s.rows[-1].get("revision") == build, s.newest), default=None))
        detail = f"{pluralise(c.threads, 'thread')}, {clean(c.model_file)}"
        out.append(Standing(workload_name(c.test), detail, c.reference, cells, f"#{c.anchor}"))
    for run in workloads:
        first, *others = [_whole(engine) for engine in run]
        if first.role == "baseline":
            continue
        w = run[0].row
        name = f"{clean(w['workload'])}{' at scale %g' % w['scale'] if w['scale'] != 1 else ''}"
        name += f" ({w['n_prompt']} + {w['n_gen']} tokens{', batch %d' % w['batch'] if w['batch'] > 1 else ''})"
        cells = [next((s for s in others if column in (ROLES[s.role], _engine(s))), None) for column in columns]
        detail = f"{pluralise(first.threads, 'thread')}, {clean(first.model_file)}"
        out.append(Standing(name, detail, first, cells, f"#workload-{w['id']}"))
    return columns, out


def _whole(engine):
    """A workload's engine (workloads.Engine) as tokens per second over prompt and generation together."""
    row, total = engine.row, engine.total
    tokens = row["batch"] * (row["n_prompt"] + row["n_gen"])
    role = "baseline" if row["is_baseline"] else "untuned" if row["plan_mode"] == "none" else "plan"
    test = (row["n_prompt"], row["n_gen"], 0, row["batch"], row["kv_type"])
    series = Series(role, row["engine"], test, row["n_threads"], row["model_file"], [row], plan_id=row["plan_id"])
    series.estimate = stats.Estimate(
        tokens / total.median, tokens / total.high, tokens / total.low, total.count, total.coverage
    )
    series.verdict = engine.verdicts.get("total")
    return series


def _engine(series):
    return clean(series.rows[0]["engine"]) if series.role == "baseline" else None


def workload_name(test):
    """What a test stands for, before its name: "prefill pp512", "decode, batch 8, tg64 b8"."""
    prompt, gen, _, sequences, _ = test
    kind = "prompt and generation" if prompt and gen else "decode" if gen else "prefill"
    return f"{kind}{f', batch {sequences}' if sequences > 1 else ''} ({test_name(test)})"


def role_of(row):
    """What drove a bench: a mode that was forced, the heuristic, nothing, or a plan."""
    if row["mode"] == "cpu":
        return "cpu"
    if row["mode"] not in ("", "auto"):
        return "forced"
    if row["planner"] == "roofline":
        return "roofline"
    return "untuned" if row["plan_mode"] == "none" else "plan"


def driver(row):
    """The same in words."""
    if row["plan_mode"] == "none":
        what = "roofline heuristic" if row["planner"] == "roofline" else "untuned default"
    elif row["plan_mode"] == "file":
        what = "plan from a file"
    else:
        what = f"plan {row['plan_id']}" if row["plan_id"] else "plan of the database"
    if row["plan_mode"] != "none" and row["planner"] == "roofline":
        what += " (roofline heuristic)"
    return what if row["mode"] in ("", "auto") else f"{what}, mode {clean(row['mode'])}"


def _pool_benches(benches):
    pools = {}
    for row in benches:
        test = test_of(row)
        what = driver(row)
        key = (row["model_file"], test, row["n_threads"], role_of(row), what, row["revision"])
        if key not in pools:
            pools[key] = Series(
                role_of(row),
                f"smepilot, {what}, {row['revision']}",
                test,
                row["n_threads"],
                row["model_file"],
                plan_id=row["plan_id"],
            )
        pools[key].rows.append(row)
    return list(pools.values())


def build_name(build):
    """Of another engine, with a blank before it; "" where it did not know its own ("unknown (0)")."""
    return f" {build}" if build and not build.startswith("unknown") else ""


def _pool_baselines(baselines, cpu_model):
    pools = {}
    for row in baselines:
        test = test_of(row)
        key = (
            row["engine"],
            row["build"],
            row["cpu_info"],
            row["model_file"],
            row["model_type"],
            test,
            row["n_threads"],
            row["n_batch"],
        )
        if key not in pools:
            pools[key] = Series(
                "baseline",
                f"{row['engine']}{build_name(row['build'])}, batch {row['n_batch']}",
                test,
                row["n_threads"],
                row["model_file"],
                same_cpu=" ".join(row["cpu_info"].split()) == " ".join(cpu_model.split()),
            )
        pools[key].rows.append(row)
    return list(pools.values())
