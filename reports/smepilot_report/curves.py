"""Draws curves: rates by worker count, and times by split point."""

import matplotlib
from matplotlib import pyplot

from smepilot_report.analysis import best_peaks
from smepilot_report.plots import STYLE, UNIT_NAMES
from smepilot_report.svg import COLOURS, inline
from smepilot_report.text import clean, nanoseconds, percent, pluralise, significant

LEGEND = {
    "frameon": False,
    "fontsize": 8,
    "loc": "lower left",
    "bbox_to_anchor": (0, 1),
    "ncols": 4,
    "columnspacing": 1.2,
}


def _draw(prefix, title, describe, paint, inches=(5.2, 3.2)):
    """The SVG of what `paint(axes)` draws; it returns the tips. Small enough for the text to be legible on a phone."""
    with matplotlib.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=inches, dpi=72, layout="constrained")
        try:
            figure.patch.set_alpha(0)
            axes.patch.set_alpha(0)
            axes.set_axisbelow(True)
            axes.grid(True, linewidth=0.6)
            tips = paint(axes)
            return inline(figure, prefix, clean(title), clean(describe), tips)
        finally:
            pyplot.close(figure)


def _scaling(prefix, title, lines, unit):
    """lines: {(label, colour): [(workers, rate)]}. The dashed line is what every worker would add if all scaled."""
    words = "; ".join(
        f"{label}: " + ", ".join(f"{significant(rate)} {unit} with {pluralise(n, 'worker')}" for n, rate in points)
        for (label, _), points in lines.items()
    )

    def paint(axes):
        most = max(n for points in lines.values() for n, _ in points)
        tips = {}
        for i, ((label, colour), points) in enumerate(lines.items()):
            first_workers, first = points[0]
            axes.plot(
                [first_workers, most],
                [first, first * most / first_workers],
                linestyle=(0, (4, 3)),
                linewidth=0.8,
                color=COLOURS[colour],
            )
            style = {"marker": "o", "markersize": 5, "linewidth": 1.8, "label": label}
            axes.plot(*zip(*points, strict=True), color=COLOURS[colour], **style)
            for n, rate in points:
                gid = f"point-{i}-{n}"
                axes.plot([n], [rate], "o", markersize=9, alpha=0, color=COLOURS[colour], gid=gid)
                tips[gid] = clean(f"{label} with {pluralise(n, 'worker')}: {significant(rate)} {unit}")
        counts = sorted({n for points in lines.values() for n, _ in points})
        axes.set(xlabel="workers", ylabel=unit, ylim=(0, None), xticks=counts, xlim=(counts[0] - 0.2, counts[-1] + 0.2))
        axes.legend(**LEGEND)
        return tips

    return _draw(prefix, title, f"{title}. {words}.", paint)


def peak_scaling(prefix, dtype, peaks):
    """GFLOP/s of each unit by worker count, with the fastest instruction set of each; None: nothing was measured."""
    lines = {}
    for (unit, workers), peak in sorted(best_peaks(peaks, dtype).items()):
        lines.setdefault((UNIT_NAMES[unit], unit), []).append((workers, peak["gflops"]))
    return _scaling(prefix, f"Peak of {dtype} by workers", lines, "GFLOP/s") if lines else None


def bandwidth_scaling(prefix, bandwidths):
    lines = {}
    for row in bandwidths:
        if row["op"] == "read":
            colour = row["level"] if row["level"] in COLOURS else "muted"
            lines.setdefault((row["level"], colour), []).append((row["workers"], row["gbps"]))
    return _scaling(prefix, "Read bandwidth by workers", lines, "GB/s") if lines else None


