"""What is stored of one request, by its request id or trace id, with the nodes of the map as its ends.

    id ──► request_calls.sql, request_spans.sql ──► names at that time ──► Sightings ──► request_path

The calls of an id may name further ids (the trace of a request, the requests of a trace): these are followed once.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from analyzers.dependencies.map_keys import read_names
from analyzers.dependencies.names import EXTERNAL, UNKNOWN, Endpoint, Names
from analyzers.dependencies.request_path import RequestPath, Sighting, hops_of
from storage.engine import Engine
from storage.gateways import GATEWAY_PRODUCTS
from storage.sql import load
from storage.tables import FLOW_MESHES

CALLS_LIMIT = 2_000
SPANS_LIMIT = 5_000
"""Most lines and spans that are read of one request; a longer one is told to be truncated."""
IDS_LIMIT = 50
"""Most further ids that are followed."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEX = re.compile(r"[0-9a-fA-F]{16,32}")
_NAMELESS = ("", "", "", "", "", "", "")


def request_path(engine: Engine, wanted: str) -> RequestPath:
    """The path of the request with this request id or trace id (128 or 64 bits, hexadecimal); empty when none is known.

    Raises:
        storage.errors.StorageError: the engine cannot answer.
    """
    ids = _spellings(wanted)
    if not ids:
        return RequestPath(wanted, ())
    calls, spans = _read(engine, ids)
    further = _ids(calls, spans) - set(ids)
    if further:
        calls, spans = _read(engine, [*ids, *sorted(further)[:IDS_LIMIT]])
    if not calls and not spans:
        return RequestPath(wanted, ())
    names, _ = read_names(engine)
    found = [*(_seen_by_proxy(row, names) for row in calls), *_seen_by_spans(spans, names)]
    rows = (*calls, *spans)
    return RequestPath(
        wanted,
        hops_of(found),
        sorted({row["request_id"] for row in rows} - {""}),
        sorted({row["trace_id"] for row in rows} - {""}),
        len(calls) == CALLS_LIMIT or len(spans) == SPANS_LIMIT,
    )


def _spellings(wanted: str) -> list[str]:
    """The id as it was given and, where it can be a trace's, as trace ids are stored."""
    found = [wanted] if wanted else []
    if _HEX.fullmatch(wanted):
        found.append(wanted.lower().rjust(32, "0"))
    return list(dict.fromkeys(found))


