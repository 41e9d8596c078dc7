"""Spans form trees: parents exist, contain their children in time, and sit where the call came from."""

from __future__ import annotations

from collections import Counter, defaultdict

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.eastwatch.world.recount import Account


def test_every_parent_exists_in_its_trace(account: Account) -> None:
    spans = account.spans
    for seen in spans.values():
        assert len(seen.span.trace_id) == 16 and any(seen.span.trace_id)
        assert len(seen.span.span_id) == 8 and any(seen.span.span_id)
        if seen.parent:
            assert spans[seen.parent].span.trace_id == seen.span.trace_id


def test_one_root_per_trace_and_no_cycle(account: Account) -> None:
    roots: Counter[bytes] = Counter()
    traces = {seen.span.trace_id for seen in account.spans.values()}
    for seen in account.spans.values():
        steps, above = 0, seen
        while above.parent:
            above, steps = account.spans[above.parent], steps + 1
            assert steps < 50
        roots[seen.span.trace_id] += not seen.parent
    assert roots.keys() == traces
    assert set(roots.values()) == {1}
    assert len(traces) > 1000


def test_children_lie_within_their_parents(account: Account) -> None:
    outside = 0
    for seen in account.spans.values():
        span = seen.span
        assert span.start_time_unix_nano < span.end_time_unix_nano
        if not seen.parent:
            continue
        parent = account.spans[seen.parent].span
        assert span.start_time_unix_nano >= parent.start_time_unix_nano
        asynchronous = span.kind == Span.SPAN_KIND_CONSUMER
        if not asynchronous and span.end_time_unix_nano > parent.end_time_unix_nano:
            # Only who stopped waiting ends before what it called.
            assert parent.status.code == Status.STATUS_CODE_ERROR
            outside += 1
    assert outside < 50


def test_kinds_pair_up(account: Account) -> None:
    allowed = {
        Span.SPAN_KIND_SERVER: {Span.SPAN_KIND_CLIENT},
        Span.SPAN_KIND_CONSUMER: {Span.SPAN_KIND_PRODUCER},
        Span.SPAN_KIND_CLIENT: {Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CONSUMER},
        Span.SPAN_KIND_PRODUCER: {Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL},
        Span.SPAN_KIND_INTERNAL: {Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER},
    }
    for seen in account.spans.values():
        if seen.parent:
            above = account.spans[seen.parent]
            assert above.span.kind in allowed[seen.span.kind]
            crosses = seen.span.kind in (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CONSUMER)
            assert (above.node != seen.node) == crosses
    assert {seen.span.kind for seen in account.spans.values()} == set(allowed)


def test_a_retried_call_has_two_server_spans_under_one_client_span(account: Account) -> None:
    servers: dict[bytes, list[Span]] = defaultdict(list)
    for seen in account.spans.values():
        if seen.span.kind == Span.SPAN_KIND_SERVER and seen.parent:
            servers[seen.parent].append(seen.span)
    retried = [
        sorted(spans, key=lambda span: span.start_time_unix_nano) for spans in servers.values() if len(spans) > 1
    ]
    assert retried
    for first, second in retried:
        assert first.status.code == Status.STATUS_CODE_ERROR
        assert first.end_time_unix_nano < second.start_time_unix_nano


def test_lines_carry_the_callers_span(account: Account) -> None:
    carried = 0
    for line in account.lines:
        if line["traceparent"]:
            version, trace, span, flags = line["traceparent"].split("-")
            seen = account.spans[bytes.fromhex(span)]
            assert (version, flags, seen.span.trace_id.hex()) == ("00", "01", trace)
            assert seen.span.kind == Span.SPAN_KIND_CLIENT
            carried += 1
    assert carried > 1000


def test_old_and_new_conventions_both_occur(account: Account) -> None:
    names = {name for seen in account.spans.values() for name in seen.attributes}
    assert {"http.response.status_code", "http.status_code", "server.address", "net.peer.name"} <= names
    assert {"db.system.name", "db.system", "rpc.grpc.status_code", "messaging.destination.name"} <= names
