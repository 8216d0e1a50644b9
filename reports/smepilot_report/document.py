"""The report as plain data: what the JSON holds, and what the Markdown is written from. Its form is promised by
schemas/report.schema.json; fields are added, not renamed."""

from dataclasses import asdict
from datetime import UTC, datetime

from smepilot_report import advice, allrows, analysis, end_to_end, operators, runs, summary
from smepilot_report.text import clean

FORMAT = "smepilot-report"
VERSION = 2


def build(data):
    """A JSON object of everything that the page says."""
    floor = data.calibration["noise_floor"] if data.calibration else None
    cpu = str(data.platform["facts"].get("cpu_model", "")) if data.platform else ""
    models = [_model(data, model, floor, cpu) for model in data.models]
    comparisons = models[0][1] if models else []
    choices = models[0][2] if models else []
    cards = summary.numbers(comparisons)
    operator_card = summary.operator_number(choices) if models else None
    rows, left_out = allrows.collect(data)
    return {
        "format": FORMAT,
        "version": VERSION,
        "database": clean(data.path),
        "created": now(),
        "summary": {
            "sentence": summary.sentence(data, data.models[0] if data.models else None, comparisons),
            "numbers": [_number(card) for card in cards + ([operator_card] if operator_card else [])],
            "warnings": summary.warnings(data, data.models),
            "verdicts": summary.count_verdicts([s for _, c, _ in models for one in c for s in one.series]),
        },
        "machine": _machine(data),
        "calibration": _calibration(data),
        "actions": [
            {"what": clean(a.what), "why": clean(a.why), "command": clean(a.command) or None}
            for a in advice.actions(data, [(m, c) for m, (_, c, _) in zip(data.models, models, strict=True)])
        ],
        "models": [model for model, _, _ in models],
        "workloads": [_workload(engines) for engines in data.workloads],
        "loads": [_load(one) for one in data.loadings()],
        "conversions": [_conversions(one) for one in data.conversions()],
        "timeline": [_window(window) for window in data.windows],
        "rows": [_row(row) for row in rows],
        "rows_left_out": left_out,
    }


def now():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _number(card):
    return {
        "label": card.label,
        "value": card.value,
        "raw": card.raw,
        "interval": card.interval,
        "kind": card.kind,
        "notes": card.notes,
    }


def _machine(data):
    if data.platform is None:
        return None
    facts = data.platform["facts"]
    return {
        "fingerprint": data.platform["fingerprint"],
        "cpu": clean(facts.get("cpu_model", "")),
        "cores": _count(facts.get("cores")),
        "cpus": _count(facts.get("cpus")),
        "matrix_unit": clean(facts.get("matrix_unit") or ""),
        "matrix_units": _count(facts.get("matrix_units")) or 0,
        "test_bed": data.is_testbed,
    }


def _count(value):
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _calibration(data):
    c = data.calibration
    if c is None:
        return None
    return {
        "id": c["id"],
        "created": c["created"],
        "quick": bool(c["quick"]),
        "noise_floor": c["noise_floor"],
        "busy_fraction": c["busy_fraction"],
        "kind": "measured",
        "peaks": [{f: row[f] for f in ("id", "unit", "dtype", "isa", "workers", "gflops")} for row in data.peaks],
        "bandwidths": [{f: row[f] for f in ("id", "level", "op", "workers", "gbps")} for row in data.bandwidths],
        "fork_joins": [{f: row[f] for f in ("id", "workers", "ns")} for row in data.fork_joins],
    }


def _model(data, model, floor, cpu):
    """(its object, comparisons, choices)."""
    files = {bench["model_file"] for bench in model.benches}
    comparisons = end_to_end.compare(
        model.benches,
        [b for b in data.baselines if b["model_file"] in files],
        model.plan["id"] if model.plan else None,
        cpu,
        floor,
    )
    choices = analysis.choices(model, floor)
    plan = model.plan
    search = model.search
    out = {
        "name": clean(model.model["name"]),
        "hash": clean(model.model["hash"]),
        "plan": plan
        and {"id": plan["id"], "planner": plan["planner"], "created": plan["created"], "build": clean(plan["build"])},
        "search": search and {"id": search["id"], "planner": search["planner"], "state": search["state"]},
        "choices": [_choice(choice) for choice in choices],
        "end_to_end": [_series(c, s) for c in comparisons for s in c.series],
        "baselines": _standings(comparisons, data.workloads_of(model)),
        "ruled_out": [
            {"status": r.status, "count": len(r.rows), "reason": clean(r.text)}
            for r in analysis.ruled_out(model.measurements)
        ],
    }
    return out, comparisons, choices


