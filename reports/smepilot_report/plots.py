"""Draws rooflines. Text stays text, so that it can be found, read aloud and scaled."""

from math import atan2, cos, degrees, log10, radians

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
LETTER = 5.2  # points that a letter of a label takes, on average or more
LABEL_GAP = 11  # points between the numbers of neighbouring dots


def roofline(prefix, dtype, peaks, bandwidths, dots, title, coop=((), ())):
    """The SVG of one dtype's roofline with `dots` (of this dtype), or None where nothing of it was measured.
    coop: peaks and bandwidths of both units at once."""
    ceilings = best_peaks(peaks, dtype)
    reads = [row for row in bandwidths if row["op"] == "read"]
    if not ceilings or not reads:
        return None
    with matplotlib.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            figsize=(7.8, 4.9), dpi=72, layout="constrained"
        )  # a pixel is a point, as in the SVG
        try:
            figure.patch.set_alpha(0)
            axes.patch.set_alpha(0)
            _scales(axes, ceilings, reads, dots, coop_peak(dtype, coop[0]))
            figure.canvas.draw()  # fixes the axes, in whose pixels labels are spread
            _draw_ceilings(axes, ceilings, coop_peak(dtype, coop[0]))
            _draw_bandwidths(axes, reads, max(peak["gflops"] for peak in ceilings.values()))
            together = _draw_coop(axes, dtype, *coop)
            figure.canvas.draw()  # again: the labels beside the axes took from their width
            tips = _draw_dots(axes, dots, prefix)
            return inline(figure, prefix, clean(title), clean(_describe(dtype, ceilings, reads, dots) + together), tips)
        finally:
            pyplot.close(figure)


def coop_peak(dtype, peaks):
    """The fastest calibrated peak of both units at once while the matrix unit computes in `dtype`, or None."""
    mine = [peak for peak in peaks if peak["matrix_dtype"] == dtype]
    return max(mine, key=lambda peak: peak["matrix_gflops"] + peak["cpu_gflops"], default=None)


def _draw_coop(axes, dtype, peaks, bandwidths):
    """Ceilings of both units at once; returns them in words."""
    words = []
    style = {"color": COLOURS["coop"], "linewidth": 1.4, "linestyle": "-.", "zorder": 2}
    peak = coop_peak(dtype, peaks)
    top = axes.get_ylim()[1]
    if peak is not None:
        top = peak["matrix_gflops"] + peak["cpu_gflops"]
        axes.plot(axes.get_xlim(), [top] * 2, **style)
        words.append(f"peak {significant(top)} GFLOP/s")
    best = {}
    for row in bandwidths:
        best[row["level"]] = max(best.get(row["level"], 0), row["matrix_gbps"] + row["cpu_gbps"])
    left = axes.get_xlim()[0]
    for level, rate in best.items():
        axes.plot([left, top / rate], [left * rate, top], **{**style, "linewidth": 1.0, "zorder": 1})
        words.append(f"{level} {significant(rate)} GB/s")
    return f" Both units at once: {'; '.join(words)}." if words else ""


def _scales(axes, ceilings, reads, dots, both):
    gflops = [peak["gflops"] for peak in ceilings.values()]
    if both is not None:
        gflops.append(both["matrix_gflops"] + both["cpu_gflops"])
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


def _draw_ceilings(axes, ceilings, both):
    """Lines of the peaks; beside the axes the names of all of them, and of both units' peak, which is drawn later."""
    most = max(workers for _, workers in ceilings)
    names = []  # rate, colour, label
    for (unit, workers), peak in ceilings.items():
        axes.plot(
            axes.get_xlim(),
            [peak["gflops"]] * 2,
            color=COLOURS[unit],
            linewidth=2 if workers == most else 1,
            linestyle="-" if workers == most else (0, (5, 3)),
            zorder=2,
        )
        label = f"{UNIT_NAMES[unit]} ×{workers}\n{clean(peak['isa'])}: {significant(peak['gflops'])}"
        names.append((peak["gflops"], COLOURS[unit], label))
    if both is not None:
        rate = both["matrix_gflops"] + both["cpu_gflops"]
        names.append((rate, COLOURS["coop"], f"both units\nat once: {significant(rate)}"))
    names.sort(key=lambda name: name[0])
    heights = [axes.transData.transform((1, rate))[1] for rate, _, _ in names]
    for (rate, colour, label), height, place in zip(names, heights, _push_apart(heights, 2 * LABEL_GAP), strict=True):
        axes.annotate(
            label,
            (1, rate),
            (5, place - height),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=8,
            annotation_clip=False,
        )


