"""The rows that a report is about, read once and checked; no judgement here.

Everything is restricted to one machine: rows of different machines are never mixed.
"""

import json
import math
from dataclasses import dataclass, field

from smepilot_report import operators, runs, workloads
from smepilot_report.database import ReportError

RUN_STATUSES = ("ok", "incorrect", "timeout", "crashed")  # the candidate was executed; the others never were
# What is newest, as the programs see it (db/plan_store.cc, db/calibration_store.cc, db/measurement_store.cc): by time,
# since the ids of a merged database tell nothing, and by id within a second. Where a row names another (a plan its
# search, a search its calibration), that one is shown, whatever is newer.
NEWEST_PLAN = "ORDER BY max(s.started, p.created) DESC, p.id DESC LIMIT 1"
NEWEST_SEARCH = "ORDER BY s.started DESC, s.id DESC LIMIT 1"
NEWEST_CALIBRATION = "ORDER BY c.quick, c.created DESC, c.id DESC LIMIT 1"


@dataclass
class ModelData:
    """What the database knows about one model on the machine."""

    model: dict
    plan: dict = None
    entries: list = field(default_factory=list)  # of the plan
    search: dict = None
    operators: list = field(default_factory=list)  # that the search covers, with "roles" and "calls"
    measurements: list = field(default_factory=list)  # newest per candidate that ran, and all of the search
    benches: list = field(default_factory=list)
    plan_elsewhere: dict = None  # of another machine, where there is none of this one
    newest_search: dict = None  # on this machine; not always that of the plan


@dataclass
class ReportData:
    path: str
    platform: dict = None
    other_platforms: int = 0
    session: dict = None  # newest on the platform
    calibration: dict = None  # that the shown plan was priced by, else the newest; with its session
    newer_calibration: dict = None  # made since
    peaks: list = field(default_factory=list)
    bandwidths: list = field(default_factory=list)
    fork_joins: list = field(default_factory=list)
    coop_peaks: list = field(default_factory=list)  # of both units at once
    coop_bandwidths: list = field(default_factory=list)
    timed_operators: list = field(default_factory=list)  # that the model of the machine was fitted on and judged by
    models: list = field(default_factory=list)
    baselines: list = field(default_factory=list)
    workloads: list = field(default_factory=list)
    trace_path: str = None  # files that smepilot-run wrote, and what is in them
    windows: list = field(default_factory=list)
    stats_path: str = None
    run_stats: dict = None

    def add_run(self, trace=None, stats=None):
        """Reads what --trace and --stats --json of smepilot-run wrote."""
        if trace is not None:
            self.trace_path, self.windows = trace, runs.read_trace(trace)
        if stats is not None:
            self.stats_path, self.run_stats = stats, runs.read_stats(stats)

    def loadings(self):
        """What starts of smepilot-run took: of the file given, and of the recorded runs."""
        return runs.loadings([row for m in self.models for row in m.benches], self.stats_path, self.run_stats)

    def conversions(self):
        """Of the file given, and of the recorded runs."""
        return runs.conversions([row for m in self.models for row in m.benches], self.stats_path, self.run_stats)

    def workloads_of(self, model):
        return [engines for engines in self.workloads if engines[0].row["model_id"] == model.model["id"]]

    @property
    def has_matrix_unit(self):
        return bool(self.platform) and bool(self.platform["facts"].get("matrix_unit"))

    @property
    def is_testbed(self):
        """Whether part of the vector cores played a matrix unit."""
        return bool(self.platform) and self.platform["facts"].get("matrix_unit") == "testbed"


def load(db, model_name=None, plan_id=None):
    """Reads everything for `model_name` (name or hash; None: every model) and `plan_id` (None: each model's newest)."""
    plan = _requested_plan(db, plan_id) if plan_id is not None else None
    models = _requested_models(db, model_name, plan)
    data = ReportData(db.path)
    data.platform = _platform(db, plan)
    if data.platform is None:
        return data
    platform_id = data.platform["id"]
    data.other_platforms = db.row("SELECT count(*) AS n FROM platform WHERE id <> ?", platform_id)["n"]
    data.session = db.row(
        "SELECT * FROM session WHERE platform_id = ? ORDER BY started DESC, id DESC LIMIT 1", platform_id
    )
    for model in models:
        data.models.append(_load_model(db, data.platform, model, plan))
    data.workloads = workloads.load(db, platform_id)
    # One asked for by name is shown even if there is nothing; of the others, only those with something to show.
    if model_name is None and plan is None:
        data.models = [m for m in data.models if m.plan or m.search or m.benches or data.workloads_of(m)]
    data.models.sort(key=_newest, reverse=True)
    _load_calibration(db, data)
    _load_baselines(db, data, everything=model_name is None and plan is None)
    return data


def _newest(model):
    stamps = [(row["created"], row["session_id"]) for row in model.benches]
    stamps += [
        (row[key], row["session_id"]) for row, key in ((model.plan, "created"), (model.search, "started")) if row
    ]
    return max(stamps, default=("", 0))