def estimate(value):
    """A median with its interval, or None."""
    return value and {
        "median": value.median,
        "low": value.low,
        "high": value.high,
        "coverage": value.coverage,
        "samples": value.count,
    }


def _verdict(verdict):
    return verdict and {
        "word": verdict.word,
        "ratio": verdict.ratio,
        "ratio_low": verdict.low,
        "ratio_high": verdict.high,
        "why": verdict.why,
    }


def _choice(choice):
    entry = choice.entry
    return {
        "entry": entry["id"],
        "roles": clean(choice.roles),
        "operator": clean(operators.describe_group(entry)),
        "m_min": entry["m_min"],
        "m_max": entry["m_max"],
        "mode": entry["mode"],
        "candidate": clean(operators.describe_candidate(entry)),
        "predicted_ns": entry["predicted_ns"],  # kind: predicted
        "measured_ns": entry["measured_ns"] or None,
        "default_ns": entry["default_ns"] or None,
        "measured": estimate(choice.chosen_estimate),
        "gain": choice.gain,
        "is_default": choice.is_default,
        "verdict": _verdict(choice.verdict),
        "why": clean(entry["why"]),
        "row": choice.chosen and choice.chosen["id"],
    }


def _series(comparison, series):
    return {
        "model_file": clean(comparison.model_file),
        "test": clean(comparison.name),
        "threads": comparison.threads,
        "role": series.role,
        "label": clean(series.label),
        "reference": series is comparison.reference,
        "kind": "measured",
        "tokens_per_s": estimate(series.estimate),
        "joules_per_token": series.joules_per_token,
        "verdict": _verdict(series.verdict),
        "rows": [row["id"] for row in series.rows],
    }


def _standings(comparisons, workloads):
    columns, lines = end_to_end.standings(comparisons, workloads)
    return [
        {
            "workload": line.name,
            "threads": line.reference.threads,
            "model_file": clean(line.reference.model_file),
            "ours": line.reference.estimate.median,
            "against": {
                column: cell and _verdict(cell.verdict) for column, cell in zip(columns, line.cells, strict=True)
            },
        }
        for line in lines
    ]


def _workload(engines):
    return [
        {
            "row": e.row["id"],
            "workload": clean(e.row["workload"]),
            "scale": e.row["scale"],
            "n_prompt": e.row["n_prompt"],
            "n_gen": e.row["n_gen"],
            "batch": e.row["batch"],
            "threads": e.row["n_threads"],
            "model_file": clean(e.row["model_file"]),
            "engine": clean(e.row["engine"]),
            "build": clean(e.row["build"]),
            "kind": "measured",
            "prefill_s": estimate(e.prefill),
            "decode_s": estimate(e.decode),
            "total_s": estimate(e.total),
            "joules_per_token": e.joules_per_token,
            "verdicts": {phase: _verdict(verdict) for phase, verdict in e.verdicts.items()},
        }
        for e in engines
    ]


def _load(one):
    numbers = ("seconds", "weights_seconds", *runs.MEMORY)
    return {
        "source": one.source,
        "kind": one.kind,
        **{name: one.load[name] for name in numbers},
        "weights_from": one.load["weights_from"],
        "benches": [row["id"] for row in one.benches],
    }


def _conversions(one):
    """Of both phases: counts and the measured time of those made; what they, and those avoided, cost is predicted."""
    names = {"count": "done", "ns": "done_ns", "weights": "of_weights"}
    same = ("priced", "priced_ns", "avoided", "avoided_ns")
    out = {"source": one.source, "benches": [row["id"] for row in one.benches]}
    for phase, part in one.phases.items():
        out[phase] = None
        if part is None:
            continue
        found = part["conversions"]
        out[phase] = {name: part[name] for name in ("passes", "tokens", "ns")}
        out[phase] |= {names[name]: found[name] for name in names} | {name: found[name] for name in same}
    return out


def _window(window):
    return {
        "title": window.title,
        "kind": "measured",
        "us": window.span,
        "workers": [
            {"worker": w, "idle_share": window.idle_share(w), "bubbles": len(window.idle[w])} for w in window.workers
        ],
    }


def _row(row):
    """Without what it does not have."""
    value = {k: clean(v) if isinstance(v, str) else v for k, v in asdict(row).items() if v not in (None, "")}
    del value["anchor"]
    return {**value, "kind": row.kind or None}
