"""A journal that also knows the calls of another one, which it only reads.

A shard writes into its own journal and looks up in the run's what was paid for before there were shards.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from aloe.errors import DataError
from aloe.models.journal.journal import Journal, Stored
from aloe.models.journal.tables import check_schema


class LayeredJournal(Journal):
    """Open with :meth:`over`. Rows of the journal below have negative numbers in ``keys``."""

    below: Journal | None = None

    @classmethod
    def over(cls, path: Path, below: Path | None) -> LayeredJournal:
        """Open ``path`` for writing, over the journal at ``below`` where there is one.

        Raises:
            DataError: ``path`` is in use by another process, or one of the two is not a journal.
        """
        journal = cls.open(path)
        if below is None or not below.is_file():
            return journal
        try:
            database = _read_only(below)
            journal.below = Journal(database, None, str(below))
        except (sqlite3.Error, DataError) as error:
            journal.close()
            raise DataError(f"{below} can't be read as a journal: {error}", "aloe journal check RUN") from error
        journal.keys = {key: -row for key, row in journal.below.keys.items()} | journal.keys
        return journal

    def read(self, row: int) -> Stored | None:
        if row >= 0 or self.below is None:
            return super().read(row)
        try:
            return self.below.read(-row)
        except sqlite3.Error:  # damaged, and not ours to mend
            self.keys = {key: i for key, i in self.keys.items() if i != row}
            return None

    def learnt(self, endpoint: str) -> set[str]:
        own = super().learnt(endpoint)
        try:
            return own | (self.below.learnt(endpoint) if self.below is not None else set())
        except sqlite3.OperationalError:  # of a version that learnt nothing
            return own

    def spent_by_part(self, of: int) -> tuple[int, float]:
        """What it holds itself, and its part of what the journal below holds."""
        tokens, usd = self.spent()
        more = self.below.spent() if self.below is not None else (0, 0.0)
        return tokens + -(-more[0] // of), usd + more[1] / of

    def close(self) -> None:
        if self.below is not None:
            self.below.close()
            self.below = None
        super().close()


def _read_only(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    check_schema(database, str(path))
    return database


def spent_in(path: Path) -> tuple[int, float]:
    """Tokens and USD of all attempts in a journal that nobody need have open; nothing where there is none."""
    if not path.is_file():
        return 0, 0.0
    with closing(_read_only(path)) as database:
        return Journal(database, None, str(path)).spent()
