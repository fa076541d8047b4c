"""The journal's tables and schema version, and how the file is opened for writing."""

from __future__ import annotations

import sqlite3

from aloe.errors import DataError

SCHEMA = 1
_APPLICATION_ID = 0x414C4F45  # "ALOE": tells our file from any other SQLite database

_TABLES = """
CREATE TABLE texts (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE plans (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE calls (
  id INTEGER PRIMARY KEY, key BLOB NOT NULL, plan INTEGER NOT NULL, path TEXT NOT NULL, sample INTEGER,
  seed INTEGER, request BLOB NOT NULL, reply INTEGER NOT NULL, finish TEXT, prompt_tokens INTEGER,
  completion_tokens INTEGER, cached_tokens INTEGER, cost REAL, logprobs BLOB, at INTEGER, ms INTEGER,
  tries INTEGER
);
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY, key BLOB NOT NULL, plan INTEGER NOT NULL, path TEXT NOT NULL, number INTEGER,
  at INTEGER, ms INTEGER, status INTEGER, error TEXT, billed INTEGER, tokens INTEGER, cost REAL
);
CREATE VIEW every_attempt AS
  SELECT key, plan, path, COALESCE(tries, 1) AS number, at, ms, 200 AS status, '' AS error, 1 AS billed,
         prompt_tokens + completion_tokens AS tokens, cost FROM calls
  UNION ALL SELECT key, plan, path, number, at, ms, status, error, billed, tokens, cost FROM attempts;
"""
# Tables that came later: earlier versions pass over them, and files without them are given them when opened to write.
_LATER = """
CREATE TABLE IF NOT EXISTS learnt (endpoint TEXT, field TEXT, at INTEGER, PRIMARY KEY (endpoint, field)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS checks (call INTEGER PRIMARY KEY, digest BLOB NOT NULL);
CREATE TRIGGER IF NOT EXISTS forget_check AFTER DELETE ON calls BEGIN DELETE FROM checks WHERE call = old.id; END;
"""


def connect(where: str) -> sqlite3.Connection:
    """A connection that leaves transactions to its user, for one thread at a time."""
    return sqlite3.connect(where, isolation_level=None, check_same_thread=False)


def prepare(database: sqlite3.Connection, where: str, wal: bool) -> None:
    """Create the tables of an empty file and set what every connection that writes needs.

    Args:
        where: how errors call the file.
        wal: use SQLite's write-ahead log.

    Raises:
        DataError: see :func:`check_schema`.
    """
    version = check_schema(database, where)
    if wal:
        database.execute("PRAGMA journal_mode=WAL")
    # NORMAL: a commit survives the end of the process, kill -9 included; only a power cut may lose the last ones.
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("PRAGMA wal_autocheckpoint=4000")
    database.execute("PRAGMA cache_size=-16000")
    if version == 0:
        database.executescript(
            f"BEGIN;{_TABLES}PRAGMA application_id={_APPLICATION_ID};PRAGMA user_version={SCHEMA};COMMIT;"
        )
    database.executescript(_LATER)


def check_schema(database: sqlite3.Connection, where: str) -> int:
    """The file's schema version, 0 for an empty file.

    Raises:
        DataError: another program's database, or a schema that this version can't read.
    """
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    owner = int(database.execute("PRAGMA application_id").fetchone()[0])
    tables = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    if tables and owner != _APPLICATION_ID:
        raise DataError(f"{where} is not a journal of aloe", "move the file elsewhere or give another path")
    if tables and version < SCHEMA:  # a later schema will migrate here what earlier ones wrote
        raise DataError(f"{where} has journal schema {version}, which is unknown", "move the file elsewhere")
    if version > SCHEMA:
        raise DataError(
            f"{where} has journal schema {version}, this version of aloe reads schemas up to {SCHEMA}", "update aloe"
        )
    return version
