"""What single runs of smepilot-run wrote: a timeline (--trace FILE) and statistics (--stats --json)."""

import json
import math
from dataclasses import dataclass, field

from smepilot_report import end_to_end
from smepilot_report.database import ReportError
from smepilot_report.text import clean, pluralise

WEIGHT_SOURCES = {  # how weights came into memory, as load.weights_from says
    "cache": "mapped from the cache",
    "packed": "packed, and stored in the cache",
    "memory": "packed into memory",
}
MEMORY = ("peak_rss_bytes", "weights_bytes", "kv_cache_bytes", "scratch_bytes")  # of load
PHASES = ("prefill", "decode")
LAYER_BEGINS = ("attn_qkv", "attn_q")  # the first operator of a layer, in order of preference


@dataclass
class Task:
    """Something that a worker did. Times in microseconds."""

    worker: int
    name: str
    operator: str
    unit: str
    begin: float
    end: float


@dataclass
class Window:
    """A stretch of the timeline with what each worker did in it."""

    title: str
    begin: float
    end: float
    workers: dict = field(default_factory=dict)  # worker: tasks in order of time
    idle: dict = field(default_factory=dict)  # worker: [(begin, end)] without any task

    @property
    def span(self):
        return self.end - self.begin

    def idle_share(self, worker):
        return sum(end - begin for begin, end in self.idle[worker]) / self.span


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        # Statistics follow the text that the same run wrote to standard output; they begin with a line of their own.
        start = text.rfind("\n{\n")
        value = json.loads(text if start < 0 or text.lstrip().startswith("{") else text[start:])
    except OSError as error:
        raise ReportError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ReportError(f"{path}: is JSON, but no object")
    return value


def _number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read_trace(path):
    """Windows of the timeline: one layer, and attention within it; empty where the trace has no operators."""
    events = _read(path).get("traceEvents")
    if not isinstance(events, list):
        raise ReportError(f"{path}: has no traceEvents; smepilot-run --trace {path} writes such a file")
    tasks = []
    for i, e in enumerate(events):
        if not isinstance(e, dict) or e.get("ph") != "X":
            continue
        args = e.get("args") if isinstance(e.get("args"), dict) else {}
        if not (_number(e.get("ts")) and _number(e.get("dur")) and e["dur"] >= 0 and isinstance(e.get("tid"), int)):
            raise ReportError(f"{path}: traceEvents[{i}]: expected numbers ts, dur and tid")
        task = Task(
            e["tid"],
            clean(e.get("name", "")),
            clean(args.get("operator", "")),
            "matrix" if args.get("unit") in ("matrix", "sme", "amx") else "cpu",
            e["ts"],
            e["ts"] + e["dur"],
        )
        tasks.append(task)
    # An operator is an event of its own, around the tasks of all workers, which name it.
    names = {t.operator for t in tasks if t.operator}
    operators = [t for t in tasks if not t.operator and t.name in names]
    tasks = [t for t in tasks if t.operator or t.name not in names]
    operators.sort(key=lambda t: t.begin)
    first = next((n for n in LAYER_BEGINS if any(o.name == n for o in operators)), None)
    starts = [o.begin for o in operators if o.name == first]
    if len(starts) < 2 or not tasks:
        return []
    at = min(1, len(starts) - 2)  # not the first layer, which finds everything cold
    begin, end = starts[at], starts[at + 1]
    windows = [_window(f"Layer {at + 1} of the first pass", tasks, begin, end)]
    attention = next((o for o in operators if o.name == "attention" and begin <= o.begin < end), None)
    if attention is not None and attention.end > attention.begin:
        windows.append(_window("Attention in that layer", tasks, attention.begin, attention.end))
    return windows


def _window(title, tasks, begin, end):
    window = Window(title, begin, end)
    for worker in sorted({t.worker for t in tasks}):
        mine = [t for t in tasks if t.worker == worker and t.end > begin and t.begin < end]
        mine.sort(key=lambda t: t.begin)
        window.workers[worker] = mine
        free, at = [], begin
        for task in mine:
            if task.begin > at:
                free.append((at, task.begin))
            at = max(at, task.end)
        if at < end:
            free.append((at, end))
        window.idle[worker] = free
    return window