def _requested_plan(db, plan_id):
    plan = db.row("SELECT * FROM plan WHERE id = ?", plan_id)
    if plan is None:
        known = [str(row["id"]) for row in db.rows("SELECT id FROM plan ORDER BY id DESC LIMIT 10")]
        raise ReportError(
            f"{db.path}: no plan {plan_id}; "
            + (f"there is {', '.join(known)}" if known else "there is none: smetune search makes one")
        )
    return plan


def _requested_models(db, name, plan):
    models = db.rows("SELECT * FROM model ORDER BY id")
    if plan is not None:
        chosen = [m for m in models if m["id"] == plan["model_id"]]
        if name is not None and not any(name in (m["name"], m["hash"]) for m in chosen):
            raise ReportError(f"{db.path}: plan {plan['id']} is for model '{chosen[0]['name']}', not '{name}'")
        models = chosen
    elif name is not None:
        chosen = [m for m in models if name in (m["name"], m["hash"])]
        chosen = chosen or [m for m in models if len(name) >= 4 and m["hash"].startswith(name)]
        if not chosen:
            known = ", ".join(f"'{m['name']}' ({m['hash']})" for m in models[-10:])
            raise ReportError(
                f"{db.path}: no model '{name}'; "
                + (f"there is {known}" if known else "there is none: smetune search adds one")
            )
        models = chosen
    for model in models:
        model["shape"] = _json(db, model, "model", "shape_json", dict)
    return models


def _platform(db, plan):
    """The machine of the plan asked for, else the one used last."""
    if plan is not None:
        row = db.row("SELECT * FROM platform WHERE fingerprint = ?", plan["fingerprint"])
        if row is None:
            raise ReportError(
                f"{db.path}: plan {plan['id']} was made for machine {plan['fingerprint']}, of which this "
                "database has no measurements"
            )
    else:
        row = db.row(
            "SELECT p.* FROM platform p LEFT JOIN session s ON s.platform_id = p.id "
            "ORDER BY s.started DESC NULLS LAST, s.id DESC, p.id DESC LIMIT 1"
        )
    if row is not None:
        row["facts"] = _json(db, row, "platform", "facts_json", dict)
        row["identity"] = _json(db, row, "platform", "identity_json", dict)
    return row


def _load_calibration(db, data):
    newest = db.row(
        "SELECT c.* FROM calibration c JOIN session s ON s.id = c.session_id WHERE s.platform_id = ? "
        + NEWEST_CALIBRATION,
        data.platform["id"],
    )
    # Predictions belong to the roofline that they were made by.
    used = [model.search["calibration_id"] for model in data.models if model.search and model.search["calibration_id"]]
    row = db.row("SELECT * FROM calibration WHERE id = ?", used[0]) if used else newest
    if row is None:
        return
    if row["id"] != newest["id"]:
        data.newer_calibration = newest
    row["session"] = db.row("SELECT * FROM session WHERE id = ?", row["session_id"])
    data.calibration = row
    data.peaks = _with_samples(
        db, "peak", db.rows("SELECT * FROM peak WHERE calibration_id = ? ORDER BY dtype, unit, isa, workers", row["id"])
    )
    data.bandwidths = _with_samples(
        db,
        "bandwidth",
        db.rows(
            "SELECT * FROM bandwidth WHERE calibration_id = ? ORDER BY CASE level WHEN 'L1' THEN 1 WHEN 'L2' THEN 2 "
            "WHEN 'LLC' THEN 3 ELSE 4 END, op, workers",
            row["id"],
        ),
    )
    data.fork_joins = _with_samples(
        db, "fork_join", db.rows("SELECT * FROM fork_join WHERE calibration_id = ? ORDER BY workers", row["id"])
    )
    if db.schema >= 4:  # older ones know no cooperative execution
        data.coop_peaks = db.rows("SELECT * FROM coop_peak WHERE calibration_id = ? ORDER BY id", row["id"])
        data.coop_bandwidths = db.rows("SELECT * FROM coop_bandwidth WHERE calibration_id = ? ORDER BY id", row["id"])
    if db.schema >= 6:
        data.timed_operators = _with_samples(
            db,
            "timed_operator",
            db.rows("SELECT * FROM timed_operator WHERE calibration_id = ? ORDER BY id", row["id"]),
        )


