"""SQLite's errors, raised as ours; the one place that knows them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracebus.errors import EventLogRefused, EventLogUnavailable


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors as `EventLogUnavailable` or `EventLogRefused`."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # a row that does not fit, which `append` sorts out; a mistake in a call
    except sqlite3.OperationalError as error:
        if "decode to UTF-8" in str(error):
            raise EventLogRefused(f"{path}: {error}; it is damaged") from error
        raise EventLogUnavailable(f"{path}: {error}{advice_on(error)}") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # a damaged name in SQLite's message
        raise EventLogRefused(f"{path}: {error}; it is damaged, or no event log") from error


def advice_on(error: sqlite3.Error) -> str:
    """Return what to do about an error, to stand behind it; empty where there is nothing to say."""
    advice = {
        "SQLITE_BUSY": "; another process holds it, try again",
        "SQLITE_FULL": "; free some space, and publish again",
        "SQLITE_READONLY": "; check the permissions of the file and its folder",
        "SQLITE_CANTOPEN": "; check that its folder exists and may be written",
    }
    name = getattr(error, "sqlite_errorname", "")
    return next((text for prefix, text in advice.items() if name.startswith(prefix)), "")
