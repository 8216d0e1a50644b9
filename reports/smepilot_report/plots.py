"""Draws rooflines. Text stays text, so that it can be found, read aloud and scaled."""

from math import atan2, degrees, log10

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot  # noqa: E402  (the backend must be chosen first)
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter  # noqa: E402

from smepilot_report.analysis import best_peaks  # noqa: E402
from smepilot_report.svg import COLOURS, inline  # noqa: E402
from smepilot_report.text import clean, nanoseconds, percent, pluralise, shorten, significant  # noqa: E402

STYLE = {
    "svg.fonttype": "none",  # text, not outlines
    "svg.hashsalt": "smepilot",  # the same data gives the same bytes
    "text.parse_math": False,  # a $ in a name is a $
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": COLOURS["fg"],
    "axes.labelcolor": COLOURS["fg"],
    "axes.edgecolor": COLOURS["muted"],
    "xtick.color": COLOURS["fg"],
    "ytick.color": COLOURS["fg"],
    "grid.color": COLOURS["grid"],
    "axes.spines.top": False,
    "axes.spines.right": False,
}
UNIT_NAMES = {"cpu": "vector cores", "matrix": "matrix unit"}
PHASE_MARKS = {"decode": "o", "prefill": "s"}
BACKING = {"facecolor": COLOURS["bg"], "edgecolor": "none", "alpha": 0.8, "pad": 0.6}  # keeps text legible on lines
LABEL_GAP = 11  # points between the numbers of neighbouring dots


def roofline(prefix, dtype, peaks, bandwidths, dots, title):
    """The SVG of one dtype's roofline with `dots` (of this dtype), or None where nothing of it was measured."""
    ceilings = best_peaks(peaks, dtype)
    reads = [row for row in bandwidths if row["op"] == "read"]
    if not ceilings or not reads:
        return None
    with matplotlib.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(7.6, 4.9), layout="constrained")
        try:
            figure.patch.set_alpha(0)
            axes.patch.set_alpha(0)
            _scales(axes, ceilings, reads, dots)
            _draw_ceilings(axes, ceilings)
            _draw_bandwidths(axes, reads, max(peak["gflops"] for peak in ceilings.values()))
            figure.canvas.draw()  # fixes the axes, in whose pixels labels are spread
            tips = _draw_dots(axes, dots, prefix)
            return inline(figure, prefix, clean(title), clean(_describe(dtype, ceilings, reads, dots)), tips)
        finally:
            pyplot.close(figure)


def _scales(axes, ceilings, reads, dots):
    gflops = [peak["gflops"] for peak in ceilings.values()]
    gbps = [row["gbps"] for row in reads]
    ridges = [peak / rate for peak in gflops for rate in (min(gbps), max(gbps))]
    left = min([1.0, *ridges, *(dot.intensity for dot in dots)]) / 2
    right = max([*ridges, *(dot.intensity for dot in dots)]) * 3
    bottom = min([min(gbps) * left, *gflops, *(dot.gflops for dot in dots)])
    # Bandwidth lines may leave at the bottom; what is measured must not.
    bottom = max(bottom, min([*gflops, *(dot.gflops for dot in dots)]) / 30) / 1.5
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(left, right),
        ylim=(bottom, max([*gflops, *(dot.gflops for dot in dots)]) * 2.2),
        xlabel="operational intensity, FLOP per byte",
        ylabel="GFLOP/s (integer types: GOP/s)",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(base=10))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}".replace(",", "\u202f")))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", linewidth=0.6)


def _draw_ceilings(axes, ceilings):
    right = axes.get_xlim()[1]
    most = max(workers for _, workers in ceilings)
    drawn = []
    for (unit, workers), peak in sorted(ceilings.items(), key=lambda item: -item[1]["gflops"]):
        axes.plot(
            axes.get_xlim(),
            [peak["gflops"]] * 2,
            color=COLOURS[unit],
            linewidth=2 if workers == most else 1,
            linestyle="-" if workers == most else (0, (5, 3)),
            zorder=2,
        )
        # Two that coincide would print their labels on top of each other: the second hangs below its line.
        close = any(abs(peak["gflops"] / other - 1) < 0.25 for other in drawn)
        drawn.append(peak["gflops"])
        axes.annotate(
            f"{UNIT_NAMES[unit]} ×{workers}, {clean(peak['isa'])}: {significant(peak['gflops'])}",
            (right, peak["gflops"]),
            (-4, -3 if close else 3),
            textcoords="offset points",
            ha="right",
            va="top" if close else "bottom",
            color=COLOURS[unit],
            fontsize=8,
            zorder=5,
            bbox=BACKING,
        )


