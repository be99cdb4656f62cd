"""Opening the database file: what is damaged, foreign or too new is refused and left alone."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path

from emulator.model.errors import StoreError

MIGRATIONS = ("schema.sql", "resources.sql")  # the n-th brings a database from version n - 1 to n
WAY_OUT = "move the file away to keep it, or run `apprunner reset` to delete all state"


def connect(path: Path) -> sqlite3.Connection:
    """Open or create; the schema is the newest afterwards. Raises StoreError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():  # it will hold environment variables
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _check(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def owner(connection: sqlite3.Connection) -> str:
    """The name of this state directory, made up when it is first asked for."""
    fresh = secrets.token_hex(16)
    connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('owner', ?)", (fresh,))
    (found,) = connection.execute("SELECT value FROM meta WHERE key = 'owner'").fetchone()
    return str(found)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled back by itself
            connection.execute("ROLLBACK")
        raise


def explained(error: sqlite3.Error, path: Path) -> StoreError:
    """In words: what is wrong, and what to do next."""
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return StoreError(f"{path}: the disk is full; nothing of the last change was kept")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return damaged(path, str(error))
        case sqlite3.SQLITE_BUSY:
            return StoreError(f"{path} is in use by another program")
        case _:
            return StoreError(f"{path}: {error}")


def damaged(path: Path, detail: str) -> StoreError:
    return StoreError(f"{path} is damaged ({detail}) and was left as it is: {WAY_OUT}")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise damaged(path, verdict)
    version = _version(connection)
    if version > len(MIGRATIONS):
        detail = f"it has version {version}, this emulator knows {len(MIGRATIONS)}"
        raise StoreError(
            f"{path} was written by a newer emulator ({detail}): use that, or {WAY_OUT}"
        )
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and not version:
        raise StoreError(f"{path} is a database of another program: {WAY_OUT}")


def _migrate(connection: sqlite3.Connection) -> None:
    for number in range(_version(connection) + 1, len(MIGRATIONS) + 1):
        script = resources.files(__package__).joinpath(MIGRATIONS[number - 1]).read_text("utf-8")
        # One transaction; where it fails the caller closes the connection, which rolls it back.
        connection.executescript(f"BEGIN;{script};PRAGMA user_version = {number};COMMIT;")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)