def split(prefix, curve):
    """Times of one operator by the share of the matrix unit, with their intervals."""
    alone = "; ".join(f"{UNIT_NAMES[mode]} alone {nanoseconds(row['median_ns'])}" for mode, row in curve.alone.items())
    words = ", ".join(f"{percent(share, 0)} {nanoseconds(row['median_ns'])}" for share, row, _ in curve.points)
    title = f"Split of {curve.title}"

    def paint(axes):
        scale, unit = (1e6, "ms") if curve.fastest[1]["median_ns"] >= 1e6 else (1e3, "µs")
        shares = [100 * share for share, _, _ in curve.points]
        middle = [e.median / scale for _, _, e in curve.points]
        below = [(e.median - e.low) / scale for _, _, e in curve.points]
        above = [(e.high - e.median) / scale for _, _, e in curve.points]
        axes.errorbar(shares, middle, yerr=[below, above], color=COLOURS["coop"], marker="o", markersize=4, capsize=3)
        for mode, row in curve.alone.items():
            axes.axhline(
                row["median_ns"] / scale,
                color=COLOURS[mode],
                linestyle=(0, (5, 3)),
                linewidth=1.2,
                label=f"{UNIT_NAMES[mode]} alone",
            )
        tips = {}
        for i, (share, row, e) in enumerate(curve.points):
            axes.plot([100 * share], [e.median / scale], "o", markersize=10, alpha=0, gid=f"point-{i}")
            tips[f"point-{i}"] = clean(
                f"{row['split_dim']} {row['split']} of {row['split_of']}: {nanoseconds(e.median)} "
                f"({nanoseconds(e.low)} to {nanoseconds(e.high)}), {pluralise(e.count, 'sample')}, row {row['id']}"
            )
        for point, mark, label in ((curve.fastest, "*", "fastest"), (curve.planned, "s", "planned")):
            if point is not None:
                axes.plot(
                    [100 * point[0]],
                    [point[2].median / scale],
                    mark,
                    markersize=14,
                    color="none" if mark == "s" else COLOURS["coop"],
                    markeredgecolor=COLOURS["fg"],
                    markeredgewidth=1.4,
                    label=label,
                )
        # The drawing is of the medians: an interval that a disturbance stretched is cut, and an arrow says so.
        drawn = middle + [row["median_ns"] / scale for row in curve.alone.values()]
        room = 0.5 * (max(drawn) - min(drawn)) or 0.1 * max(drawn)
        high = max(drawn) + room
        lowest = max(min(drawn) - room, min([*drawn, *(m - b for m, b in zip(middle, below, strict=True))]))
        low = max(0, lowest - 0.06 * (high - lowest))
        cut = [x for x, m, a in zip(shares, middle, above, strict=True) if m + a > high]
        axes.set(xlabel="share of the matrix unit, %", ylabel=f"time, {unit}", ylim=(low, high))
        axes.plot(cut, [high - 0.02 * (high - low)] * len(cut), "^", color=COLOURS["coop"], markersize=6)
        axes.legend(markerscale=0.6, **LEGEND)
        return tips

    return _draw(prefix, title, f"{title}. Times by the matrix unit's share: {words}. {alone}.", paint)


def timeline(prefix, window):
    """What each worker did in a stretch of time; hatched: nothing."""
    matrix = sum(t.unit == "matrix" for tasks in window.workers.values() for t in tasks)
    idle = ", ".join(f"worker {w} {percent(window.idle_share(w), 0)}" for w in window.workers)
    total = sum(map(len, window.workers.values()))
    words = f"{window.title}: {significant(window.span)} µs, {pluralise(total, 'task')}, {matrix} on the matrix unit"

    scale, unit = (1e3, "ms") if window.span >= 1e4 else (1, "µs")  # of the axis

    def paint(axes):
        tips = {}
        for row, (worker, tasks) in enumerate(window.workers.items()):
            for begin, end in window.idle[worker]:
                axes.barh(
                    row,
                    (end - begin) / scale,
                    left=(begin - window.begin) / scale,
                    height=0.7,
                    color="none",
                    edgecolor=COLOURS["grid"],
                    hatch="///",
                    linewidth=0,
                )
            for i, task in enumerate(tasks[:400]):
                begin, end = max(task.begin, window.begin), min(task.end, window.end)
                bar = axes.barh(
                    row,
                    (end - begin) / scale,
                    left=(begin - window.begin) / scale,
                    height=0.7,
                    color=COLOURS["matrix" if task.unit == "matrix" else "decode"],
                    edgecolor=COLOURS["bg"],
                    linewidth=0.4,
                )
                bar[0].set_gid(f"task-{row}-{i}")
                tips[f"task-{row}-{i}"] = clean(
                    f"{task.operator}: {task.name}, worker {worker}, {significant(task.end - task.begin)} µs"
                )
        axes.set(
            xlabel=unit,
            yticks=range(len(window.workers)),
            yticklabels=[f"worker {w}" for w in window.workers],
            xlim=(0, window.span / scale),
        )
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        return tips

    inches = 7.8, 0.8 + 0.45 * len(window.workers)
    return _draw(prefix, window.title, f"{words}. Idle: {idle}.", paint, inches)
