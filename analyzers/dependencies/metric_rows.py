"""What sets rows from metrics apart when the map is put together: nameless ends, and counts read only now and then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from analyzers.dependencies.names import EXTERNAL, UNKNOWN

SCRAPE_S = 60.0
"""Counters are taken to be read at least this often (seconds)."""

_NAMELESS = frozenset(EXTERNAL + cluster for cluster in ("PassthroughCluster", "BlackHoleCluster"))
"""Where Envoy sends what goes to a host that it has no service for: a metric may say no more than that."""


def metric_slack(requests: int, seconds: float | None) -> float:
    """How far a metric's count may lie from another one without a disagreement, for an edge with this many requests.

    A request counts in a log where it began and in a metric when its counter is next read, so either end of the window
    may shift by what the edge carries in one interval between reads: by chance up to m + 3 sqrt(m) requests, where m is
    what it carries in two such intervals. The whole count when the window is no longer than that.
    """
    share = 1.0 if not seconds else min(2 * SCRAPE_S / seconds, 1.0)
    expected = requests * share
    return math.ceil(expected + 3 * math.sqrt(expected))


def without_nameless_metrics(rows: Sequence[Mapping[str, Any]], nodes: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """The rows of the map without those from metrics whose unnamed end other evidence names.

    A metric calls a caller without a sidecar `unknown` and a host without a service by Envoy's catch-all cluster. The
    log of the same proxy has that end's address or name, so such a row would show the same calls as a second edge. It
    stays where the proxy has no log. What an application says of all its callers together (reporter unknown) stays
    only where nothing else says who calls it.
    """
    logged = [row for row in rows if row["evidence"] == "log"]
    logging_callees = {row["destination"] for row in logged if row["destination_rows"]}
    logging_callers = {row["source"] for row in logged if row["source_requests"]}
    called = {row["destination"] for row in rows if nodes[int(row["source"])] != UNKNOWN}

    def kept(row: Mapping[str, Any]) -> bool:
        if row["evidence"] != "metric":
            return True
        if nodes[int(row["source"])] == UNKNOWN:
            named = logging_callees if row["destination_rows"] else called
            return row["destination"] not in named
        return not (nodes[int(row["destination"])] in _NAMELESS and row["source"] in logging_callers)

    return [row for row in rows if kept(row)]
