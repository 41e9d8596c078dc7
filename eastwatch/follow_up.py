"""What follows from stored records, in the order in which it builds on itself: addresses, edges, operations."""

from __future__ import annotations

from datetime import datetime

from analyzers.dependencies.derive import derive
from collector.identity.learn import learn_addresses
from collector.ingest.operations import learn_operations
from storage.engine import Engine


def follow_up(engine: Engine, *, now: datetime, until: datetime | None = None) -> None:
    """Bring everything that is derived or learnt up to what is stored. Idempotent; any number of processes may.

    Args:
        now: the clock's time.
        until: derive only minutes that begin before it; by default all of them.
    """
    learn_addresses(engine, now)
    derive(engine, now=now, until=until)
    learn_operations(engine, now)