def _read(engine: Engine, ids: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    calls = engine.query(load("dependencies/request_calls").text, {"ids": ids, "row_limit": CALLS_LIMIT})
    spans = engine.query(load("dependencies/request_spans").text, {"ids": ids, "row_limit": SPANS_LIMIT})
    return calls.to_pylist(), spans.to_pylist()


def _ids(*tables: Iterable[Mapping[str, Any]]) -> set[str]:
    return {row[name] for rows in tables for row in rows for name in ("request_id", "trace_id")} - {""}


def _node(names: Names, endpoint: Endpoint, at: datetime) -> str:
    micros = (at - _EPOCH) // timedelta(microseconds=1)
    return next(one.node for one in names.segments(endpoint) if one.valid_from <= micros < one.valid_to)


def _side(row: Mapping[str, Any], side: str, names: Names) -> str:
    """The node of one end of a call: of its edge key, else of the names in the line, else of its address."""
    parts: Sequence[str] = tuple((row[f"{side}_side"] or {}).values()) if isinstance(row[f"{side}_side"], dict) else ()
    if any(parts):
        return _node(names, Endpoint(*parts), row["ts"])
    if row[f"{side}_workload"] or row[f"{side}_service"]:
        named = (row[f"{side}_{part}"] for part in ("cluster", "namespace", "workload", "service"))
        return _node(names, Endpoint(*named), row["ts"])
    # As on the map: a caller whose address nobody has is unknown (a gateway its product), a destination is its address.
    nameless = (
        GATEWAY_PRODUCTS.get(row["mesh"], UNKNOWN) if (side, row["reporter"]) == ("source", "gateway") else UNKNOWN
    )
    address = ipaddress.IPv6Address(row[f"{side}_ip"])
    if int(address) == 0:
        return nameless
    host = str(address.ipv4_mapped or address)
    node = _node(names, Endpoint(cluster=row[f"{side}_cluster"], host=host), row["ts"])
    return nameless if side == "source" and node in (host, EXTERNAL + host) else node


def _seen_by_proxy(row: Mapping[str, Any], names: Names) -> Sighting:
    reporter = row["reporter"]
    return Sighting(
        evidence="flow" if row["mesh"] in FLOW_MESHES else "log",
        reporter=reporter,
        source=_side(row, "source", names),
        destination=_side(row, "destination", names),
        at=row["ts"],
        duration_us=row["duration_us"] if row["has_duration"] else None,
        status=row["status"] if row["has_status"] else None,
        grpc_status=row["grpc_status"] if row["has_grpc_status"] else None,
        flags=row["response_flags"].removeprefix("-"),
        details=row["response_details"].removeprefix("-") or row["termination_details"].removeprefix("-"),
        fault="" if row["fault"] == "unknown" and not _is_failure(row) else row["fault"],
        principal=row["source_principal"],
        pod=row["destination_pod" if reporter == "destination" else "source_pod"],
        **{
            name: row[name]
            for name in ("direction", "protocol", "method", "path", "operation", "verdict", "denied_by", "tls")
        },
    )


def _is_failure(row: Mapping[str, Any]) -> bool:
    return row["status"] >= 500 or bool(row["response_flags"].removeprefix("-"))


def _seen_by_spans(spans: Sequence[Mapping[str, Any]], names: Names) -> list[Sighting]:
    """Calls between services: what a client's span and the span of another service below it tell of."""
    place = {(row["trace_id"], row["span_id"]): row for row in spans if not row["shared"]}
    answered: set[tuple[str, str]] = set()
    found: list[Sighting] = []
    for row in spans:
        above = row["span_id"] if row["shared"] else row["parent_span_id"]
        parent = place.get((row["trace_id"], above)) if above else None
        if parent is None or not _is_call(parent, row):
            continue
        source, destination = _span_node(parent, names), _span_node(row, names)
        if parent["kind"] in ("client", "producer") and (parent["trace_id"], above) not in answered:
            answered.add((parent["trace_id"], above))
            found.append(_span_sighting("source", parent, source, destination))
        found.append(_span_sighting("destination", row, source, destination))
    for row in spans:
        if row["kind"] not in ("client", "producer") or (row["trace_id"], row["span_id"]) in answered:
            continue
        if row["peer_service"] or row["peer_host"]:
            named = Endpoint(namespace=row["peer_namespace"], service=row["peer_service"])
            peer = named if row["peer_service"] else Endpoint(host=row["peer_host"], hint=row["namespace"])
            found.append(_span_sighting("source", row, _span_node(row, names), _node(names, peer, row["ts"])))
    return found


def _is_call(parent: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    other = (parent["namespace"], parent["service"]) != (row["namespace"], row["service"])
    return other or (parent["kind"] == "client" and row["kind"] == "server")


def _span_node(row: Mapping[str, Any], names: Names) -> str:
    return _node(names, Endpoint(*(row[part] for part in ("cluster", "namespace", "workload", "service"))), row["ts"])


def _span_sighting(reporter: str, row: Mapping[str, Any], source: str, destination: str) -> Sighting:
    return Sighting(
        evidence="trace",
        reporter=reporter,
        source=source,
        destination=destination,
        at=row["ts"],
        duration_us=row["duration_us"],
        status=row["http_status"] or None,
        grpc_status=row["grpc_status"] if row["protocol"] == "grpc" else None,
        details=row["name"],
        # A span says that something failed, but not who.
        fault="unknown" if row["error"] else "none",
        **{name: row[name] for name in ("protocol", "method", "path", "operation")},
    )