def check_load(value, where):
    """What loading took and memory, as smepilot-run prints it; an error begins with `where`."""
    for name in ("seconds", "weights_seconds", *MEMORY):
        if not _number(value.get(name)) or value[name] < 0:
            raise ReportError(f"{where}: {name} is {str(value.get(name))[:40]!r}, expected a number from 0 on")
    if value.get("weights_from") not in WEIGHT_SOURCES:
        found = str(value.get("weights_from"))[:40]
        raise ReportError(f"{where}: weights_from is {found!r}, expected {', '.join(WEIGHT_SOURCES)}")
    return value


def _check_phase(part, where, phase, help=""):
    """Passes of a phase with their conversions."""
    if not isinstance(part, dict) or not isinstance(part.get("conversions"), dict):
        raise ReportError(f"{where}: has no {phase}.conversions{help}")
    conversions = part["conversions"]
    for name in ("count", "ns", "priced", "weights"):
        if not _number(conversions.get(name)):
            raise ReportError(f"{where}: {phase}.conversions.{name} is not a number")
    for name in ("avoided", "avoided_ns", "priced_ns"):
        if conversions.setdefault(name, None) is not None and not _number(conversions[name]):
            raise ReportError(f"{where}: {phase}.conversions.{name} is neither a number nor null")
    for name in ("passes", "tokens", "ns"):
        if not _number(part.get(name)):
            raise ReportError(f"{where}: {phase}.{name} is not a number")


def check_conversions(value, where):
    """Those of a recorded run, {phase: passes or None}; an error begins with `where`."""
    for phase in PHASES:
        if value.setdefault(phase, None) is not None:
            _check_phase(value[phase], where, phase)
    return value


def read_stats(path):
    """The object that smepilot-run --stats --json printed, its parts that are shown checked. What older builds did not
    print yet is None."""
    value = _read(path)
    for phase in PHASES:
        _check_phase(value.get(phase), path, phase, "; smepilot-run --stats --json prints such an object")
    if value.setdefault("load", None) is not None:
        if not isinstance(value["load"], dict):
            raise ReportError(f"{path}: load is not an object")
        check_load(value["load"], f"{path}: load")
    return value


@dataclass
class Loading:
    """What one start of smepilot-run took."""

    source: str  # where this is from, for the reader
    load: dict
    benches: list = field(default_factory=list)  # that the same process measured
    kind: str = "measured"


def loadings(benches, stats_path, run_stats):
    """Of the file given, and of the recorded runs: those that one process recorded are one."""
    out = []
    if run_stats is not None and run_stats["load"] is not None:
        out.append(Loading(clean(stats_path), run_stats["load"]))
    by_start = {}
    for row in benches:
        if row["load"] is not None:
            key = (row["session_id"], row["load_json"])
            if key not in by_start:
                source = f"{row['model_file']}, {end_to_end.driver(row)}, build {row['revision']}"
                by_start[key] = Loading(clean(source), row["load"])
            by_start[key].benches.append(row)
    return out + list(by_start.values())


@dataclass
class Conversions:
    """Layout conversions of one run: {phase: its passes, or None where it has no such phase}."""

    source: str
    phases: dict
    benches: list = field(default_factory=list)
    test_bed: bool = False

    def passes(self):
        return [(phase, self.phases[phase]) for phase in PHASES if self.phases[phase] and self.phases[phase]["passes"]]


def conversions(benches, stats_path, run_stats):
    """Of the file given, and of the recorded runs: of several of one kind, the newest."""
    out = []
    if run_stats is not None:
        phases = {phase: run_stats[phase] for phase in PHASES}
        out.append(Conversions(clean(stats_path), phases, test_bed=bool(run_stats.get("test_bed"))))
    newest = {}
    for row in sorted(benches, key=lambda row: (row["created"], row["id"])):
        if row["conversions"] is not None:
            test = end_to_end.test_of(row)
            newest[row["model_file"], test, row["n_threads"], end_to_end.driver(row)] = row
    for (model_file, test, threads, driver), row in newest.items():
        source = f"{end_to_end.test_name(test)}, {driver}, {pluralise(threads, 'thread')}, {model_file}"
        out.append(Conversions(clean(source), row["conversions"], [row]))
    return out
