"""The OTLP/HTTP receiver as a sender meets it: over TCP, with sound, broken and hostile requests."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from collector.contract import Batch
from collector.errors import SourceUnavailable
from collector.sources.bounded_http import Listener
from collector.sources.otlp_http import RequestLimits, serve
from tests.collector.otlp.test_bad_input import JSON_SPAN, request
from tests.support.poll import poll

START = b"POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf\r\n"
PROTOBUF, JSON = "application/x-protobuf", "application/json"


@dataclass
class Store:
    """What was submitted. `hold` keeps submissions waiting, `error` refuses them."""

    bodies: list[bytes] = field(default_factory=list)
    formats: set[str] = field(default_factory=set)
    hold: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    entered: threading.Event = field(default_factory=threading.Event)

    def submit(self, batch: Batch, format: str) -> None:
        self.entered.set()
        self.hold.wait(10)
        if self.error:
            raise self.error
        self.formats.add(format)
        self.bodies += batch.values.to_pylist()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def receiver(**limits: Any) -> Iterator[tuple[Listener, Store]]:
    """A receiver on a free port, and its store."""
    store = Store()
    store.hold.set()
    before = {thread.ident for thread in threading.enumerate()}
    descriptors = open_descriptors()
    running = serve(("127.0.0.1", 0), store.submit, RequestLimits(**limits))
    try:
        yield running, store
    finally:
        store.hold.set()
        running.close()
    poll(lambda: {t.ident for t in threading.enumerate()} <= before, "the end of all threads", 30)
    poll(lambda: open_descriptors() <= descriptors, "the end of all descriptors", 30)


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def post(
    port: int, body: Any, path: str = "/v1/traces", kind: str = PROTOBUF, method: str = "POST", **headers: str
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers={"content-type": kind, **named})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def raw(port: int, text: bytes) -> bytes:
    """What comes back for `text` until the receiver closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def test_sound_requests_of_all_kinds() -> None:
    trace = request(3)
    log = ExportLogsServiceRequest(resource_logs=[{"scope_logs": [{"log_records": [{"time_unix_nano": 1}]}]}])
    gauge = {"name": "g", "gauge": {"data_points": [{"time_unix_nano": 1}]}}
    metric = ExportMetricsServiceRequest(resource_metrics=[{"scope_metrics": [{"metrics": [gauge]}]}])
    sent = [
        ("/v1/traces", trace),
        ("/v1/logs", log.SerializeToString()),
        ("/v1/metrics", metric.SerializeToString()),
        ("/v1/traces", b""),
    ]
    with receiver() as (running, store):
        for path, body in sent:
            answer = post(running.port, body, path)
            assert (answer.status, answer.headers["content-type"]) == (200, PROTOBUF)
            assert ExportTraceServiceResponse.FromString(answer.body) == ExportTraceServiceResponse()
            assert post(running.port, gzip.compress(body), path, content_encoding="gzip").status == 200
        assert store.bodies == [body for _, body in sent for _ in range(2)]
        assert store.formats == {"otlp_proto"}


def test_json_arrives_as_protobuf_and_is_answered_in_json() -> None:
    with receiver() as (running, store):
        answer = post(running.port, JSON_SPAN, kind=f"{JSON}; charset=utf-8")
        assert (answer.status, answer.headers["content-type"], answer.body) == (200, JSON, b"{}")
        (body,) = store.bodies
        assert ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0].name == "n"


def test_a_chunked_body() -> None:
    body = request(2)
    with receiver() as (running, store):
        assert post(running.port, iter([body[:5], body[5:]])).status == 200
        assert store.bodies == [body]


def test_a_connection_is_kept() -> None:
    with receiver() as (running, store):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
        for _ in range(3):
            connection.request("POST", "/v1/traces", request(), {"content-type": PROTOBUF})
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"")
            socket_then = connection.sock
            assert socket_then is not None
        connection.close()
        assert len(store.bodies) == 3


def test_the_exporter_of_otel_python() -> None:
    with receiver() as (running, store):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"http://127.0.0.1:{running.port}/v1/traces")))
        provider.get_tracer("tests").start_span("alone").end()
        provider.shutdown()
        (body,) = store.bodies
        assert ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0].name == "alone"


METRIC = ExportMetricsServiceRequest(
    resource_metrics=[{"scope_metrics": [{"metrics": [{"name": "g", "gauge": {"data_points": [{}]}}]}]}]
).SerializeToString()
LIMITS = {"body_bytes": 10_000, "inflated_bytes": 20_000}


