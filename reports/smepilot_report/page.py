"""Builds the page: gathers what each section needs and lets the templates write it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources

import jinja2
from markupsafe import Markup, escape

from smepilot_report import __name__ as package
from smepilot_report import (
    advice,
    allrows,
    analysis,
    curves,
    end_to_end,
    modes,
    operators,
    plots,
    runs,
    stats,
    summary,
    text,
)

DTYPES = ("f32", "int8", "bf16", "f16")  # in order of appearance
KINDS = {
    "measured": "timed on this machine, or by the named engine where it is a baseline",
    "predicted": "by the roofline, from measured rates",
    "published": "taken from a publication or a profile of another machine",
    "simulated": "by an emulator: right in its results, not in its speed",
}


@dataclass
class Figure:
    dtype: str
    dots: list
    svg: Markup = None
    rows: list = field(default_factory=list)  # element ids of what it is drawn from


@dataclass
class ModelView:
    """A model with everything its sections print."""

    model: dict
    plan: dict
    search: dict
    key: str  # for element ids
    elsewhere: dict
    operators: list
    measurements: list
    comparisons: list
    choices: list
    dots: list
    figures: list
    reasons: list
    status_counts: list
    map_sizes: list = field(default_factory=list)  # values of M
    map_lines: list = field(default_factory=list)
    curves: list = field(default_factory=list)
    curve_svgs: list = field(default_factory=list)
    more_curves: int = 0
    baselines: list = field(default_factory=list)  # columns of standings
    standings: list = field(default_factory=list)


def render(data):
    """The whole page as text."""
    floor = data.calibration["noise_floor"] if data.calibration else None
    views = [_view(data, model, floor) for model in data.models]
    files = {c.model_file for view in views for c in view.comparisons}
    others = end_to_end.compare(
        [], [b for b in data.baselines if b["model_file"] not in files], None, _cpu(data), floor
    )
    first = views[0] if views else None
    comparisons = first.comparisons if first else []
    cards = summary.numbers(comparisons)
    operator_card = summary.operator_number(first.choices) if first else None
    rows, left_out = allrows.collect(data)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            data=data,
            views=views,
            others=others,
            kinds=KINDS,
            floor=floor,
            sentence=summary.sentence(data, data.models[0] if data.models else None, comparisons),
            cards=cards + ([operator_card] if operator_card else []),
            warnings=summary.warnings(data, data.models),
            actions=advice.actions(data, [(m, v.comparisons) for m, v in zip(data.models, views, strict=True)]),
            windows=[(w, Markup(curves.timeline(f"timeline-{i}", w))) for i, w in enumerate(data.windows)],
            loadings=data.loadings(),
            conversions=data.conversions(),
            weight_sources=runs.WEIGHT_SOURCES,
            rows=rows,
            sources=allrows.sources(rows),
            left_out=left_out,
            scaling=_scaling(data),
            figures=_bare_figures(data) if not views else [],
            verdicts=summary.count_verdicts([s for v in views for c in v.comparisons for s in c.series]),
            created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            style=_asset("style.css"),
            script=_asset("page.js"),
        )
    )


def render_comparison(made):
    """A page of a comparison (compare.build)."""
    template = _environment().get_template("compare.html.j2")
    return template.render(made=made, style=_asset("style.css"), script=_asset("page.js"))


def _cpu(data):
    return str(data.platform["facts"].get("cpu_model", "")) if data.platform else ""


def _view(data, model, floor):
    key = f"m{model.model['id']}"
    dots = analysis.dots(model, data.peaks, floor)
    figures = []
    for dtype in _dtypes(data.peaks, dots):
        mine = [dot for dot in dots if dot.dtype == dtype]
        svg = plots.roofline(
            f"roof-{key}-{dtype}",
            dtype,
            data.peaks,
            data.bandwidths,
            mine,
            f"Roofline for {dtype} with the operators of {model.model['name']}",
            (data.coop_peaks, data.coop_bandwidths),
        )
        figures.append(Figure(dtype, mine, Markup(svg) if svg else None, _roof_rows(data, dtype, mine)))
    files = {bench["model_file"] for bench in model.benches}
    comparisons = end_to_end.compare(
        model.benches,
        [b for b in data.baselines if b["model_file"] in files],
        model.plan["id"] if model.plan else None,
        _cpu(data),
        floor,
    )
    baselines, standings = end_to_end.standings(comparisons, data.workloads_of(model))
    map_sizes, map_lines = modes.mode_map(model, floor, text.nanoseconds)
    split_curves, more_curves = modes.split_curves(model)
    return ModelView(
        model.model,
        model.plan,
        model.search,
        key,
        model.plan_elsewhere,
        model.operators,
        model.measurements,
        comparisons,
        analysis.choices(model, floor),
        dots,
        figures,
        analysis.ruled_out(model.measurements),
        analysis.status_counts(model.measurements),
        map_sizes,
        map_lines,
        split_curves,
        [Markup(curves.split(f"split-svg-{key}-{curve.number}", curve)) for curve in split_curves],
        more_curves,
        baselines,
        standings,
    )


def _roof_rows(data, dtype, dots):
    """Element ids of the rows that a roofline is drawn from."""
    peaks = [f"peak-{p['id']}" for p in analysis.best_peaks(data.peaks, dtype).values()]
    coop = plots.coop_peak(dtype, data.coop_peaks)
    peaks += [f"coop-peak-{coop['id']}"] if coop else []
    reads = [f"bandwidth-{b['id']}" for b in data.bandwidths if b["op"] == "read"]
    reads += [f"coop-bandwidth-{b['id']}" for b in data.coop_bandwidths]
    return [*(f"row-{dot.row['id']}" for dot in dots), *peaks, *reads]


def _scaling(data):
    """(caption, drawing, element ids of its rows) of what was calibrated by worker count."""
    out = []
    for dtype in _dtypes(data.peaks, []):
        ids = [f"peak-{p['id']}" for p in analysis.best_peaks(data.peaks, dtype).values()]
        out.append((f"Peak of {dtype}", curves.peak_scaling(f"scaling-{text.anchor(dtype)}", dtype, data.peaks), ids))
    ids = [f"bandwidth-{b['id']}" for b in data.bandwidths if b["op"] == "read"]
    out.append(("Read bandwidth of each memory level", curves.bandwidth_scaling("scaling-read", data.bandwidths), ids))
    return [(name, Markup(svg), ids) for name, svg, ids in out if svg]


def _bare_figures(data):
    """Ceilings alone, where there is no model to put under them."""
    out = []
    coop = (data.coop_peaks, data.coop_bandwidths)
    for dtype in _dtypes(data.peaks, []):
        svg = plots.roofline(f"roof-{dtype}", dtype, data.peaks, data.bandwidths, [], f"Roofline for {dtype}", coop)
        out.append(Figure(dtype, [], Markup(svg) if svg else None, _roof_rows(data, dtype, [])))
    return out


def _dtypes(peaks, dots):
    have = {peak["dtype"] for peak in peaks}
    known = [d for d in DTYPES if d in have] + sorted(have - set(DTYPES))
    # The type that most operators compute in comes first; types nobody computes in are context only.
    return sorted(known, key=lambda d: -sum(dot.dtype == d for dot in dots))


def _asset(name):
    return Markup(resources.files(package).joinpath("templates", name).read_text(encoding="utf-8"))


def _environment():
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: text.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters.update(
        sig=text.significant,
        ns=text.nanoseconds,
        pct=text.percent,
        ratio=text.ratio,
        size=text.size,
        ids=lambda rows, prefix="row": [f"{prefix}-{row['id']}" for row in rows],
        interval=summary.interval,
        candidate=operators.describe_candidate,
        operator=operators.describe_operator,
        group=operators.describe_group,
        blocking=operators.blocking,
        zip=lambda a, b: list(zip(a, b, strict=True)),
        breakable=_breakable,
        words=_words,
    )
    environment.globals.update(span=text.span, plural=text.pluralise, estimate=stats.estimate)
    return environment


def _template(name):
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")


def _words(value):
    """A command whose lines break between its words, and inside of one only where it is wider than the page."""
    return Markup(" ").join(
        Markup('<span class="word">{}</span>').format(word) for word in text.clean(value).split(" ")
    )


def _breakable(value):
    """An id that may be broken after its dots, since one is as wide as a phone."""
    return Markup(".<wbr>").join(escape(part) for part in text.clean(value).split("."))
