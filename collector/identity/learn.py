"""Addresses learnt from telemetry: what was seen becomes aliases with validity in time. The engine does the work."""

from __future__ import annotations

from datetime import datetime

from storage import sql
from storage.engine import Engine

MAX_CHANGES = 500_000
"""Aliases that one run writes; the next one goes on."""


def learn_addresses(engine: Engine, now: datetime) -> None:
    """Bring the address aliases of evidence `telemetry` up to what was seen and to what the inventory knows.

    Idempotent: without anything new nothing is written. Any number of processes may run it.
    """
    parameters = {"loaded_at": now, "row_limit": MAX_CHANGES}
    engine.execute(sql.load("collector/learn_addresses").text, parameters)
