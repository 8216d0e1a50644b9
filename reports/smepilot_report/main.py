"""Command line: reads a database, writes a page. Exit codes: 0 done, 1 failed, 2 usage."""

import argparse
import os
import secrets
import sys

from smepilot_report import data as rows
from smepilot_report.database import Reader, ReportError

PACKAGES = "python3-jinja2 python3-matplotlib"  # of Debian


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="smepilot_report", description="Write a self-contained HTML report of a smepilot database."
    )
    parser.add_argument("--db", required=True, metavar="PATH", help="database, as smetune writes it")
    parser.add_argument("--out", required=True, metavar="FILE", help="HTML file to write")
    parser.add_argument("--model", metavar="NAME|HASH", help="only this model")
    parser.add_argument("--plan", type=int, metavar="ID", help="this plan instead of the newest (smetune plan list)")
    options = parser.parse_args(arguments)
    try:
        _refuse_to_overwrite_database(options)
        reader = Reader(options.db)
        try:
            data = rows.load(reader, options.model, options.plan)
        finally:
            reader.close()
        try:
            from smepilot_report.page import render  # here: a missing library gets a message instead of a traceback
        except ImportError as error:
            raise ReportError(
                f"a Python package is missing ({error}); on Debian: apt-get install {PACKAGES}; "
                "SMEPILOT_PYTHON names another interpreter"
            ) from error
        write_whole(options.out, render(data))
    except ReportError as error:
        print(f"smepilot_report: {error}", file=sys.stderr)
        return 1
    print(f"Report of {options.db} written to {options.out}")
    return 0


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


def _refuse_to_overwrite_database(options):
    if os.path.exists(options.out) and os.path.exists(options.db) and os.path.samefile(options.out, options.db):
        raise ReportError(f"{options.out}: is the database itself, not a place for the report")