@pytest.mark.parametrize(
    ("status", "options"),
    [
        (400, {"body": b"hello"}),
        (400, {"body": b"hello", "kind": JSON}),
        (400, {"body": JSON_SPAN, "kind": JSON, "path": "/v1/logs"}),
        (400, {"body": METRIC}),
        (400, {"body": b"no gzip", "content_encoding": "gzip"}),
        (400, {"body": gzip.compress(b"x" * 1000)[:-9], "content_encoding": "gzip"}),
        (404, {"body": b"", "path": "/v1/profiles"}),
        (404, {"body": b"", "path": "/"}),
        (405, {"body": None, "method": "GET"}),
        (405, {"body": None, "method": "DELETE"}),
        (413, {"body": b"x" * 10_001}),
        (413, {"body": gzip.compress(b"x" * 1_000_000), "content_encoding": "gzip"}),
        (413, {"body": gzip.compress(b"x" * 15_000) * 2, "content_encoding": "gzip"}),
        (413, {"body": iter([b"x" * 6000, b"x" * 6000])}),
        (415, {"body": b"", "kind": "text/plain"}),
        (415, {"body": b"", "content_encoding": "br"}),
    ],
)
def test_refusals(status: int, options: dict[str, Any]) -> None:
    with receiver(**LIMITS) as (running, store):
        answer = post(running.port, **options)
        assert answer.status == status
        assert not store.bodies
        if options.get("kind", PROTOBUF) == PROTOBUF:
            assert answer.body[0] == 8  # google.rpc.Status, field 1: code
        else:
            assert json.loads(answer.body)["message"]
        assert post(running.port, request()).status == 200


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (START + b"\r\n", b"411"),
        (START + b"Content-Length: -1\r\n\r\n", b"400"),
        (
            START + b"Content-Length: 50\r\n\r\nshort",
            b"400",
        ),
        (
            START + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"400",
        ),
        (
            START + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
            b"501",
        ),
        (b"POST /v1/traces HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n", b"431"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /" + b"v" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
    ],
)
def test_broken_http(text: bytes, status: bytes) -> None:
    with receiver() as (running, store):
        answer = raw(running.port, text)
        assert status in answer.splitlines()[0], answer[:200]
        assert not store.bodies


def test_what_is_not_stored_is_to_be_sent_again() -> None:
    with receiver() as (running, store):
        store.error = SourceUnavailable("the engine is away")
        answer = post(running.port, request())
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) > 0
        assert b"the engine is away" in answer.body
        store.error = None
        assert post(running.port, request()).status == 200


def test_200_comes_only_after_the_store() -> None:
    with receiver() as (running, store):
        store.hold.clear()
        answers: list[Answer] = []
        sender = threading.Thread(target=lambda: answers.append(post(running.port, request())))
        sender.start()
        sender.join(0.3)
        assert sender.is_alive()
        assert not answers
        store.hold.set()
        sender.join(10)
        assert answers[0].status == 200


def test_back_pressure() -> None:
    with receiver(at_work=1, patience_s=0.1) as (running, store):
        store.hold.clear()
        sender = threading.Thread(target=post, args=(running.port, request()))
        sender.start()
        assert store.entered.wait(30)
        assert post(running.port, request()).status == 503
        store.hold.set()
        sender.join(10)
        assert post(running.port, request()).status == 200


def test_too_many_connections() -> None:
    with receiver(connections=2) as (running, _store):
        idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(2)]
        answer = poll(lambda: raw(running.port, b""), "an answer", 30)
        assert b" 503 " in answer.splitlines()[0]
        for connection in idle:
            connection.close()

        def has_place() -> bool:
            # Who has no place gets his answer before he has sent anything, and may find the connection closed.
            with contextlib.suppress(ConnectionError):
                return post(running.port, request()).status == 200
            return False

        poll(has_place, "a free place", 30)


def test_a_slow_sender_is_dropped() -> None:
    with receiver(request_s=0.3) as (running, store):
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
            connection.sendall(START + b"Content-Length: 9\r\n\r\nab")
            assert b" 408 " in connection.recv(1000).splitlines()[0]
        assert not store.bodies


def test_closing_drops_idle_connections_and_frees_the_port() -> None:
    with receiver() as (running, _store):
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
            poll(lambda: any(t.name == "otlp request" for t in threading.enumerate()), "a request thread", 30)
            running.close()
            assert connection.recv(10) == b""
        serve(("127.0.0.1", running.port), lambda batch, format: None).close()


def test_a_taken_address() -> None:
    with receiver() as (running, _store), pytest.raises(OSError, match="in use"):
        serve(("127.0.0.1", running.port), lambda batch, format: None)
