#!/usr/bin/env python3
"""Writes tests/db/data/schema_NNN.sql: a small database as a build with schema NNN left it, which newer ones must read.

It is the one of the schema before, migrated by db/schema/NNN_*.sql, with the rows that the SQL on standard input adds: at
least one for each new table, and values for new columns. Once written and committed it never changes.

  tests/db/make_schema_fixture.py 9 < rows.sql
"""

import sqlite3
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
DATA = SOURCE / "tests" / "db" / "data"
APPLICATION_ID = 0x534D4550


def main(version):
    target = DATA / f"schema_{version:03}.sql"
    if target.exists():
        return f"{target}: is there already, and what an older build wrote does not change"
    connection = sqlite3.connect(":memory:", isolation_level=None)
    if version > 1:
        connection.executescript((DATA / f"schema_{version - 1:03}.sql").read_text(encoding="utf-8"))
    connection.execute("PRAGMA foreign_keys = ON")
    migrations = list((SOURCE / "db" / "schema").glob(f"{version:03}_*.sql"))
    if len(migrations) != 1:
        return f"db/schema/{version:03}_*.sql: expected one migration, found {len(migrations)}"
    connection.executescript("BEGIN;" + migrations[0].read_text(encoding="utf-8") + "COMMIT;")
    connection.executescript(sys.stdin.read())
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    empty = [t for t in tables if connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] == 0]
    if empty:
        return f"no row of {', '.join(empty)}: standard input is to add one to each new table"
    if broken := connection.execute("PRAGMA foreign_key_check").fetchall():
        return f"rows that refer to none: {broken}"
    dump = "\n".join(connection.iterdump())
    target.write_text(
        f"PRAGMA foreign_keys = OFF;\n{dump}\nPRAGMA application_id = {APPLICATION_ID};\n"
        f"PRAGMA user_version = {version};\n",
        encoding="utf-8",
    )
    return None


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    sys.exit(main(int(sys.argv[1])))
