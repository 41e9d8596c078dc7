"""What a request sets in motion: operations run, call others, and everybody's sidecars and spans see it.

Every step of the call tree is one vector operation over all invocations at that place, so a slice of time costs the
number of call sites, not of calls. A callee's time lies within its caller's, and both sidecars and both applications of
a call share its ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eastwatch.world.cluster import Cluster
from eastwatch.world.draws import Draws
from eastwatch.world.happenings import (
    ANSWERED,
    GRPC_ERRORS,
    HANDLED,
    NOT_REACHED,
    Calls,
    ClientSpans,
    Deliveries,
    Happenings,
    Ids,
    Inner,
    Ints,
    Outcome,
    Queries,
    ServerSpans,
    Visitors,
)
from eastwatch.world.incidents import Incident
from eastwatch.world.model import Call, External, Faults, Operation, Place, Publish, Query, Service, Step, Topology
from eastwatch.world.paths import draw_paths

Mask = NDArray[np.bool_]

_UNAVAILABLE, _PERMISSION_DENIED = 14, 7


@dataclass(slots=True)
class Frame:
    """Invocations of a service's code: where they run and what they pass on."""

    service: Service
    pod: Ints
    request: Ids
    product: Ints
    user: Ints
    trace: Ids | None = None
    span: Ids | None = None
    visitors: Visitors | None = None

    def take(self, rows: Ints) -> Frame:
        visitors = self.visitors
        if visitors is not None:
            visitors = Visitors(visitors.address[rows], visitors.agent[rows], visitors.http2[rows])
        return Frame(
            self.service,
            self.pod[rows],
            self.request[rows],
            self.product[rows],
            self.user[rows],
            None if self.trace is None else self.trace[rows],
            None if self.span is None else self.span[rows],
            visitors,
        )


