"""Whose doing each regression is: filled by `graph` (from rollups) and `requests` (from single requests)."""

from __future__ import annotations

from collections.abc import Sequence

from analyzers.latency.limits import Limits
from analyzers.latency.regression import Regression
from analyzers.latency.store import joined
from analyzers.latency.stored_rollups import StoredRollups
from storage.engine import Engine


def blamed(
    engine: Engine,
    rollups: StoredRollups,
    found: Sequence[Regression],
    limits: Limits,
    known: Sequence[Regression],
) -> Sequence[Regression]:
    """The regressions with their causes."""
    del engine, rollups, limits
    return joined(found, known)
