"""What follows from stored records, in the order in which it builds on itself: addresses, edges, operations."""

from __future__ import annotations

from datetime import datetime, timedelta

from analyzers.dependencies.derive import GoOn, derive
from collector.identity.learn import learn_addresses
from collector.ingest.operations import learn_operations
from storage.engine import Engine

SETTLE = timedelta(seconds=20)
"""A minute is derived this long after its end: records of its last seconds come in meanwhile, and a minute that gets
some later is derived anew."""


def settled(now: datetime) -> datetime:
    """The end of the minutes that a live ingester derives at `now` (UTC)."""
    return (now - SETTLE).replace(second=0, microsecond=0)


def follow_up(engine: Engine, *, now: datetime, until: datetime | None = None, go_on: GoOn = lambda: True) -> bool:
    """Bring everything that is derived or learnt up to what is stored. Idempotent; any number of processes may.

    Args:
        now: the clock's time.
        until: derive only minutes that begin before it; by default all of them.
        go_on: whether there is time for more; what is left undone the next run does.

    Returns:
        Whether it came to its end.
    """
    if not go_on():
        return False
    learn_addresses(engine, now)
    if not derive(engine, now=now, until=until, go_on=go_on).whole:
        return False
    learn_operations(engine, now)
    return True
