"""Every row that the report rests on, in one form: what it is about, its numbers by unit, and whether these were
measured, simulated, predicted or published."""

from dataclasses import dataclass

from smepilot_report import end_to_end, operators, stats
from smepilot_report.analysis import ruled_out
from smepilot_report.data import RUN_STATUSES
from smepilot_report.text import clean, pluralise, significant, size

MAX_SAMPLES = 12  # printed of a row; the database has them all


@dataclass
class Row:
    """A row of the database. Numbers that it does not have are None. The interval is of its time or of its tokens/s."""

    anchor: str  # element id, which the figures and tables link to
    table: str
    id: int
    what: str
    how: str
    kind: str  # of all its numbers but predicted_ns; "predicted" where that is the only one, "" where there is none
    time_ns: float = None
    low: float = None
    high: float = None
    predicted_ns: float = None
    gflops: float = None
    gbps: float = None
    tokens_per_s: float = None
    joules_per_token: float = None
    samples: int = 0
    when: str = ""
    remark: str = ""


def collect(data):
    """(rows, how many candidates of each model that never ran are left out: {model name: number})."""
    rows, left_out = [], {}
    for model in data.models:
        name = clean(model.model["name"])
        rows += [_bench(row) for row in model.benches]
        rows += [_entry(row) for row in model.entries]
        unlisted = 0
        for row in model.measurements:
            if row["status"] in RUN_STATUSES:
                rows.append(_measurement(row))
        for reason in ruled_out(model.measurements):
            if reason.status not in RUN_STATUSES:
                rows += [_measurement(row) for row in reason.listed]
                unlisted += reason.unlisted
        if unlisted:
            left_out[name] = unlisted
    rows += [_baseline(row) for row in data.baselines]
    rows += [_workload(engine) for engines in data.workloads for engine in engines]
    rows += _calibrated(data)
    return rows, left_out


@dataclass
class Source:
    """Rows of one table of the database with one label."""

    table: str
    kind: str
    count: int = 0
    samples: int = 0  # behind them
    first: str = ""
    last: str = ""


def sources(rows):
    """How many rows there are of each table and label, and from when, in the order in which they appear."""
    out = {}
    for row in rows:
        source = out.setdefault((row.table, row.kind), Source(row.table, row.kind))
        source.count += 1
        source.samples += row.samples
        if row.when:
            source.first = min(source.first or row.when, row.when)
            source.last = max(source.last, row.when)
    return list(out.values())


def _interval(samples):
    e = stats.estimate(samples) if samples else None
    return (e.low, e.high) if e and e.count > 1 else (None, None)


def _list(samples):
    shown = ", ".join(significant(x, 4) for x in samples[:MAX_SAMPLES])
    return shown + (" …" if len(samples) > MAX_SAMPLES else "")


def _measurement(row):
    median = row["median_ns"]
    moved = operators.bytes_moved(row) if median else None
    return Row(
        f"row-{row['id']}",
        "measurement",
        row["id"],
        operators.describe_operator(row),
        f"{row['mode']}{', default' if row['is_default'] else ''}: {operators.describe_candidate(row)}",
        "measured" if median else "predicted" if row["predicted_ns"] else "",
        median,
        row["ci_low_ns"],
        row["ci_high_ns"],
        row["predicted_ns"],
        operators.flops(row) / median if median else None,
        moved / median if moved is not None else None,
        samples=len(row["samples"]),
        when=row["created"],
        remark=": ".join(filter(None, ("" if row["status"] == "ok" else row["status"], row["reason"]))),
    )


def _entry(row):
    return Row(
        f"plan-entry-{row['id']}",
        "plan_entry",
        row["id"],
        f"{operators.describe_group(row)}, M {operators.span(row['m_min'], row['m_max'])}",
        f"{row['mode']}: {operators.describe_candidate(row)}",
        "measured" if row["measured_ns"] else "predicted",
        row["measured_ns"] or None,
        predicted_ns=row["predicted_ns"] or None,
        remark=row["why"],
    )


def _bench(row):
    low, high = _interval(row["samples"])
    load = "" if row["load1"] is None else f", load average {row['load1']:.1f}"
    return Row(
        f"bench-{row['id']}",
        "bench",
        row["id"],
        f"{end_to_end.test_name(end_to_end.test_of(row))}, {row['model_file']}",
        f"{end_to_end.driver(row)}, {pluralise(row['n_threads'], 'thread')}, build {row['revision']}",
        "measured",
        low=low,
        high=high,
        tokens_per_s=row["avg_ts"],
        joules_per_token=row["joules_per_token"],
        samples=len(row["samples"]),
        when=row["created"],
        remark=f"standard deviation {significant(row['stddev_ts'])}{load}; samples {_list(row['samples'])}",
    )


