"""The slow, obvious way from spans to calls, one span at a time (docs/counting.md): the oracle of trace_edges.sql."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

Span = Mapping[str, Any]
Row = tuple[str, str, str, bool]
"""reporter, source, destination, failed"""


def trace_rows(spans: Sequence[Span], horizon_s: float = 600) -> Counter[Row]:
    """Every request that a span reports, with multiplicity."""
    rows: Counter[Row] = Counter()
    for span in spans:
        near = [
            other
            for other in spans
            if other is not span
            and other["trace_id"] == span["trace_id"]
            and abs((other["ts"] - span["ts"]).total_seconds()) < horizon_s
        ]
        rows.update(_sent(span, near))
        rows.update(_received(span, near))
    return rows


def _sent(span: Span, near: Sequence[Span]) -> list[Row]:
    if span["kind"] not in ("client", "producer") or span["shared"]:
        return []
    children = [
        other
        for other in near
        if (other["span_id"] == span["span_id"] if other["shared"] else other["parent_span_id"] == span["span_id"])
    ]
    halves = {_node(child) for child in children if child["shared"]}
    children = [child for child in children if child["shared"] or _node(child) not in halves]
    others = {_node(child) for child in children} - {_node(span)}
    if others:
        return [
            ("source", _node(span), node, bool(span["error"]) or all(c["error"] for c in children if _node(c) == node))
            for node in others
        ]
    same = [child for child in children if _node(child) == _node(span)]
    if any(child["kind"] in ("client", "producer") for child in same):
        return []
    if any(child["kind"] in ("server", "consumer") for child in same):
        failed = bool(span["error"]) or all(child["error"] for child in same)
        return [("source", _node(span), _node(span), failed)]
    peer = span["peer_service"] or (f"external:{span['peer_host']}" if span["peer_host"] else "")
    return [("source", _node(span), peer, bool(span["error"]))] if peer else []


def _received(span: Span, near: Sequence[Span]) -> list[Row]:
    wanted = span["span_id"] if span["shared"] else span["parent_span_id"]
    parents = sorted(
        (o for o in near if wanted and o["span_id"] == wanted and not o["shared"]), key=lambda other: other["ts"]
    )
    failed = bool(span["error"])
    halves = [_node(o) for o in near if o["shared"] and wanted and o["span_id"] == wanted]
    if not span["shared"] and _node(span) in halves:
        return []
    if parents:
        parent = parents[0]
        called = parent["kind"] in ("client", "producer") and span["kind"] in ("server", "consumer")
        if _node(parent) != _node(span) or called:
            return [("destination", _node(parent), _node(span), failed)]
        return []
    if span["kind"] in ("server", "consumer") and span["peer_service"]:
        return [("destination", span["peer_service"], _node(span), failed)]
    return []


def _node(span: Span) -> str:
    return f"{span['namespace']}/{span['service']}" if span["namespace"] else span["service"]
