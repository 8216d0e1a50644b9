"""Which mode is fastest where, and what dividing an operator between the units brings: the mode map and split curves."""

from dataclasses import dataclass, field

from smepilot_report import operators, stats

ORDER = ("cpu", "matrix", "coop")  # a tie goes to the simpler
MAX_CURVES = 12  # of a model; the rest is in the table of rows


@dataclass
class Cell:
    """One operator at one M: the fastest measurement of each mode."""

    m: int
    best: dict = None  # mode: row
    mode: str = ""  # the fastest
    lead: float = None  # how much faster than the next mode; None: no other was measured
    tie: bool = False  # with the next mode
    planned: str = ""  # what the plan says, "" where it has no entry
    evidence: str = ""

    @property
    def row(self):
        return self.best[self.mode]


@dataclass
class Line:
    """A row of the map: an operator without M."""

    name: str
    detail: str
    cells: list = field(default_factory=list)  # None where that M was not searched
    crossovers: str = ""


@dataclass
class Curve:
    """Times of one operator by the matrix unit's share, everything else alike."""

    number: int
    title: str
    detail: str
    points: list  # (share, row, estimate) in order of share
    planned: tuple = None  # of the points
    fastest: tuple = None
    alone: dict = field(default_factory=dict)  # mode: row of the fastest without division

    @property
    def rows(self):
        return [row for _, row, _ in self.points] + list(self.alone.values())


def mode_map(model, noise_floor, duration):
    """(values of M, lines); `duration` turns nanoseconds into text."""
    groups = {}
    for op in model.operators:
        key = tuple(op[f] for f in (*operators.SHAPE_FIELDS, "kv_len"))
        groups.setdefault(key, []).append(op)
    fastest = {}
    for row in model.measurements:
        if row["status"] == "ok":
            modes = fastest.setdefault(row["operator_id"], {})
            if row["mode"] not in modes or row["median_ns"] < modes[row["mode"]]["median_ns"]:
                modes[row["mode"]] = row
    sizes = sorted({op["m"] for op in model.operators if op["id"] in fastest})
    lines = []
    for same in groups.values():
        measured = [op for op in same if op["id"] in fastest]
        cells = {op["m"]: _cell(model, op, fastest[op["id"]], noise_floor, duration) for op in measured}
        if not cells:
            continue
        roles = sorted({role for op in same for role in op["roles"]})
        where = f", context {same[0]['kv_len']}" if same[0]["kind"] == "attention" else ""
        line = Line(", ".join(roles) + where, operators.describe_operator(same[0]).partition(", M ")[0])
        line.cells = [cells.get(m) for m in sizes]
        line.crossovers = _crossovers([cells[m] for m in sorted(cells)])
        lines.append(line)
    return sizes, lines


def _cell(model, op, best, noise_floor, duration):
    ranked = sorted(best, key=lambda mode: (best[mode]["median_ns"], ORDER.index(mode)))
    cell = Cell(op["m"], best, ranked[0])
    if len(ranked) > 1:
        first, second = best[ranked[0]], best[ranked[1]]
        cell.lead = second["median_ns"] / first["median_ns"]
        if first["samples"] and second["samples"]:
            verdict = stats.judge(
                stats.estimate(first["samples"]), stats.estimate(second["samples"]), noise_floor, higher_is_better=False
            )
            cell.tie = verdict.word != "win"
    entry = next((e for e in model.entries if operators.covers(e, op)), None)
    cell.planned = entry["mode"] if entry else ""
    parts = []
    for mode in ranked:
        row = best[mode]
        span = f" ({duration(row['ci_low_ns'])} to {duration(row['ci_high_ns'])})" if row["ci_low_ns"] else ""
        parts.append(f"{mode} {duration(row['median_ns'])}{span}, {len(row['samples'])} samples, row {row['id']}")
    cell.evidence = "; ".join(parts) + (f"; the plan says {cell.planned}" if cell.planned else "; no plan entry")
    return cell


def _crossovers(cells):
    """From which M on another mode is fastest, in words."""
    spans = []
    for cell in cells:
        if not spans or spans[-1][0] != cell.mode:
            spans.append([cell.mode, cell.m, cell.m])
        spans[-1][2] = cell.m
    if len(spans) == 1:
        return f"{spans[0][0]} at every M measured"
    words = [f"{spans[0][0]} up to {spans[0][2]}"]
    words += [f"{mode} from {low}" for mode, low, _ in spans[1:]]
    return ", ".join(words)


def split_curves(model):
    """(curves, how many more there are): per operator the division that was measured at most split points."""
    curves = []
    for op in model.operators:
        groups = {}
        here = [row for row in model.measurements if row["operator_id"] == op["id"] and row["status"] == "ok"]
        for row in here:
            if row["mode"] == "coop" and row["split_of"] and row["samples"]:
                key = tuple(row[f] for f in ("variant", "matrix_variant", "workers", "matrix_workers", "split_dim"))
                shares = groups.setdefault(key, {})
                share = row["split"] / row["split_of"]
                if share not in shares or row["median_ns"] < shares[share]["median_ns"]:
                    shares[share] = row
        key = max(groups, key=lambda k: len(groups[k]), default=None)
        if key is None or len(groups[key]) < 2:
            continue
        points = [(share, row, stats.estimate(row["samples"])) for share, row in sorted(groups[key].items())]
        variant, matrix, workers, matrix_workers, dim = key
        curve = Curve(
            0,
            f"{', '.join(sorted(op['roles']))}, M {op['m']}",
            f"{operators.describe_operator(op)}; cores {variant} ×{workers}, matrix unit {matrix} ×{matrix_workers}, "
            f"divided along {dim}",
            points,
        )
        curve.fastest = min(points, key=lambda p: p[1]["median_ns"])
        entry = next((e for e in model.entries if operators.covers(e, op)), None)
        if entry and entry["mode"] == "coop" and entry["split_of"]:
            curve.planned = next((p for p in points if operators.same_candidate(p[1], entry)), None)
        for mode in ("cpu", "matrix"):
            rows = [row for row in here if row["mode"] == mode]
            if rows:
                curve.alone[mode] = min(rows, key=lambda row: row["median_ns"])
        curves.append(curve)
    curves.sort(key=lambda c: -len(c.points))
    for number, curve in enumerate(curves, 1):
        curve.number = number
    return curves[:MAX_CURVES], max(0, len(curves) - MAX_CURVES)
