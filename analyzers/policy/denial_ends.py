"""The nodes of both ends of refused calls, as the map names them: what the statements over denials join.

denial_ends.sql ──► Names (aliases, and what other lines say) ──► Ends ──► external table `ends`

Lines that no rollup counts have no edge key, so ends are told by what the lines themselves say of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from analyzers.dependencies.map_keys import read_names
from analyzers.dependencies.names import ALWAYS, EXTERNAL, UNKNOWN, Endpoint, Names, Segment, split_node
from storage.engine import Engine
from storage.gateways import GATEWAY_PRODUCTS
from storage.sql import load

END_LIMIT = 1_000_000
"""Most ends that one window may have. Callers that only an unknown address describes are one."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(2100, 1, 1, tzinfo=UTC)
_END_US = (_END - _EPOCH) // timedelta(microseconds=1)
_MOMENT = pa.timestamp("us", "UTC")
_SCHEMA = pa.schema(
    [
        ("end", pa.uint64()),
        ("node", pa.uint32()),
        ("in_namespace", pa.uint8()),
        ("in_service", pa.uint8()),
        ("valid_from", _MOMENT),
        ("valid_to", _MOMENT),
    ]
)
_PARTS = ("cluster", "namespace", "workload", "service", "account", "host", "hint")


@dataclass(frozen=True, slots=True)
class Ends:
    """Nodes, and the external table that gives each end its node (a number into `nodes`) at its time."""

    nodes: Sequence[str]
    table: pa.Table


def denial_ends(
    engine: Engine,
    since: datetime,
    until: datetime,
    *,
    dry_run: bool = False,
    namespace: str | None = None,
    service: str | None = None,
) -> Ends:
    """The ends of the calls that were refused in [since, until).

    Args:
        dry_run: also of those that policies on trial would have refused.
        namespace, service: what marks an end as wanted (`in_namespace`, `in_service`); None marks all of them.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    parameters = {"since": since, "until": until, "dry_run": int(dry_run), "row_limit": END_LIMIT}
    rows = engine.query(load("policy/denial_ends").text, parameters).to_pylist()
    names = read_names(engine)[0] if rows else Names((), ())
    nodes: dict[str, int] = {}
    held = [
        (row["end"], nodes.setdefault(one.node, len(nodes)), one.valid_from, min(one.valid_to, _END_US))
        for row in rows
        for one in _segments(row, names)
        if one.valid_from < _END_US
    ]
    ids = list(nodes)
    in_namespace = [namespace is None or split_node(node)[0] == namespace for node in ids]
    in_service = [service is None or service in (node, split_node(node)[1]) for node in ids]
    columns = [
        [end for end, *_ in held],
        [node for _, node, *_ in held],
        [int(in_namespace[node]) for _, node, *_ in held],
        [int(in_service[node]) for _, node, *_ in held],
    ]
    times = [pa.array([entry[place] for entry in held], pa.int64()).cast(_MOMENT) for place in (2, 3)]
    arrays = [pa.array(column, _SCHEMA.field(at).type) for at, column in enumerate(columns)]
    return Ends(ids, pa.Table.from_arrays([*arrays, *times], schema=_SCHEMA))


def _segments(row: Mapping[str, Any], names: Names) -> Sequence[Segment]:
    """The node of an end over all time, by the rules of the map."""
    endpoint = Endpoint(*(row[part] for part in _PARTS))
    if row["side"] != "source":
        return names.segments(endpoint)
    if endpoint.host:
        # A caller whose address nobody has at the time is unknown, not a host outside.
        strangers = (endpoint.host, EXTERNAL + endpoint.host)
        return [
            Segment(one.valid_from, one.valid_to, UNKNOWN) if one.node in strangers else one
            for one in names.segments(endpoint)
        ]
    if row["mesh"] in GATEWAY_PRODUCTS and not any((endpoint.workload, endpoint.service, endpoint.account)):
        return [Segment(*ALWAYS, GATEWAY_PRODUCTS[row["mesh"]])]
    return names.segments(endpoint)
