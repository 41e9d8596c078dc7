"""The slow, obvious way from spans to calls, one span at a time (docs/counting.md): the oracle of trace_edges.sql."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Span = Mapping[str, Any]
Row = tuple[str, str, str, bool]
"""reporter, source, destination, failed"""
Told = tuple[str, str, str, int]
"""reporter, source, destination, HTTP status"""


def trace_rows(spans: Sequence[Span], horizon_s: float = 600) -> Counter[Row]:
    """Every request that a span reports, with multiplicity."""
    return Counter(row for row, _ in _requests(spans, horizon_s))


def trace_statuses(spans: Sequence[Span], horizon_s: float = 600) -> Counter[Told]:
    """The HTTP statuses of these requests, where a span of the pair has one."""
    return Counter((*row[:3], status) for row, status in _requests(spans, horizon_s) if status)


def _requests(spans: Sequence[Span], horizon_s: float) -> Iterator[tuple[Row, int]]:
    for span in spans:
        near = [
            other
            for other in spans
            if other is not span
            and other["trace_id"] == span["trace_id"]
            and abs((other["ts"] - span["ts"]).total_seconds()) < horizon_s
        ]
        for row, children in _sent(span, near):
            yield row, span["http_status"] or _status(row[3], children)
        for row in _received(span, near):
            yield row, span["http_status"]


def _status(failed: bool, children: Sequence[Span]) -> int:
    """What the callee answered, in the attempts that ended as the request did: a failed one before it says nothing."""
    return min((c["http_status"] for c in children if bool(c["error"]) == failed and c["http_status"]), default=0)


def _sent(span: Span, near: Sequence[Span]) -> list[tuple[Row, Sequence[Span]]]:
    """The requests that a span sent, each with its spans at the callee."""
    if span["kind"] not in ("client", "producer") or span["shared"]:
        return []
    children = [
        other
        for other in near
        if (other["span_id"] == span["span_id"] if other["shared"] else other["parent_span_id"] == span["span_id"])
    ]
    children = [child for child in children if child["shared"]] or children
    others = {_node(child) for child in children} - {_node(span)}
    if others:
        there = {node: [child for child in children if _node(child) == node] for node in others}
        return [
            (("source", _node(span), node, bool(span["error"]) or all(c["error"] for c in found)), found)
            for node, found in there.items()
        ]
    same = [child for child in children if _node(child) == _node(span)]
    if any(child["kind"] in ("client", "producer") for child in same):
        return []
    if any(child["kind"] in ("server", "consumer") for child in same):
        failed = bool(span["error"]) or all(child["error"] for child in same)
        return [(("source", _node(span), _node(span), failed), same)]
    peer = span["peer_service"] or (f"external:{span['peer_host']}" if span["peer_host"] else "")
    return [(("source", _node(span), peer, bool(span["error"])), [])] if peer else []


def _received(span: Span, near: Sequence[Span]) -> list[Row]:
    failed = bool(span["error"])
    above, source = _above(span, near)
    if above is not None:
        called = above["kind"] in ("client", "producer") and span["kind"] in ("server", "consumer")
        source = _node(above) if _node(above) != _node(span) or called else ""
    elif source is None:
        source = span["peer_service"] if span["kind"] in ("server", "consumer") else ""
    return [("destination", source, _node(span), failed)] if source else []


def _above(span: Span, near: Sequence[Span]) -> tuple[Span | None, str | None]:
    """The unshared span that this one stands below; else the service whose half of a shared id it does (`""` = it goes
    on there, or nobody knows which); (None, None) = nothing of the kind is known."""
    if span["shared"] and (client := _first(o for o in near if not o["shared"] and o["span_id"] == span["span_id"])):
        return client, None
    parent = span["parent_span_id"]
    if not parent:
        return None, None
    client = _first(o for o in near if not o["shared"] and o["span_id"] == parent)
    halves = {_node(o) for o in (*near, span) if o["shared"] and o["span_id"] == parent}
    goes_on = client is not None and _node(client) == _node(span) and span["kind"] not in ("server", "consumer")
    if not halves or goes_on:
        return client, None
    return None, "" if _node(span) in halves or len(halves) > 1 else halves.pop()


def _first(spans: Iterable[Span]) -> Span | None:
    return min(spans, key=lambda span: span["ts"], default=None)


def _node(span: Span) -> str:
    return f"{span['namespace']}/{span['service']}" if span["namespace"] else span["service"]
