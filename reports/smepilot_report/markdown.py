"""The report as Markdown that also reads well as it is: tables are aligned and lines fit 80 columns of a terminal."""

import re
import textwrap

from smepilot_report.text import clean, nanoseconds, percent, ratio, shorten, significant, size, span

WIDTH = 80


def escape(value):
    """Foreign text as text: no markup, no table borders, in one line."""
    # Not split(): that takes a narrow no-break space in a number for a place to break.
    return re.sub(r"([\\`*<\[|&$~])", r"\\\1", re.sub(r"[^\S\u00a0\u202f]+", " ", clean(value)).strip())


def paragraph(value):
    return textwrap.fill(value, WIDTH, break_long_words=False, break_on_hyphens=False)


def item(value, first="- ", then="  "):
    return textwrap.fill(
        value, WIDTH, initial_indent=first, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    )


def table(header, rows, right=()):
    """Aligned; `right`: the columns of numbers. Where it would be wider than a terminal, the first column is cut."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(3, *(len(row[i]) for row in [header, *rows])) for i in range(len(header))]
    over = sum(widths) + 3 * len(widths) + 1 - WIDTH
    if over > 0:
        widths[0] = max(12, widths[0] - over)
        for row in rows:
            row[0] = shorten(row[0], widths[0])
            row[0] = re.sub(r"\\(…?)$", r"\1", row[0])  # half an escape is none

    def line(cells):
        padded = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * (w - 1) + ":" if i in right else "-" * w for i, w in enumerate(widths)]
    return "\n".join([line(header), line(rule), *map(line, rows)])


def render(document):
    """The text of a report (document.build)."""
    blocks = ["# smepilot report", paragraph(escape(document["summary"]["sentence"]))]
    numbers = document["summary"]["numbers"]
    blocks += [
        "\n".join(
            item(
                f"**{escape(n['value'])}** {escape(n['label'])} ({n['kind']}): {escape(n['interval'])}"
                + "".join(f"; {escape(note)}" for note in n["notes"])
            )
            for n in numbers
        )
    ]
    blocks += [item(f"Mind: {escape(warning)}", "> ", "> ") for warning in document["summary"]["warnings"]]
    blocks += _actions(document["actions"])
    blocks += _machine(document)
    for model in document["models"]:
        blocks += _model(model)
    if not document["models"]:
        blocks.append(paragraph("No model was searched or run yet: `smetune search --model MODEL`"))
    blocks += _workloads(document["workloads"])
    blocks += _loads(document["loads"])
    blocks += _conversions(document["conversions"])
    blocks += _timeline(document["timeline"])
    labels = {}
    for row in document["rows"]:
        labels[row["kind"] or "without a number"] = labels.get(row["kind"] or "without a number", 0) + 1
    if labels:
        counts = ", ".join(f"{n} {label}" for label, n in labels.items())
        blocks.append(
            paragraph(f"It rests on {len(document['rows'])} rows ({counts}), which --format html and json list.")
        )
    blocks.append(paragraph(f"Written {document['created']} from {escape(document['database'])}."))
    return "\n\n".join(block for block in blocks if block) + "\n"


def render_comparison(made):
    """The text of a comparison (compare.build): regressions and gains in full, of the others their number."""
    blocks = ["# smepilot comparison", paragraph(escape(made["sentence"]))]
    for name in ("a", "b"):
        side = made[name]
        builds = ", ".join(side["revisions"]) or "unknown"
        blocks.append(
            item(f"{name.upper()}: {escape(side['database'])}, {escape(side['cpu'])}, build {escape(builds)}")
        )
    floor = made["noise_floor"]
    blocks.append(
        paragraph(
            "Ratios above 1 are better, with 95 % intervals (of the test of Mann and Whitney), from raw "
            f"samples (measured). Noise floor {percent(floor) if floor is not None else 'unknown, taken as 0'}, "
            f"threshold {percent(made['threshold'])}; ! is a regression beyond it."
        )
    )
    for word, heading in (("regression", "Regressions"), ("gain", "Gains"), ("not judged", "Not judged")):
        mine = [c for c in made["changes"] if c["verdict"] == word]
        if mine:
            header = ["What", "With", "A", "B", "Ratio", "Interval"]
            blocks += [f"## {heading}", table(header, map(_change, mine), (2, 3, 4))]
    blocks.append(f"No difference beyond noise: {made['counts']['no difference']}.")
    return "\n\n".join(blocks) + "\n"


def command(value):
    """A command as a block of code, broken where a shell lets it be: a backslash at the end of a line."""
    lines = [""]
    for word in clean(value).split(" "):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > WIDTH:
            lines.append("   ")
        lines[-1] += (" " if lines[-1].strip() or len(lines) > 1 else "") + word
    return "```sh\n" + " \\\n".join(lines) + "\n```"


def _actions(actions):
    out = ["## Next steps"] if actions else []
    for number, action in enumerate(actions, 1):
        out.append(item(f"{number}. **{escape(action['what'])}**: {escape(action['why'])}.", "", "   "))
        if action["command"]:
            out.append(command(action["command"]))
    return out


def _verdict(verdict):
    """ "1.99× win", with the interval of the ratio where there is one."""
    if verdict is None:
        return "—"
    between = "" if verdict["ratio_low"] is None else f" {verdict['ratio_low']:.2f}–{verdict['ratio_high']:.2f}"
    return f"{ratio(verdict['ratio'])} {verdict['word']}{between}"


def _standings(baselines):
    """One small table of each baseline that has something to show, since all of them are wider than a terminal."""
    out = []
    for name in baselines[0]["against"] if baselines else ():
        mine = [b for b in baselines if b["against"].get(name)]
        if not mine:
            out.append(paragraph(f"Against {escape(name)}: not measured."))
            continue
        rows = [
            [
                escape(b["workload"]),
                b["threads"],
                significant(b["ours"]),
                ratio(b["against"][name]["ratio"]),
                _between(b["against"][name]),
                b["against"][name]["word"],
            ]
            for b in mine
        ]
        out.append(
            table([f"Against {escape(name)}", "Thr.", "Ours", "Ours÷it", "Interval", "Verdict"], rows, (1, 2, 3))
        )
    return out


def _between(verdict):
    return "—" if verdict["ratio_low"] is None else f"{verdict['ratio_low']:.2f}–{verdict['ratio_high']:.2f}"


def _workloads(workloads):
    out = ["## Workloads, seconds (measured)"] if workloads else []
    for engines in workloads:
        w = engines[0]
        scale = f" at scale {w['scale']:g}" if w["scale"] != 1 else ""
        out.append(
            paragraph(
                f"{escape(w['workload'])}{scale}: {w['n_prompt']} + {w['n_gen']} tokens, batch {w['batch']}, "
                f"{escape(w['model_file'])}, {w['threads']} threads"
            )
        )
        rows = [
            [
                escape(f"{e['engine']} {e['build']}"),
                significant(e["prefill_s"]["median"]),
                significant(e["decode_s"]["median"]),
                significant(e["total_s"]["median"]),
                significant(e["joules_per_token"]) if e["joules_per_token"] is not None else "—",
                _verdict(e["verdicts"].get("total")),
            ]
            for e in engines
        ]
        out.append(table(["Engine", "Prefill", "Decode", "Total", "J/token", "Ours÷it, total"], rows, (1, 2, 3, 4)))
    return out


def _loads(loads):
    if not loads:
        return []
    rows = [
        [
            escape(one["source"]),
            one["weights_from"],
            significant(one["seconds"]),
            *(size(one[part]) for part in ("peak_rss_bytes", "weights_bytes", "kv_cache_bytes")),
        ]
        for one in loads
    ]
    header = ["Run", "Weights", "Ready, s", "Peak RAM", "Weights", "KV cache"]
    return ["## Load time and memory (measured)", table(header, rows, (2, 3, 4, 5))]


def _conversions(found):
    if not found:
        return []

    def both(count, ns):
        return "—" if count is None else f"{count}" + (f" ({nanoseconds(ns)})" if ns else "")

    rows = [
        [
            escape(one["source"]),
            f"{phase}, {one[phase]['tokens']}",
            both(one[phase]["done"], one[phase]["done_ns"]),
            both(one[phase]["priced"], one[phase]["priced_ns"]),
            both(one[phase]["avoided"], one[phase]["avoided_ns"]),
        ]
        for one in found
        for phase in ("prefill", "decode")
        if one[phase] and one[phase]["passes"]
    ]
    header = ["Run", "Tokens", "Done", "In the price", "Avoided"]
    explained = paragraph("Done is measured; the plan's price, and what sharing a packing avoids, are predicted.")
    return ["## Layout conversions", table(header, rows, (2, 3, 4)), explained] if rows else []


def _timeline(windows):
    out = ["## Timeline (measured)"] if windows else []
    for window in windows:
        idle = ", ".join(f"worker {w['worker']} idle {percent(w['idle_share'], 0)}" for w in window["workers"])
        out.append(paragraph(f"{escape(window['title'])}: {significant(window['us'])} µs; {idle}."))
    return out


def _change(change):
    def amount(value):
        return nanoseconds(value) if change["unit"] == "ns" else f"{significant(value)} t/s"

    interval = "—" if change["ratio_low"] is None else f"{ratio(change['ratio_low'])}–{ratio(change['ratio_high'])}"
    return [
        escape(change["what"]),
        change["how"],
        amount(change["a"]["median"]),
        amount(change["b"]["median"]),
        ratio(change["ratio"]) + ("!" if change["beyond_threshold"] else ""),
        interval,
    ]


def _machine(document):
    machine, calibration = document["machine"], document["calibration"]
    if machine is None:
        return ["Nothing is stored yet: `smetune calibrate`"]
    unit = (
        f"{machine['matrix_units']} × {escape(machine['matrix_unit'])}" if machine["matrix_unit"] else "no matrix unit"
    )
    what = f"{escape(machine['cpu'])}, {machine['cores']} cores, {unit}; {machine['fingerprint']}."
    out = ["## Machine", paragraph(what)]
    if calibration is None:
        return [*out, "It is not calibrated: `smetune calibrate`"]
    best = {}
    for peak in calibration["peaks"]:
        key = (peak["dtype"], peak["unit"])
        if key not in best or peak["gflops"] > best[key]["gflops"]:
            best[key] = peak
    out.append(paragraph(f"Noise floor {percent(calibration['noise_floor'])} (measured)."))
    out.append(
        table(
            ["Peak (measured)", "Unit", "Instructions", "Workers", "GFLOP/s"],
            [
                [dtype, unit, escape(p["isa"]), p["workers"], significant(p["gflops"])]
                for (dtype, unit), p in sorted(best.items())
            ],
            right=(3, 4),
        )
    )
    return out


def _model(model):
    out = [f"## {escape(shorten(model['name'], 60))}"]
    if model["end_to_end"]:
        out.append("### End to end, tokens/s (measured)")
        out.append(
            table(
                ["What", "Test", "Thr.", "Median", "Interval", "Ours÷it", "Verdict"],
                [
                    [
                        escape(s["label"]),
                        escape(shorten(s["test"], 16)),
                        s["threads"],
                        significant(s["tokens_per_s"]["median"]),
                        f"{significant(s['tokens_per_s']['low'])}–{significant(s['tokens_per_s']['high'])}",
                        ratio(s["verdict"]["ratio"]) if s["verdict"] else "—",
                        s["verdict"]["word"] if s["verdict"] else "ours" if s["reference"] else "—",
                    ]
                    for s in model["end_to_end"]
                ],
                right=(2, 3, 5),
            )
        )
        out += _standings(model["baselines"])
    else:
        out.append(paragraph("No end-to-end run is stored: `smepilot-run --bench -m MODEL.gguf --plan db --record`"))
    if model["plan"]:
        out.append(f"### Plan {model['plan']['id']} ({model['plan']['planner']})")
        out.append(
            table(
                ["Operator", "M", "Mode", "Measured", "Default", "Gain", "Verdict"],
                [
                    [
                        escape(c["roles"]),
                        span(c["m_min"], c["m_max"]),
                        c["mode"],
                        nanoseconds(c["measured_ns"]) if c["measured_ns"] else "—",
                        nanoseconds(c["default_ns"]) if c["default_ns"] else "—",
                        ratio(c["gain"]) if c["gain"] else "—",
                        "default" if c["is_default"] else c["verdict"]["word"] if c["verdict"] else "not judged",
                    ]
                    for c in model["choices"]
                ],
                right=(1, 3, 4, 5),
            )
        )
    else:
        out.append(paragraph("There is no plan of this model for this machine: `smetune search --model MODEL`"))
    if model["ruled_out"]:
        counts = {}
        for reason in model["ruled_out"]:
            counts[reason["status"]] = counts.get(reason["status"], 0) + reason["count"]
        out.append(paragraph("Ruled out: " + ", ".join(f"{n} {status}" for status, n in counts.items()) + "."))
    return out
