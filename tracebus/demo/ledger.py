"""A small real ledger in a SQLite file: accounts, and transfers between them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple


class Transfer(NamedTuple):
    """A line of the ledger; `allowed_by` is the id of the event that allowed it."""

    number: int
    payee: str
    cents: int
    reference: str
    allowed_by: str


class Ledger:
    """The company's account, and what was paid from it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self, cents: int) -> None:
        """Make the tables, and put the first money in."""
        with self._transaction() as connection:
            connection.execute(
                "CREATE TABLE accounts (name TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0))"
            )
            connection.execute(
                "CREATE TABLE transfers (number INTEGER PRIMARY KEY, payee TEXT NOT NULL, "
                "cents INTEGER NOT NULL CHECK (cents > 0), reference TEXT NOT NULL UNIQUE, "
                "allowed_by TEXT NOT NULL)"
            )
            connection.execute("INSERT INTO accounts VALUES ('company', ?)", (cents,))

    def transfer(self, payee: str, cents: int, reference: str, allowed_by: str) -> Transfer:
        """Move money in one transaction: all of it, or none.

        Raises:
            sqlite3.IntegrityError: There is not enough, or the reference was paid already.
        """
        with self._transaction() as connection:
            connection.execute("UPDATE accounts SET cents = cents - ? WHERE name = 'company'", (cents,))
            connection.execute(
                "INSERT INTO accounts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET cents = cents + ?",
                (payee, cents, cents),
            )
            row = connection.execute(
                "INSERT INTO transfers (payee, cents, reference, allowed_by) VALUES (?, ?, ?, ?) RETURNING *",
                (payee, cents, reference, allowed_by),
            ).fetchone()
        return Transfer(*row)

    def balance(self) -> int:
        """Return what the company has, in cents."""
        with self._transaction() as connection:
            (cents,) = connection.execute("SELECT cents FROM accounts WHERE name = 'company'").fetchone()
        return int(cents)

    def transfers(self) -> list[Transfer]:
        """Return everything that was paid."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT * FROM transfers ORDER BY number").fetchall()
        return [Transfer(*row) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            yield connection