def _draw_bandwidths(axes, reads, top):
    left = axes.get_xlim()[0]
    bottom = axes.get_ylim()[0]
    most = max(row["workers"] for row in reads)
    turn = radians(_slope(axes))
    taken = []  # by labels: height of the line at the left, begin and end, in points
    for row in sorted(reads, key=lambda row: -row["gbps"]):
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
            text = f"{clean(row['level'])} {significant(row['gbps'])} GB/s"
            height = axes.transData.transform((left, left * row["gbps"]))[1]
            begin, width = axes.transData.transform((start * 1.12, top))[0], LETTER * len(text) * cos(turn)
            for other, first, last in sorted(taken, key=lambda place: place[1]):  # lines of like bandwidth lie close
                if (other - height) * cos(turn) < LABEL_GAP + 2 and begin < last and first < begin + width:
                    begin = last + 6
            taken.append((height, begin, begin + width))
            at = axes.transData.inverted().transform((begin, 0))[0]
            axes.annotate(
                text,
                (at, at * row["gbps"]),
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
    for dot, (x, y, side) in zip(dots, _spread(axes, dots), strict=False):
        at = axes.transData.transform((dot.intensity, dot.gflops))
        axes.annotate(
            _label(dot),
            (dot.intensity, dot.gflops),
            (x - at[0], y - at[1]),
            textcoords="offset points",
            fontsize=8,
            va="center",
            ha=side,
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


def _label(dot):
    return f"{dot.number}{'!' if dot.flag else ''} {shorten(dot.roles, 26)}"


def _spread(axes, dots):
    """Places for the labels in points, and the side that is there: of dots that are close, in one column right of them
    all, in order of height; left of them, where the column would leave the axes: there the ceilings are named."""
    at = [axes.transData.transform((dot.intensity, dot.gflops)) for dot in dots]
    places = [None] * len(dots)
    for cluster in _clusters(at):
        cluster.sort(key=lambda i: at[i][1])
        column, side = max(at[i][0] for i in cluster) + 14, "left"
        if column + max(LETTER * len(_label(dots[i])) for i in cluster) > axes.bbox.x1:
            column, side = min(at[i][0] for i in cluster) - 14, "right"
        for i, height in zip(cluster, _push_apart([at[i][1] for i in cluster], LABEL_GAP), strict=True):
            places[i] = (column, height, side)
    return places


def _clusters(points):
    """Lists of the indices of points whose labels would meet, directly or through others."""
    left = set(range(len(points)))
    out = []
    while left:
        cluster, queue = [], [left.pop()]
        while queue:
            i = queue.pop()
            cluster.append(i)
            near = {j for j in left if abs(points[i][0] - points[j][0]) < 110 and abs(points[i][1] - points[j][1]) < 24}
            left -= near
            queue.extend(sorted(near))
        out.append(cluster)
    return out


def _push_apart(heights, gap):
    """Ascending heights, moved as little as needed to be `gap` apart: neighbours that would touch become a block around
    their mean."""
    blocks = []  # [centre, heights in it]
    for height in heights:
        blocks.append([height, [height]])
        while len(blocks) > 1:
            (low, below), (high, above) = blocks[-2:]
            if high - low >= gap * (len(below) + len(above)) / 2:
                break
            merged = below + above
            blocks[-2:] = [[sum(merged) / len(merged), merged]]
    return [centre + gap * (i - (len(members) - 1) / 2) for centre, members in blocks for i in range(len(members))]


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
