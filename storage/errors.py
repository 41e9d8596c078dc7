"""Errors of the storage room.

    StorageError
    ├── EngineUnavailable      the engine cannot be reached, or is overloaded: a retry can help
    ├── AuthenticationFailed   user or password refused
    ├── StoreUnwritable        directory missing rights
    │   └── StoreFull          no space left on the disk: a retry helps once there is some
    ├── StoreHeld              another process holds the embedded store and does not answer on its socket
    ├── StoreTooNew            migrations were applied that this version does not know
    ├── MigrationChanged       an applied migration file differs from what was applied
    ├── BadParameter           a bound value does not fit its declared type, or a hole is unfilled
    ├── BadBatch               a record batch does not fit its table
    ├── BadStatement           a .sql file of ours breaks the rules of `storage.sql`
    ├── BadLocation            the --store URL cannot be read
    └── QueryFailed            the engine refused the statement; `.code` is ClickHouse's error code

The command line maps each to one line on stderr and exit code 2.
"""

from __future__ import annotations


class StorageError(Exception):
    """Base of all. `retryable` says whether the same call can succeed later without a change."""

    retryable = False


class EngineUnavailable(StorageError):
    """The engine cannot be reached or is overloaded."""

    retryable = True


class AuthenticationFailed(StorageError):
    """User or password refused by the server."""


class StoreUnwritable(StorageError):
    """The store's directory cannot be created or written."""


class StoreFull(StoreUnwritable):
    """No space is left on the store's disk. Retention, or whoever runs it, may make some."""

    retryable = True


class StoreHeld(StorageError):
    """Another process holds the embedded store and its socket does not answer."""


class StoreTooNew(StorageError):
    """The store holds migrations that this version does not know."""


class MigrationChanged(StorageError):
    """A migration file differs from the one that was applied."""


class BadParameter(StorageError):
    """A bound value does not fit its declared type, or a hole is unfilled."""


class BadBatch(StorageError):
    """A record batch does not fit its table: unknown column, or values outside the column's type."""


class BadStatement(StorageError):
    """A .sql file of ours breaks the rules of `storage.sql`."""


class BadLocation(StorageError):
    """A --store URL that cannot be read."""


class QueryFailed(StorageError):
    """The engine refused a statement. `code` is ClickHouse's error code, 0 when unknown."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code