def _baseline(row):
    low, high = _interval(row["samples"])
    return Row(
        f"baseline-{row['id']}",
        "baseline",
        row["id"],
        f"{end_to_end.test_name(end_to_end.test_of(row))}, {row['model_file']}, {row['model_type']}",
        f"{row['engine']} {row['build']}, {pluralise(row['n_threads'], 'thread')}, batch {row['n_batch']}",
        "measured",
        low=low,
        high=high,
        tokens_per_s=row["avg_ts"],
        samples=len(row["samples"]),
        when=row["test_time"],
        remark=f"by that engine on {row['cpu_info']}; standard deviation {significant(row['stddev_ts'])}; "
        f"from {row['source']}",
    )


def _workload(engine):
    row = engine.row
    tokens = row["batch"] * (row["n_prompt"] + row["n_gen"])
    scale = "" if row["scale"] == 1 else f", scale {row['scale']:g}"
    return Row(
        f"workload-{row['id']}",
        "workload_run",
        row["id"],
        f"{row['workload']}{scale}: {row['n_prompt']} + {row['n_gen']} tokens, batch {row['batch']}, "
        f"{row['model_file']}",
        f"{row['engine']} {row['build']}{', plan ' + str(row['plan_id']) if row['plan_id'] else ''}, "
        f"{pluralise(row['n_threads'], 'thread')}",
        "measured",
        1e9 * engine.total.median,
        1e9 * engine.total.low,
        1e9 * engine.total.high,
        tokens_per_s=tokens / engine.total.median,
        joules_per_token=engine.joules_per_token,
        samples=engine.total.count,
        when=row["created"],
        remark="whole rounds; tokens/s of prompt and generation together",
    )


def _calibrated(data):
    """Rates are ceilings: the 90th percentile of their samples, since interference only ever lowers one."""
    when = data.calibration["created"] if data.calibration else ""
    rows = []

    def rate(table, anchor, row, what, how, **numbers):
        median = f"median {significant(stats.median(row['samples']))} of the samples" if row.get("samples") else ""
        rows.append(
            Row(
                f"{anchor}-{row['id']}",
                table,
                row["id"],
                what,
                how,
                "measured",
                samples=len(row.get("samples", ())),
                when=when,
                remark=median,
                **numbers,
            )
        )

    for p in data.peaks:
        workers = pluralise(p["workers"], "worker")
        rate("peak", "peak", p, f"peak {p['dtype']}, {p['unit']}", f"{p['isa']}, {workers}", gflops=p["gflops"])
    for b in data.bandwidths:
        how = f"{pluralise(b['workers'], 'worker')}, {size(b['working_set_bytes'])}"
        rate("bandwidth", "bandwidth", b, f"{b['op']} {b['level']}", how, gbps=b["gbps"])
    for f in data.fork_joins:
        what = "fork and join of an empty region"
        rate("fork_join", "fork", f, what, pluralise(f["workers"], "worker"), time_ns=f["ns"])
    for p in data.coop_peaks:
        how = f"matrix unit {p['matrix_isa']} ×{p['matrix_workers']}, cores {p['cpu_isa']} ×{p['cpu_workers']}"
        what = f"peak of both at once, {p['matrix_dtype']} and {p['cpu_dtype']}"
        rate("coop_peak", "coop-peak", p, what, how, gflops=p["matrix_gflops"] + p["cpu_gflops"])
        rows[-1].remark = f"{significant(p['matrix_gflops'])} of it the matrix unit"
    for b in data.coop_bandwidths:
        how = f"matrix unit ×{b['matrix_workers']}, cores ×{b['cpu_workers']}"
        what, together = f"read {b['level']}, both at once", b["matrix_gbps"] + b["cpu_gbps"]
        rate("coop_bandwidth", "coop-bandwidth", b, what, how, gbps=together)
        rows[-1].remark = f"{significant(b['matrix_gbps'])} of it the matrix unit"
    for t in data.timed_operators:
        low, high = _interval(t["samples"])
        rows.append(
            Row(
                f"timed-{t['id']}",
                "timed_operator",
                t["id"],
                operators.describe_operator(t),
                f"{t['variant']} ×{t['workers']}",
                "measured",
                t["measured_ns"],
                low,
                high,
                t["predicted_ns"],
                samples=len(t["samples"]),
                when=when,
                remark="judges the model" if t["held_out"] else "the model was fitted on it",
            )
        )
    return rows
