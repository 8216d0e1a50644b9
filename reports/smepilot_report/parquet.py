"""Writes tables of a database as Parquet files: `smetune db export --format parquet`. Needs the package pyarrow.

usage: python3 -m smepilot_report.parquet DATABASE FOLDER TABLE..."""

import os
import secrets
import sys

from smepilot_report.database import Reader, ReportError

ROWS_AT_ONCE = 10000


def main(arguments):
    try:
        arrow, writer = _packages()
        database, folder, *tables = arguments
        reader = Reader(database)
        try:
            for table in tables:
                print(_export(arrow, writer, reader, table, os.path.join(folder, table + ".parquet")))
        finally:
            reader.close()
    except ReportError as error:
        print(f"smetune: {error}", file=sys.stderr)
        return 1
    return 0


def _packages():
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ReportError(
            f"Parquet needs the Python package pyarrow, which {sys.executable} cannot import ({error}). Debian 12 has "
            "no package of it; in an environment of its own: python3 -m venv ENV && ENV/bin/pip install pyarrow, then "
            "SMEPILOT_PYTHON=ENV/bin/python. --format csv needs nothing"
        ) from error
    return pyarrow, parquet


def _quoted(name):
    return '"' + name.replace('"', '""') + '"'


def _schema(arrow, reader, table):
    kinds = {"INTEGER": arrow.int64(), "REAL": arrow.float64(), "TEXT": arrow.string(), "BLOB": arrow.binary()}
    fields = []
    for column in reader.rows(f"PRAGMA table_info({_quoted(table)})"):
        if column["type"] not in kinds:
            raise ReportError(
                f"{reader.path}: column {table}.{column['name']} has type '{column['type']}', expected one of "
                f"{', '.join(kinds)}"
            )
        nullable = not (column["notnull"] or column["pk"])
        fields.append(arrow.field(column["name"], kinds[column["type"]], nullable=nullable))
    return arrow.schema(fields)


def _export(arrow, parquet, reader, table, path):
    """One file, in whole or not at all; the same column types as in the database. Returns its path."""
    schema = _schema(arrow, reader, table)
    part = f"{path}.{secrets.token_hex(4)}.part"
    try:
        with parquet.ParquetWriter(part, schema) as out:
            for rows in reader.batches(f"SELECT * FROM {_quoted(table)}", ROWS_AT_ONCE):
                out.write_table(arrow.Table.from_pylist(rows, schema=schema))
        os.replace(part, path)
    except (OSError, arrow.ArrowException) as error:
        raise ReportError(f"{path}: cannot be written: {error}") from error
    finally:
        if os.path.exists(part):
            os.unlink(part)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