def _draw_bandwidths(axes, reads, top):
    left = axes.get_xlim()[0]
    bottom = axes.get_ylim()[0]
    most = max(row["workers"] for row in reads)
    for row in reads:
        start = max(left, bottom / row["gbps"])
        axes.plot(
            [left, top / row["gbps"]],
            [left * row["gbps"], top],
            color=COLOURS.get(row["level"], COLOURS["muted"]),
            linewidth=1.6 if row["workers"] == most else 0.8,
            linestyle="-" if row["workers"] == most else (0, (5, 3)),
            zorder=1,
        )
        if row["workers"] == most:
            axes.annotate(
                f"{clean(row['level'])} {significant(row['gbps'])} GB/s",
                (start * 1.12, start * 1.12 * row["gbps"]),
                (0, 2),
                textcoords="offset points",
                rotation=_slope(axes),
                rotation_mode="anchor",
                color=COLOURS.get(row["level"], COLOURS["muted"]),
                fontsize=8,
                zorder=4,
                bbox=BACKING,
            )


def _slope(axes):
    """Degrees at which a line of constant bandwidth rises on the screen."""
    (x0, x1), (y0, y1) = axes.get_xlim(), axes.get_ylim()
    box = axes.get_window_extent()
    return degrees(atan2(box.height / log10(y1 / y0), box.width / log10(x1 / x0)))


def _draw_dots(axes, dots, prefix):
    tips = {}
    for dot in dots:
        gid = f"{prefix}-dot-{dot.number}"
        axes.plot(
            [dot.intensity],
            [dot.gflops],
            PHASE_MARKS[dot.phase],
            color=COLOURS[dot.phase],
            markersize=6,
            markeredgecolor=COLOURS["bg"],
            markeredgewidth=0.8,
            zorder=6,
            gid=gid,
        )
        tips[gid] = clean(
            f"{dot.number}: {dot.roles}, M {dot.op['m']}: {nanoseconds(dot.row['median_ns'])}, "
            f"{significant(dot.gflops)} GFLOP/s, {significant(dot.gbps)} GB/s"
            + (f", {percent(dot.roof_share, 0)} of the roof" if dot.roof_share else "")
            + (f"; above the roof: {dot.flag}" if dot.flag else "")
        )
        if dot.flag:
            axes.plot(
                [dot.intensity],
                [dot.gflops],
                "o",
                color="none",
                markeredgecolor=COLOURS["fg"],
                markersize=12,
                markeredgewidth=1.2,
                zorder=6,
            )
    for dot, (x, y) in zip(dots, _spread(axes, dots), strict=False):
        at = axes.transData.transform((dot.intensity, dot.gflops))
        axes.annotate(
            f"{dot.number}{'!' if dot.flag else ''} {shorten(dot.roles, 26)}",
            (dot.intensity, dot.gflops),
            (x - at[0], y - at[1]),
            textcoords="offset pixels",
            fontsize=8,
            va="center",
            color=COLOURS["fg"],
            zorder=7,
            bbox=BACKING,
            arrowprops={"arrowstyle": "-", "color": COLOURS["muted"], "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3},
        )
    handles = [
        axes.plot([], [], PHASE_MARKS[phase], color=COLOURS[phase], label=label)[0]
        for phase, label in (("decode", "decode"), ("prefill", "prefill"))
        if any(dot.phase == phase for dot in dots)
    ]
    if handles:
        axes.legend(handles=handles, loc="lower right", frameon=False, fontsize=8)
    return tips


def _spread(axes, dots):
    """Places for the labels, right of their dots and pushed apart until none covers another, in pixels."""
    gap = LABEL_GAP * axes.figure.dpi / 72
    places = [axes.transData.transform((dot.intensity, dot.gflops)) + (12, 0) for dot in dots]
    wide = 14 * gap
    for _ in range(200):
        moved = False
        order = sorted(range(len(places)), key=lambda i: places[i][1])
        for i, lower in enumerate(order):
            for upper in order[i + 1 :]:
                short = gap - (places[upper][1] - places[lower][1])
                if short > 0.1 and abs(places[upper][0] - places[lower][0]) < wide:
                    places[lower][1] -= short / 2
                    places[upper][1] += short / 2
                    moved = True
        if not moved:
            break
    return places


def _describe(dtype, ceilings, reads, dots):
    """The drawing in words; the tables beside it have the rest."""
    roofs = "; ".join(
        f"{UNIT_NAMES[unit]} with {pluralise(workers, 'worker')} {significant(peak['gflops'])} GFLOP/s"
        for (unit, workers), peak in sorted(ceilings.items())
    )
    lines = "; ".join(
        f"{row['level']} with {pluralise(row['workers'], 'worker')} {significant(row['gbps'])} GB/s" for row in reads
    )
    points = "; ".join(
        f"{dot.number}: {dot.roles} at M {dot.op['m']}, {significant(dot.intensity)} FLOP per byte, "
        f"{significant(dot.gflops)} GFLOP/s"
        for dot in dots
    )
    return f"Roofline of {dtype}. Ceilings: {roofs}. Read bandwidths: {lines}. Operators: {points or 'none'}."
