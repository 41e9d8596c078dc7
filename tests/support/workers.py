"""How the tests are shared between the workers of `pytest -n`: a file stays together, so do those that share a server.

A worker is a process: it has its own embedded store, and starts its own copy of whatever its tests ask for. So one
broker, one Envoy mesh (its sidecars have fixed addresses) and one demo world serve the whole run.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

SERVERS = (
    "tests/e2e/",
    "tests/collector/ingest/test_kafka_end_to_end.py",
    "tests/collector/ingest/test_kill.py",
    "tests/collector/sources/test_kafka_batches.py",
)
"""Everything that needs a broker, the Envoy mesh or the Collector."""
WORLD = "tests/eastwatch/world/"


class ByServer(LoadScopeScheduling):
    """Hands out whole files in the order of `first_servers`; those of a shared server as if they were one."""

    def _split_scope(self, nodeid: str) -> str:
        for shared in (SERVERS, WORLD):
            if nodeid.startswith(shared):
                return str(shared)
        return nodeid.partition("::")[0]


def first_servers(items: list[pytest.Item]) -> None:
    """Put what needs a server before the rest: it takes longest, and mostly waits."""
    items.sort(key=lambda item: not item.nodeid.startswith(SERVERS))
