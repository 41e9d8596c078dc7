"""The programs behind the sidecars of the test mesh: they answer, call on, and note in the ledger what they did.

Between programs travel, as in any traced mesh, `x-request-id` and `traceparent`; and for the test's own bookkeeping
`x-entry` (number of the entry request), `x-caller` and `x-answers` (what to answer to each attempt in turn).
"""

from __future__ import annotations

import http.client
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support import h2c
from tests.support.envoy_config import INBOUND, OUTBOUND, PROGRAM_PORT_OUTSIDE, tcp_outbound_port
from tests.support.envoy_pki import Authority
from tests.support.envoy_topology import RBAC_BODY, Call, Ledger, Service, Topology
from tests.support.http_body import read_body

_TIMEOUT_S = 20.0
_PASSED_ON = ("x-request-id", "traceparent", "tracestate")


@dataclass(frozen=True, slots=True)
class Programs:
    """What every program shares."""

    topology: Topology
    addresses: Mapping[str, str]
    ledger: Ledger
    authority: Authority
    bound: bool = True
    """Programs with a sidecar call it from their own address; a real program's address is always its pod's."""
    errors: list[str] = field(default_factory=list)
    """What went wrong inside a program; must stay empty."""

    def make_calls(self, source: Service, entry: int, headers: Mapping[str, str]) -> None:
        """All calls that `source` makes for entry request `entry`, one after the other."""
        for call in self.topology.calls_from(source.id):
            if entry % call.every == 0:
                self.make_call(call, entry, headers)

    def make_call(self, call: Call, entry: int, headers: Mapping[str, str]) -> None:
        """One call through the caller's sidecar, or straight to the callee when the caller has none."""
        source, destination = self.topology.services[call.source], self.topology.services[call.destination]
        if destination.protocol == "tcp":
            self._connect(call, source, destination)
            return
        if destination.protocol == "grpc":
            self._call_grpc(call, entry, headers)
            return
        target = (self.addresses[source.id], OUTBOUND) if source.sidecar else (self.addresses[destination.id], INBOUND)
        connection = http.client.HTTPConnection(*target, timeout=_TIMEOUT_S, source_address=self._own(source))
        sent = self._headers(call, entry, headers) | {"connection": "close"}
        sent["host"] = destination.host if destination.outside else f"{destination.host}:{destination.port}"
        try:
            body = b"x" * 100 if call.method == "POST" else None
            connection.request(call.method, call.path.format(n=entry), body=body, headers=sent)
            response = connection.getresponse()
            answer = response.read()
            denied = response.status == 403 and answer == RBAC_BODY
            self.ledger.call(source.id, destination.id, response.status, denied=denied)
        finally:
            connection.close()

    def _headers(self, call: Call, entry: int, headers: Mapping[str, str]) -> dict[str, str]:
        source = self.topology.services[call.source]
        return {name: headers[name] for name in _PASSED_ON if headers.get(name)} | {
            "user-agent": f"{source.name}/{source.version}",
            "x-entry": str(entry),
            "x-caller": source.id,
            "x-answers": ",".join(map(str, call.answers(entry))),
        }

    def _call_grpc(self, call: Call, entry: int, headers: Mapping[str, str]) -> None:
        source, destination = self.topology.services[call.source], self.topology.services[call.destination]
        pseudo = {
            ":method": call.method,
            ":scheme": "http",
            ":path": call.path,
            ":authority": f"{destination.host}:{destination.port}",
        }
        sent = pseudo | self._headers(call, entry, headers) | {"content-type": "application/grpc", "te": "trailers"}
        target = (self.addresses[source.id], OUTBOUND)
        with socket.create_connection(target, timeout=_TIMEOUT_S, source_address=self._own(source)) as connection:
            h2c.request(connection, sent, b"\x00\x00\x00\x00\x00")
        # The small client reads no headers: what the callee answered is what it was asked to answer.
        grpc_status = call.answers(entry)[-1]
        self.ledger.call(source.id, destination.id, 200, 0 if grpc_status == 200 else grpc_status)

    def _own(self, source: Service) -> tuple[str, int] | None:
        return (self.addresses[source.id], 0) if self.bound or not source.sidecar else None

    def _connect(self, call: Call, source: Service, destination: Service) -> None:
        target = (self.addresses[source.id], tcp_outbound_port(self.topology, call))
        with socket.create_connection(target, timeout=_TIMEOUT_S, source_address=self._own(source)) as plain:
            stream = plain
            if call.transport == "passthrough":
                context = ssl.create_default_context(cafile=str(self.authority.root))
                stream = context.wrap_socket(plain, server_hostname=destination.host)
            stream.sendall(b"PING\r\n")
            while stream.recv(1024):
                pass
            if stream is not plain:
                stream.close()
        self.ledger.call(source.id, destination.id, 0)


def start(programs: Programs, service: Service) -> Callable[[], None]:
    """Start the program of `service` on its address; returns what stops it."""
    address = (programs.addresses[service.id], PROGRAM_PORT_OUTSIDE if service.outside else service.port)
    make_handler = _tcp_handler if service.protocol == "tcp" else _http_handler
    server = _Server(address, make_handler(programs, service), programs.errors)
    transports = {call.transport for call in programs.topology.calls if call.destination == service.id}
    if service.outside and transports & {"tls_origination", "passthrough"}:
        pair = programs.authority.issue(service.name, host=service.host)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name=f"program {service.id}")
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    # Stopping waits for the handlers: their sockets must not outlive the test.
    daemon_threads = False
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler], errors: list[str]
    ) -> None:
        self._errors = errors
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        # An Envoy that ends resets the connections it kept in its pool.
        if not isinstance(error, ConnectionError):
            self._errors.append(f"program at {self.server_address}: {error!r}")


def _tcp_handler(programs: Programs, service: Service) -> type[socketserver.BaseRequestHandler]:
    callers = {call.source for call in programs.topology.calls if call.destination == service.id}
    if len(callers) != 1:
        raise ValueError(f"{service.id} has {len(callers)} callers: a bare connection cannot say which one it is from")
    caller = callers.pop()

    class Handler(socketserver.StreamRequestHandler):
        timeout = _TIMEOUT_S

        def handle(self) -> None:
            if self.rfile.readline() == b"PING\r\n":
                programs.ledger.arrival(caller, service.id)
                self.wfile.write(b"+PONG\r\n")
            else:
                programs.errors.append(f"{service.id} was sent something else than PING")

    return Handler


def _http_handler(programs: Programs, service: Service) -> type[BaseHTTPRequestHandler]:
    attempts: dict[tuple[str, str], int] = {}
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _TIMEOUT_S

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            read_body(self)
            caller, entry = self.headers["x-caller"], int(self.headers["x-entry"])
            programs.ledger.arrival(caller, service.id)
            with lock:
                attempt = attempts[caller, self.headers["x-entry"]] = attempts.get((caller, str(entry)), -1) + 1
            answers = [int(answer) for answer in self.headers["x-answers"].split(",")]
            status = answers[min(attempt, len(answers) - 1)]
            if attempt == len(answers) - 1:
                try:
                    programs.make_calls(service, entry, self.headers)
                except (OSError, http.client.HTTPException) as error:
                    programs.errors.append(f"{service.id}, entry {entry}: {error!r}")
            body = b"{}" if service.protocol == "http" else b""
            grpc = service.protocol == "grpc"
            self.send_response(200 if grpc else status)
            self.send_header("content-type", "application/grpc" if grpc else "application/json")
            if grpc:
                self.send_header("grpc-status", "0" if status == 200 else str(status))
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

    return Handler