class Walk:
    """Runs operations of a topology within one slice and notes what happens in `out`."""

    def __init__(
        self, cluster: Cluster, topology: Topology, draw: Draws, incidents: Sequence[Incident], out: Happenings
    ) -> None:
        self._cluster = cluster
        self._topology = topology
        self._places: dict[str, Place] = topology.places
        self._operations = topology.by_operation
        self._incidents = incidents
        self._pace = np.array([pod.version.pace for pod in cluster.pods])
        self._draw = draw
        self._out = out

    def _handle(self, operation: Operation, frame: Frame, start_us: Ints) -> tuple[Ints, Ints]:
        """Run an operation. Returns how long each invocation took (us) and what it answered (HTTP or gRPC status)."""
        n = len(start_us)
        own_us = self._draw.lognormal(operation.own_ms * 1000, operation.spread, n) * self._pace[frame.pod]
        for incident in self._incidents:
            factor = incident.pace(operation, self._cluster, frame.pod, start_us)
            if factor is not None:
                own_us = own_us * factor
        before_us = (own_us * 0.4).astype(np.int64)
        now_us = start_us + before_us
        inner_start_us, inner_parent = now_us.copy(), frame.span
        if operation.inner and frame.trace is not None:
            frame.span = self._draw.ids(n)
        failed = np.zeros(n, np.bool_)
        longest_us = np.zeros(n, np.int64)
        for step in operation.steps:
            if not step.alongside:
                now_us = now_us + longest_us
                longest_us = np.zeros(n, np.int64)
            rows = np.flatnonzero((self._draw.rng.random(n) < step.share) & ~failed)
            if len(rows) == 0:
                continue
            took_us, broke = self._step(step, frame.take(rows), now_us[rows])
            longest_us[rows] = np.maximum(longest_us[rows], took_us)
            if step.required:
                failed[rows] |= broke
        now_us = now_us + longest_us
        if (
            inner_parent is not None
            and frame.span is not inner_parent
            and frame.trace is not None
            and frame.span is not None
        ):
            self._out.inner.append(
                Inner(
                    frame.service, operation.inner, frame.pod, frame.trace, frame.span, inner_parent,
                    inner_start_us, np.maximum(now_us - inner_start_us, 1),
                )
            )  # fmt: skip
        grpc = frame.service.protocol == "grpc"
        code = self._draw.answers(operation, n)
        code[failed] = _UNAVAILABLE if grpc else 500
        return now_us - start_us + (own_us.astype(np.int64) - before_us), code

    def _step(self, step: Step, frame: Frame, at_us: Ints) -> tuple[Ints, Mask]:
        if isinstance(step, Call):
            return self.call(step, frame, at_us)
        if isinstance(step, Query):
            return self._query(step, frame, at_us)
        return self._publish(step, frame, at_us)

    def call(self, step: Call, caller: Frame, at_us: Ints) -> tuple[Ints, Mask]:
        """Make a call from every row of `caller` at its time. Returns how long each took (us) and which failed."""
        operation = self._operations[step.to]
        place = self._places[operation.service]
        if isinstance(place, External):
            return self._call_outside(step, operation, place, caller, at_us)
        n = len(at_us)
        grpc = place.protocol == "grpc"
        # Application to its sidecar, then sidecar to sidecar.
        loop_us = self._draw.rng.integers(60, 220, n) if caller.service.meshed else np.zeros(n, np.int64)
        wire_us = self._draw.rng.integers(140, 620, n)
        for incident in self._incidents:
            delay_us = incident.delay_us(caller.service, operation, at_us)
            if delay_us is not None:
                wire_us = wire_us + delay_us
        outcome = self._draw.outcomes(step.faults, n)
        calls = Calls(
            source=caller.service,
            destination=place,
            operation=operation,
            policy=step.faults.policy,
            caller_pod=caller.pod,
            callee_pod=self._draw.pick(place.id, n),
            outcome=outcome,
            start_us=at_us + loop_us,
            duration_us=np.zeros(n, np.int64),
            server_start_us=at_us + loop_us + wire_us,
            server_duration_us=np.zeros(n, np.int64),
            status=np.full(n, 200),
            grpc=np.full(n, -1),
            server_status=np.full(n, 200),
            server_grpc=np.full(n, -1),
            bytes_sent=self._draw.sizes(operation.response_bytes, n),
            bytes_received=self._draw.sizes(operation.request_bytes, n),
            attempts=np.where(outcome == Outcome.RETRIED, 2, np.where(outcome == Outcome.UNREACHABLE, 3, 1)),
            request=caller.request,
            paths=draw_paths(operation.path, self._draw.rng, caller.product, caller.user),
            ports=self._draw.rng.integers(32_768, 61_000, (n, 3)),
            visitors=caller.visitors,
            plaintext=step.plaintext,
            incident=step.incident,
        )
        calls.callee_pod[NOT_REACHED[outcome]] = -1
        if caller.trace is not None and caller.span is not None:
            calls.client_spans = ClientSpans(caller.trace, self._draw.ids(n), caller.span, at_us, calls.duration_us)
        self._first_attempts(calls, wire_us, grpc)

        rows = np.flatnonzero(HANDLED[outcome])
        took_us = self._draw.lognormal(1_500, 0.3, n).astype(np.int64)
        code = np.full(n, _UNAVAILABLE if grpc else 503)
        if len(rows):
            frame = Frame(place, calls.callee_pod[rows], caller.request[rows], caller.product[rows], caller.user[rows])
            begin_us = calls.server_start_us[rows] + self._draw.rng.integers(80, 250, len(rows))
            spans = self._server_spans(calls, rows, begin_us) if place.traced else None
            if spans is not None:
                frame.trace, frame.span = spans.trace, spans.span
            handled_us, code[rows] = self._handle(operation, frame, begin_us)
            late = outcome[rows] == Outcome.TIMED_OUT
            late_us = step.faults.timeout_ms * 1000 + self._draw.rng.integers(50_000, 400_000, len(rows))
            handled_us = np.where(late, np.maximum(handled_us, late_us), handled_us)
            took_us[rows] = handled_us
            if spans is not None:
                spans.duration_us, spans.code = np.maximum(handled_us, 1), code[rows]
                calls.server_spans = spans
        took_us[outcome == Outcome.DENIED] = 200
        calls.server_duration_us = took_us + self._draw.rng.integers(160, 420, n)
        calls.duration_us = calls.server_start_us + calls.server_duration_us + wire_us - calls.start_us
        self._conclude(calls, code, step.faults, wire_us, grpc)
        self._out.calls.append(calls)
        elapsed_us = calls.start_us - at_us + calls.duration_us + loop_us
        if calls.client_spans is not None:
            calls.client_spans.duration_us = np.maximum(elapsed_us, 1)
        return elapsed_us, (GRPC_ERRORS[calls.grpc] if grpc else calls.status >= 500)

    def _call_outside(
        self, step: Call, operation: Operation, place: External, caller: Frame, at_us: Ints
    ) -> tuple[Ints, Mask]:
        n = len(at_us)
        outcome = self._draw.outcomes(step.faults, n)
        code = self._draw.answers(operation, n)
        loop_us = self._draw.rng.integers(60, 220, n)
        duration_us = self._draw.lognormal(operation.own_ms * 1000, operation.spread, n).astype(np.int64)
        # A handshake of TLS passes through a connection that the sidecar cannot look into.
        hidden = 4_800 if place.way == "sealed" else 0
        calls = Calls(
            source=caller.service,
            destination=place,
            operation=operation,
            policy="",
            caller_pod=caller.pod,
            callee_pod=np.full(n, -1),
            outcome=outcome,
            start_us=at_us + loop_us,
            duration_us=duration_us,
            server_start_us=at_us + loop_us,
            server_duration_us=duration_us,
            status=code,
            grpc=np.full(n, -1),
            server_status=code,
            server_grpc=np.full(n, -1),
            bytes_sent=self._draw.sizes(operation.response_bytes, n) + hidden,
            bytes_received=self._draw.sizes(operation.request_bytes, n) + hidden // 4,
            attempts=np.where(outcome == Outcome.UNREACHABLE, 3, 1),
            request=caller.request,
            paths=draw_paths(operation.path, self._draw.rng, caller.product, caller.user),
            ports=self._draw.rng.integers(32_768, 61_000, (n, 3)),
        )
        unreachable = outcome == Outcome.UNREACHABLE
        calls.status[unreachable] = 503
        calls.bytes_sent[unreachable] = 0 if place.way == "sealed" else 121
        calls.duration_us[unreachable] = 3_000
        self._out.calls.append(calls)
        elapsed_us = calls.duration_us + 2 * loop_us
        if caller.trace is not None and caller.span is not None:
            calls.client_spans = ClientSpans(
                caller.trace, self._draw.ids(n), caller.span, at_us, np.maximum(elapsed_us, 1)
            )
        return elapsed_us, calls.status >= 500

    def _first_attempts(self, calls: Calls, wire_us: Ints, grpc: bool) -> None:
        """Attempts that failed and were repeated: another pod, a quick 503, then a short pause before the next."""
        rows = np.flatnonzero(calls.outcome == Outcome.RETRIED)
        n = len(rows)
        if n == 0:
            return
        place = calls.destination
        assert isinstance(place, Service)
        took_us = self._draw.lognormal(2_500, 0.4, n).astype(np.int64) + 400
        first = Calls(
            source=calls.source,
            destination=place,
            operation=calls.operation,
            policy=calls.policy,
            caller_pod=calls.caller_pod[rows],
            callee_pod=self._draw.pick(place.id, n),
            outcome=np.full(n, int(Outcome.ANSWERED)),
            start_us=calls.start_us[rows],
            duration_us=took_us,
            server_start_us=calls.server_start_us[rows],
            server_duration_us=took_us,
            status=np.full(n, 200 if grpc else 503),
            grpc=np.full(n, _UNAVAILABLE if grpc else -1),
            server_status=np.full(n, 200 if grpc else 503),
            server_grpc=np.full(n, _UNAVAILABLE if grpc else -1),
            bytes_sent=np.full(n, 91),
            bytes_received=calls.bytes_received[rows],
            attempts=np.ones(n, np.int64),
            request=calls.request[rows],
            paths=[calls.paths[row] for row in rows.tolist()],
            ports=self._draw.rng.integers(32_768, 61_000, (n, 3)),
            plaintext=calls.plaintext,
            failed_attempt=True,
            incident=calls.incident,
        )
        if place.traced:
            begin_us = first.server_start_us + 150
            spans = self._server_spans(calls, rows, begin_us)
            spans.row, spans.duration_us = np.arange(n), took_us - 300
            spans.code = np.full(n, _UNAVAILABLE if grpc else 503)
            first.server_spans = spans
        self._out.calls.append(first)
        pause_us = self._draw.rng.integers(1_000, 25_000, n)
        calls.server_start_us[rows] += took_us + 2 * wire_us[rows] + pause_us

    def _server_spans(self, calls: Calls, rows: Ints, begin_us: Ints) -> ServerSpans:
        """Spans of the callee: children of the caller's, or roots of new traces when it passed nothing on."""
        n = len(rows)
        client = calls.client_spans
        zeros = np.zeros(n, np.int64)
        if client is None:
            return ServerSpans(
                rows, self._draw.ids(n, 2), self._draw.ids(n), np.zeros(n, np.uint64), begin_us, zeros, zeros
            )
        return ServerSpans(rows, client.trace[rows], self._draw.ids(n), client.span[rows], begin_us, zeros, zeros)

    def _conclude(self, calls: Calls, code: Ints, faults: Faults, wire_us: Ints, grpc: bool) -> None:
        """What both sidecars make of each outcome: statuses, sizes and who waited how long."""
        outcome, n = calls.outcome, len(calls)
        answered = code.copy()
        for ends, client_answer, server_answer, size in (
            (Outcome.NO_HEALTHY, 503, 0, 19),
            (Outcome.UNREACHABLE, 503, 0, 121),
            (Outcome.RESET, 503, 503, 95),
            (Outcome.TIMED_OUT, 504, 0, 24),
            (Outcome.DENIED, 403, 403, 19),
            (Outcome.HUNG_UP, 0, 0, 0),
        ):
            rows = outcome == ends
            if not rows.any():
                continue
            # gRPC over HTTP: the proxy answers 200 and says the rest in the trailers.
            refusal = _PERMISSION_DENIED if client_answer == 403 else _UNAVAILABLE
            answered[rows] = refusal if grpc else client_answer
            calls.server_status[rows] = server_answer if not grpc or server_answer == 0 else 200
            calls.server_grpc[rows] = refusal if grpc and server_answer else -1
            calls.bytes_sent[rows] = 0 if grpc else size
        usual = ANSWERED[outcome]
        if grpc:
            calls.grpc = answered
            calls.server_grpc[usual] = code[usual]
            calls.bytes_sent[(answered != 0)] = 0
        else:
            calls.status = answered
            calls.server_status[usual] = code[usual]
            calls.bytes_sent[usual & (code >= 400)] = 91
        calls.duration_us[outcome == Outcome.NO_HEALTHY] = 90
        calls.duration_us[outcome == Outcome.UNREACHABLE] = self._draw.rng.integers(2_000, 60_000, n)[
            outcome == Outcome.UNREACHABLE
        ]
        late = outcome == Outcome.TIMED_OUT
        calls.duration_us[late] = faults.timeout_ms * 1000 + 300
        gone = outcome == Outcome.HUNG_UP
        if gone.any():
            patience = self._draw.rng.uniform(0.3, 0.95, n)
            calls.duration_us = np.where(gone, (calls.duration_us * patience).astype(np.int64), calls.duration_us)
        cut = calls.start_us + calls.duration_us + wire_us - calls.server_start_us
        calls.server_duration_us = np.where(late | gone, np.maximum(cut, 0), calls.server_duration_us)

    def _query(self, step: Query, caller: Frame, at_us: Ints) -> tuple[Ints, Mask]:
        n = len(at_us)
        took_us = np.maximum(self._draw.lognormal(step.took_ms * 1000, 0.4, n).astype(np.int64), 1)
        if caller.trace is not None and caller.span is not None:
            self._out.queries.append(
                Queries(caller.service, step, caller.pod, caller.trace, self._draw.ids(n), caller.span, at_us, took_us)
            )
        return took_us, np.zeros(n, np.bool_)

    def _publish(self, step: Publish, caller: Frame, at_us: Ints) -> tuple[Ints, Mask]:
        n = len(at_us)
        operation = self._operations[step.to]
        consumer = self._topology.service(operation.service)
        took_us = np.maximum(self._draw.lognormal(1_600, 0.3, n).astype(np.int64), 1)
        frame = Frame(consumer, self._draw.pick(consumer.id, n), self._draw.ids(n, 2), caller.product, caller.user)
        begin_us = at_us + took_us + self._draw.lognormal(step.lag_ms * 1000, 0.6, n).astype(np.int64)
        deliveries = None
        if caller.trace is not None and caller.span is not None:
            frame.trace, frame.span = caller.trace, self._draw.ids(n)
            deliveries = Deliveries(
                source=caller.service,
                destination=consumer,
                operation=operation,
                publish=step,
                producer_pod=caller.pod,
                consumer_pod=frame.pod,
                trace=caller.trace,
                parent=caller.span,
                producer_span=self._draw.ids(n),
                producer_start_us=at_us,
                producer_duration_us=took_us,
                consumer_span=frame.span,
                consumer_start_us=begin_us,
                consumer_duration_us=took_us,
            )
            self._out.deliveries.append(deliveries)
        handled_us, _ = self._handle(operation, frame, begin_us)
        if deliveries is not None:
            deliveries.consumer_duration_us = np.maximum(handled_us, 1)
        return took_us, np.zeros(n, np.bool_)
