"""The report as plain data: what the JSON holds, and what the Markdown is written from. Its form is promised by
schemas/report.schema.json; fields are added, not renamed."""

from datetime import UTC, datetime

from smepilot_report import analysis, end_to_end, operators, summary
from smepilot_report.text import clean

FORMAT = "smepilot-report"
VERSION = 1


def build(data):
    """A JSON object of everything that the page says, without the single rows."""
    floor = data.calibration["noise_floor"] if data.calibration else None
    cpu = str(data.platform["facts"].get("cpu_model", "")) if data.platform else ""
    models = [_model(data, model, floor, cpu) for model in data.models]
    comparisons = models[0][1] if models else []
    choices = models[0][2] if models else []
    cards = summary.numbers(comparisons)
    operator_card = summary.operator_number(choices) if models else None
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
        "models": [model for model, _, _ in models],
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
    return verdict and {"word": verdict.word, "ratio": verdict.ratio, "why": verdict.why}


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
        "verdict": _verdict(series.verdict),
        "rows": [row["id"] for row in series.rows],
    }
