"""Command line: reads a database, writes a report. Exit codes: 0 done, 1 failed, 2 usage, 3 a comparison
found a significant regression beyond its threshold."""

import argparse
import json
import os
import secrets
import sys

from smepilot_report import compare, document, markdown
from smepilot_report import data as rows
from smepilot_report.database import Reader, ReportError

EXIT_REGRESSION = 3
PACKAGES = "python3-jinja2 python3-matplotlib"  # of Debian


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="smepilot_report", description="Write a report of a smepilot database.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--db", metavar="PATH", help="database, as smetune writes it")
    parser.add_argument(
        "--out", metavar="FILE", help="file to write, - for standard output (default: html report.html, else -)"
    )
    parser.add_argument("--format", choices=("html", "md", "json"), default="html", help="default: html")
    parser.add_argument("--model", metavar="NAME|HASH", help="only this model")
    parser.add_argument("--plan", type=int, metavar="ID", help="this plan instead of the newest (smetune plan list)")
    what.add_argument(
        "--compare", nargs=2, metavar=("A", "B"), help="two databases, or PATH:PLAN of each; instead of --db"
    )
    parser.add_argument(
        "--threshold",
        type=_percentage,
        default=5.0,
        metavar="PCT",
        help="with --compare: a significant regression by more ends with exit code 3 (default: 5)",
    )
    parser.add_argument("--trace", metavar="FILE", help="timeline that smepilot-run --trace wrote")
    parser.add_argument("--stats", metavar="FILE", help="what smepilot-run --stats --json printed")
    options = parser.parse_args(arguments)
    if (options.trace or options.stats) and options.compare:
        parser.error("--trace and --stats are for the report of one database")
    if options.compare and options.plan is not None:
        parser.error("--plan: with --compare, name a plan as PATH:PLAN")
    out = options.out or ("report.html" if options.format == "html" else "-")
    try:
        if options.compare:
            return _compare(options, out)
        _refuse_to_overwrite(out, options.db)
        _write(out, _report(options), f"Report of {options.db}")
    except ReportError as error:
        print(f"smepilot_report: {error}", file=sys.stderr)
        return 1
    return 0


def _percentage(text):
    value = float(text)
    if not 0 <= value < 100:
        raise argparse.ArgumentTypeError(f"{text} is not a percentage from 0 to less than 100")
    return value


def _compare(options, out):
    for name in options.compare:
        _refuse_to_overwrite(out, compare.split_name(name)[0])
    a, b = (compare.read(name, options.model) for name in options.compare)
    made = compare.build(a, b, options.threshold / 100)
    if options.format == "html":
        content = _page_module().render_comparison(made)
    else:
        content = markdown.render_comparison(made) if options.format == "md" else _as_json(made)
    _write(out, content, f"Comparison of {a.name} with {b.name}")
    if made["regressions_beyond_threshold"] == 0:
        return 0
    print(f"smepilot_report: {made['sentence']}", file=sys.stderr)
    return EXIT_REGRESSION


def _report(options):
    reader = Reader(options.db)
    try:
        data = rows.load(reader, options.model, options.plan)
    finally:
        reader.close()
    data.add_run(options.trace, options.stats)
    if options.format == "html":
        return _page_module().render(data)
    made = document.build(data)
    return markdown.render(made) if options.format == "md" else _as_json(made)


def _page_module():
    try:
        from smepilot_report import page  # here: a missing library gets a message instead of a traceback
    except ImportError as error:
        raise ReportError(
            f"a Python package is missing ({error}); on Debian: apt-get install {PACKAGES}; "
            "SMEPILOT_PYTHON names another interpreter; --format md and json need neither"
        ) from error
    return page


def _as_json(value):
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write(out, content, what):
    if out != "-":
        write_whole(out, content)
        print(f"{what} written to {out}")
        return
    try:
        sys.stdout.write(content)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains again when it ends
        raise ReportError(f"standard output: cannot be written: {error.strerror}") from error


def write_whole(path, content):
    """Writes a file so that it is there in whole or not at all, whatever was there before stays until then."""
    part = f"{path}.{secrets.token_hex(4)}.part"
    try:
        try:
            with open(part, "x", encoding="utf-8", newline="\n") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            if os.path.exists(part):
                os.unlink(part)
            raise
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror}") from error


def _refuse_to_overwrite(out, database):
    if out != "-" and os.path.exists(out) and os.path.exists(database) and os.path.samefile(out, database):
        raise ReportError(f"{out}: is the database itself, not a place for the report")
