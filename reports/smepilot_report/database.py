"""Opens a smepilot database for reading, and says what is wrong with a file that is none."""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

APPLICATION_ID = 0x534D4550  # "SMEP", as db/migrations.h writes it in the header
SCHEMA_VERSION = 10  # the newest this generator knows


class ReportError(Exception):
    """Something the user can act on; the message names the file."""


class Reader:
    """Rows as dicts, from a connection that cannot write."""

    def __init__(self, path):
        self.path = str(path)
        self.schema = 0  # its version
        self._connection = _connect(self.path)
        self._check()

    def close(self):
        self._connection.close()

    def rows(self, sql, *values):
        try:
            cursor = self._connection.execute(sql, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=False)) for row in cursor]
        except sqlite3.Error as error:
            raise ReportError(f"{self.path}: cannot be read: {error}") from error

    def batches(self, sql, size):
        """As rows(), in lists of at most `size`."""
        try:
            cursor = self._connection.execute(sql)
            names = [column[0] for column in cursor.description]
            while found := cursor.fetchmany(size):
                yield [dict(zip(names, row, strict=True)) for row in found]
        except sqlite3.Error as error:
            raise ReportError(f"{self.path}: cannot be read: {error}") from error

    def row(self, sql, *values):
        found = self.rows(sql, *values)
        return found[0] if found else None

    def _check(self):
        application = self.rows("PRAGMA application_id")[0]["application_id"]
        version = self.rows("PRAGMA user_version")[0]["user_version"]
        if application & 0xFFFFFFFF != APPLICATION_ID:
            raise ReportError(
                f"{self.path}: is an SQLite database of another program (application id "
                f"{application & 0xFFFFFFFF:#x}, expected {APPLICATION_ID:#x})"
            )
        if not 1 <= version <= SCHEMA_VERSION:
            raise ReportError(f"{self.path}: has schema {version}, this report generator reads 1 to {SCHEMA_VERSION}")
        self.schema = version
        found = self.rows("PRAGMA integrity_check(1)")[0]["integrity_check"]
        if found != "ok":
            raise ReportError(f"{self.path}: is damaged: {found}")


def _connect(path):
    if not os.path.exists(path):
        raise ReportError(f"{path}: no such file; `smetune calibrate` makes the database")
    if not os.path.isfile(path):
        raise ReportError(f"{path}: is not a file")
    if not os.access(path, os.R_OK):
        raise ReportError(f"{path}: permission denied")
    if os.path.getsize(path) == 0:
        raise ReportError(f"{path}: is empty, not a database; `smetune calibrate` makes one")
    uri = "file:" + quote(str(Path(path).absolute()))
    # In a folder that cannot be written, SQLite cannot make the index of its log: with no log there, the file alone is
    # the whole truth, and "immutable" says so.
    modes = ["?mode=ro"]
    log = path + "-wal"
    if not os.path.exists(log) or os.path.getsize(log) == 0:
        modes.append("?mode=ro&immutable=1")
    problem = None
    for mode in modes:
        connection = None
        try:
            connection = sqlite3.connect(uri + mode, uri=True, timeout=10)
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            connection.execute("BEGIN")  # one snapshot for the whole report, though a search may be writing
            return connection
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            problem = problem or error
    raise ReportError(f"{path}: not a readable database: {problem}")
