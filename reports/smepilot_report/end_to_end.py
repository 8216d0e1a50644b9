"""Tokens per second: our runs with and without a plan, and those of other engines, side by side and judged."""

import json
from dataclasses import dataclass, field

from smepilot_report import stats
from smepilot_report.text import pluralise


@dataclass
class Series:
    """Runs of the same thing, pooled: so their interval also holds what changes from run to run."""

    role: str  # "plan", "untuned", "baseline"
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
    order = {"plan": 0, "untuned": 1, "baseline": 2}
    out = []
    for key in sorted(groups, key=lambda k: (k[0], k[1][1] > 0, k[1], k[2])):
        members = sorted(groups[key], key=lambda s: (order[s.role], s.label))
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
    planned = [s for s in members if s.role == "plan"]
    if planned:
        return max(planned, key=lambda s: (s.plan_id is not None and s.plan_id == plan_id, s.created))
    return max((s for s in members if s.role == "untuned"), key=lambda s: s.created, default=None)


def _pool_benches(benches):
    pools = {}
    for row in benches:
        test = test_of(row)
        key = (row["model_file"], test, row["n_threads"], row["plan_mode"], row["plan_id"], row["revision"])
        if key not in pools:
            what = {"none": "untuned default", "file": "plan from a file"}.get(row["plan_mode"])
            what = what or (f"plan {row['plan_id']}" if row["plan_id"] else "plan of the database")
            role = "untuned" if row["plan_mode"] == "none" else "plan"
            pools[key] = Series(
                role,
                f"smepilot, {what}, {row['revision']}",
                test,
                row["n_threads"],
                row["model_file"],
                plan_id=row["plan_id"],
            )
        pools[key].rows.append(row)
    return list(pools.values())


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
                f"{row['engine']} {row['build']}, batch {row['n_batch']}",
                test,
                row["n_threads"],
                row["model_file"],
                same_cpu=" ".join(row["cpu_info"].split()) == " ".join(cpu_model.split()),
            )
        pools[key].rows.append(row)
    return list(pools.values())
