"""An OTLP/HTTP endpoint that keeps what it is sent: the request bodies, byte for byte."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.http_body import read_body


@dataclass
class OtlpSink:
    """Listens on `port`; `bodies` are the protobuf requests in the order of their arrival."""

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    spans: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def requests(self) -> list[ExportTraceServiceRequest]:
        """The bodies, parsed by the reference implementation."""
        with self.lock:
            return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]


@contextmanager
def otlp_sink() -> Iterator[OtlpSink]:
    """Run a sink for trace requests on a free loopback port."""
    sink = OtlpSink()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = read_body(self)
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            with sink.lock:
                sink.bodies.append(body)
                sink.spans += sum(len(scope.spans) for rs in request.resource_spans for scope in rs.scope_spans)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # Whoever sends must be stopped first: leaving waits for open connections.
    server.daemon_threads = False
    sink.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="otlp sink")
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