def _load_model(db, platform, model, plan):
    out = ModelData(model)
    out.plan = plan or db.row(
        "SELECT p.* FROM plan p JOIN session s ON s.id = p.session_id WHERE p.model_id = ? AND p.fingerprint = ? "
        + NEWEST_PLAN,
        model["id"],
        platform["fingerprint"],
    )
    if out.plan is None:
        out.plan_elsewhere = db.row(
            "SELECT p.* FROM plan p JOIN session s ON s.id = p.session_id WHERE p.model_id = ? " + NEWEST_PLAN,
            model["id"],
        )
    else:
        entries = db.rows("SELECT * FROM plan_entry WHERE plan_id = ? ORDER BY id", out.plan["id"])
        out.entries = [_with_both_units(entry) for entry in entries]
    out.newest_search = db.row(
        "SELECT s.* FROM search s JOIN session e ON e.id = s.session_id WHERE s.model_id = ? AND e.platform_id = ? "
        + NEWEST_SEARCH,
        model["id"],
        platform["id"],
    )
    search_id = out.plan["search_id"] if out.plan else None
    if search_id is None and out.newest_search is not None:
        search_id = out.newest_search["id"]
    if search_id is not None:
        out.search = db.row(
            "SELECT s.*, e.revision, e.compiler, e.load1, e.command FROM search s JOIN session e "
            "ON e.id = s.session_id WHERE s.id = ?",
            search_id,
        )
        out.search["options"] = _json(db, out.search, "search", "options_json", dict)
        out.operators = _operators(db, search_id)
        out.measurements = _measurements(db, platform, out.search)
    out.benches = _with_samples(
        db,
        "bench",
        db.rows(
            "SELECT b.*, e.revision, e.load1, e.compiler, e.command, p.planner AS planner_of_plan FROM bench b "
            "JOIN session e ON e.id = b.session_id LEFT JOIN plan p ON p.id = b.plan_id "
            "WHERE b.model_id = ? AND e.platform_id = ? ORDER BY b.id",
            model["id"],
            platform["id"],
        ),
    )
    for row in out.benches:
        _complete_bench(db, row)
    return out


def _complete_bench(db, row):
    """What older schemas do not store, as far as it follows from the rest; "" and None: unknown."""
    row.setdefault("joules_per_token", None)
    row.setdefault("mode", "")
    known = row.get("planner") or row["planner_of_plan"]
    row["planner"] = known or ("untuned" if row["plan_mode"] == "none" else "")
    row["load"] = None
    if row.get("load_json") is not None:
        row["load"] = runs.check_load(
            _json(db, row, "bench", "load_json", dict), f"{db.path}: bench {row['id']}: load_json"
        )
    row["conversions"] = None
    if row.get("conversions_json") is not None:
        row["conversions"] = runs.check_conversions(
            _json(db, row, "bench", "conversions_json", dict), f"{db.path}: bench {row['id']}: conversions_json"
        )


def _operators(db, search_id):
    merged = {}
    for row in db.rows(
        "SELECT o.*, so.role, so.calls FROM search_operator so JOIN operator o ON o.id = so.operator_id "
        "WHERE so.search_id = ? ORDER BY o.kind DESC, o.n, o.k, o.m, o.kv_len, so.role",
        search_id,
    ):
        operator = merged.setdefault(row["id"], {**row, "roles": [], "calls": 0})
        operator["roles"].append(row["role"])
        operator["calls"] += row["calls"]
    return list(merged.values())


def _measurements(db, platform, search):
    """Rows of this search, and those of earlier ones that it took over instead of measuring again."""
    rows = db.rows(
        "SELECT m.*, e.revision, c.*, m.id AS id, "
        "o.kind, o.dtype, o.m, o.n, o.k, o.kv_len, o.kv_heads FROM measurement m "
        "JOIN candidate c ON c.id = m.candidate_id JOIN operator o ON o.id = c.operator_id "
        "JOIN session e ON e.id = m.session_id "
        "JOIN search h ON h.id = m.search_id "
        "WHERE m.platform_id = ? AND m.variant_set_hash = ? AND c.operator_id IN "
        "(SELECT operator_id FROM search_operator WHERE search_id = ?) AND "
        "(h.started < ? OR (h.started = ? AND h.id <= ?)) ORDER BY m.created, m.id",
        platform["id"],
        search["variant_set_hash"],
        search["id"],
        search["started"],
        search["started"],
        search["id"],
    )
    rows = [_with_both_units(row) for row in _with_samples(db, "measurement", rows)]
    best = {}
    for row in rows:
        have = best.get(row["candidate_id"])
        # As the tuner does: of several, the newest that was run, else the newest.
        if have is None or row["status"] in RUN_STATUSES or have["status"] not in RUN_STATUSES:
            best[row["candidate_id"]] = row
    return sorted(best.values(), key=lambda row: row["id"])


def _with_both_units(row):
    """A candidate or entry with what the matrix unit has of it, which databases before schema 4 do not know."""
    row = {**operators.ONE_UNIT, **row}
    row["all_workers"] = row["workers"] + row["matrix_workers"]
    return row


def _load_baselines(db, data, everything):
    rows = _with_samples(db, "baseline", db.rows("SELECT * FROM baseline ORDER BY model_file, n_prompt, n_gen, id"))
    files = {bench["model_file"] for model in data.models for bench in model.benches}
    data.baselines = [row for row in rows if everything or row["model_file"] in files]


def _json(db, row, table, column, kind):
    try:
        value = json.loads(row[column])
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise ReportError(f"{db.path}: {table} {row['id']}: {column} is not a JSON {kind.__name__}")
    return value


def _with_samples(db, table, rows):
    for row in rows:
        samples = _json(db, row, table, "samples_json", list)
        for sample in samples:
            if isinstance(sample, bool) or not isinstance(sample, (int, float)) or not math.isfinite(sample):
                raise ReportError(
                    f"{db.path}: {table} {row['id']}: samples_json holds {str(sample)[:40]!r}, expected finite numbers"
                )
        row["samples"] = [float(sample) for sample in samples]
    return rows
