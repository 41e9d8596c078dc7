"""Errors of the collector room.

    CollectorError
    ├── BadSource          a SOURCE on the command line cannot be read, or names what does not exist
    ├── SourceUnavailable  the broker, file or port cannot be reached: a retry can help
    ├── SourceRefused      the broker refused the credentials, or the right to read
    ├── SourceBroken       a source ended before its end: a corrupt compressed file
    └── Poisoned           nearly everything of a stretch was undecodable: the format is probably wrong

The command line maps each to one line on stderr and exit code 2. Undecodable records are no errors: they are dead
letters.
"""

from __future__ import annotations


class CollectorError(Exception):
    """Base of all. `retryable` says whether the same call can succeed later without a change."""

    retryable = False


class BadSource(CollectorError):
    """A SOURCE that cannot be read, or that names what does not exist."""


class SourceUnavailable(CollectorError):
    """The broker, file or port cannot be reached."""

    retryable = True


class SourceRefused(CollectorError):
    """The broker refused the credentials or the right to read."""


class SourceBroken(CollectorError):
    """A source ended before its end."""


class Poisoned(CollectorError):
    """Nearly everything of a stretch was undecodable; nothing of it was committed."""
