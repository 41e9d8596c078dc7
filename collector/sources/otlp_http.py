"""OTLP over HTTP: `/v1/traces`, `/v1/metrics` and `/v1/logs`, protobuf and JSON, plain or gzip.

    request ──► body, inflated, both within limits ──► checked ──► submit(Batch, "otlp_proto") ──► 200 once it is stored

Records that cannot be used are stored as dead letters, and the answer is a partial success that counts them.

The standard library's threading server is enough and brings nothing to keep up to date: a sender keeps one connection
open and sends batches, so there are few connections, and a thread that waits for the store is what back-pressure is.
Everything is bounded: connections, requests at work, bytes before and after inflation, of one request and of all that
are in memory, seconds.

Answers follow the OTLP/HTTP specification: 400 where sending again is useless, 429 and 503 with `Retry-After` where it
is not; errors carry a `google.rpc.Status` in the request's encoding.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from pydantic import Field

from collector.contract import Batch
from collector.decode.otlp.json_form import NotOtlp, to_protobuf
from collector.decode.otlp.schema import Signal, to_message
from collector.decode.otlp.wire import NotProtobuf, signal_of
from collector.sources.bounded_http import BoundedServer, Listener
from collector.sources.inflate import Broken, TooLarge, gunzip
from collector.sources.otlp_answers import JSON, PROTOBUF, Rejected, failure, success
from collector.sources.room import Place, Room

Submit = Callable[[Batch, str], Rejected | None]
"""Takes one request as a batch of one message, with its format; returns once it is stored, raises where it was not."""

FORMAT = "otlp_proto"
_SIGNAL_OF_PATH: dict[str, Signal] = {"/v1/traces": "traces", "/v1/metrics": "metrics", "/v1/logs": "logs"}
_PIECE = 1 << 16
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"
GZIP_MOST = 1032
"""Deflate makes no more of a byte than this many."""
WAITING_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What a sender may ask of the OTLP/HTTP receiver. The bounds are held where these are read as settings."""

    body_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 16 << 20
    """Bytes of a request as sent."""
    inflated_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 64 << 20
    """Bytes of a request after inflation."""
    connections: Annotated[int, Field(ge=1, le=10_000)] = 128
    """Connections open at once; one more is told to come back later."""
    at_work: Annotated[int, Field(ge=1, le=1000)] = 16
    """Requests in memory at once: being read, or waiting for the store."""
    patience_s: Annotated[float, Field(ge=0, le=300)] = 2.0
    """How long a request waits for one of these places before it is told to come back later."""
    idle_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """How long a connection may be silent between requests."""
    request_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """How long a request may take to arrive."""


class Refused(Exception):
    """The request is answered with an error. `retry_after_s` = the sender may repeat it after so long."""

    def __init__(self, status: int, reason: str, *, retry_after_s: int | None = None, close: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_s = retry_after_s
        self.close = close
        """Whether the rest of the body is still on the wire, so that the connection cannot be used again."""


class _Server(BoundedServer):
    def __init__(self, address: tuple[str, int], submit: Submit, limits: RequestLimits, waiting_bytes: int) -> None:
        self.submit = submit
        self.limits = limits
        self.room = Room(waiting_bytes)
        self.places = threading.BoundedSemaphore(limits.at_work)
        self.closing = False
        super().__init__(address, _Handler, "otlp", limits.connections, _FULL)

    def end(self, within_s: float) -> None:
        self.closing = True
        super().end(within_s)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "eastwatch"
    sys_version = ""
    disable_nagle_algorithm = True
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def setup(self) -> None:
        self.timeout = self.server.limits.idle_s
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: counters tell what is accepted and refused."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses (a malformed request line, a method) in the shape of all other errors."""
        del explain
        self.request_version = "HTTP/1.1"  # what is not understood counts as 0.9, and gets no status line
        self._refuse(Refused(int(code), message or HTTPStatus(code).phrase, close=True))

    def do_POST(self) -> None:
        """One export request."""
        places = self.server.places
        try:
            signal = self._signal()
            encoding = self._encoding()
            if not places.acquire(timeout=self.server.limits.patience_s):
                raise Refused(503, "too many requests at once", retry_after_s=2, close=True)
            try:
                with self.server.room.place() as place:
                    rejected = self._store(self._request(place, encoding, signal), self.path)
            finally:
                places.release()
        except Refused as refusal:
            self._refuse(refusal)
        else:
            self._answer(200, success(rejected, signal, encoding), encoding)

    def _method_not_allowed(self) -> None:
        self._refuse(Refused(405, f"{self.command} is not allowed, expected POST", close=True))

    do_GET = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_OPTIONS = _method_not_allowed

    def _signal(self) -> Signal:
        path = self.path.partition("?")[0].rstrip("/")
        if path not in _SIGNAL_OF_PATH:
            raise Refused(404, f"no such path, expected {', '.join(_SIGNAL_OF_PATH)}", close=True)
        return _SIGNAL_OF_PATH[path]

    def _encoding(self) -> str:
        encoding = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if encoding not in (PROTOBUF, JSON):
            raise Refused(415, f"content-type {encoding[:60]!r}, expected {PROTOBUF} or {JSON}", close=True)
        return encoding

    def _request(self, place: Place, encoding: str, signal: Signal) -> bytes:
        protobuf = _checked(self._body(place), encoding, signal)
        place.resize(min(len(protobuf), place.size_bytes))
        return protobuf

    def _take(self, place: Place, size_bytes: int) -> None:
        if not place.resize(size_bytes, self.server.limits.patience_s):
            raise Refused(503, "too many bytes of requests at once", retry_after_s=2, close=True)

    def _body(self, place: Place) -> bytes:
        compression = self.headers.get("content-encoding", "identity").strip().lower()
        if compression not in ("identity", "", "gzip"):
            raise Refused(415, f"content-encoding {compression[:60]!r}, expected gzip or none", close=True)
        self.connection.settimeout(self.server.limits.request_s)
        try:
            body = self._chunks(place) if self._is_chunked() else self._sized(place)
        except TimeoutError:
            raise Refused(408, "the body did not arrive in time", close=True) from None
        finally:
            self.connection.settimeout(self.server.limits.idle_s)
        if compression != "gzip":
            return body
        inflated = self._inflated(place, body)
        place.resize(len(inflated))
        return inflated

    def _inflated(self, place: Place, body: bytes) -> bytes:
        limit = self.server.limits.inflated_bytes
        most = min(limit, len(body) * GZIP_MOST)
        # gzip ends with the size of what it holds. Of several members it is that of the last; and anyone can lie.
        said = int.from_bytes(body[-4:], "little")
        if said < most:
            self._take(place, len(body) + said)
            with suppress(TooLarge):
                return _inflate(body, said)
        self._take(place, len(body) + most)
        try:
            return _inflate(body, limit)
        except TooLarge:
            raise Refused(413, f"the body inflates to more than {limit} bytes") from None

    def _is_chunked(self) -> bool:
        coding = self.headers.get("transfer-encoding")
        if coding is None:
            return False
        if coding.strip().lower() != "chunked" or "content-length" in self.headers:
            raise Refused(501, "transfer-encoding: expected chunked alone", close=True)
        return True

    def _sized(self, place: Place) -> bytes:
        given = self.headers.get("content-length")
        if given is None:
            raise Refused(411, "no content-length", close=True)
        if not (given.isascii() and given.isdigit()):
            raise Refused(400, "content-length is no number", close=True)
        if len(given) > 18 or int(given) > self.server.limits.body_bytes:
            raise self._too_large()
        self._take(place, int(given))
        return self._exactly(int(given), time.monotonic() + self.server.limits.request_s)

    def _chunks(self, place: Place) -> bytes:
        until = time.monotonic() + self.server.limits.request_s
        body = bytearray()
        while True:
            line = self.rfile.readline(1026)
            text = line.partition(b";")[0].strip()
            if not line.endswith(b"\n") or not text or len(text) > 8:
                raise Refused(400, "malformed chunk", close=True)
            try:
                size = int(text, 16)
            except ValueError:
                raise Refused(400, "malformed chunk", close=True) from None
            if len(body) + size > self.server.limits.body_bytes:
                raise self._too_large()
            if size == 0:
                break
            self._take(place, len(body) + size)
            body += self._exactly(size, until)
            if self.rfile.readline(3) not in (b"\r\n", b"\n"):
                raise Refused(400, "malformed chunk", close=True)
        for _ in range(32):  # trailers
            if self.rfile.readline(1026) in (b"\r\n", b"\n", b""):
                return bytes(body)
        raise Refused(400, "too many trailers", close=True)

    def _exactly(self, size: int, until: float) -> bytes:
        body = bytearray()
        while len(body) < size:
            piece = self.rfile.read(min(size - len(body), _PIECE))
            if not piece:
                raise Refused(400, "the body ended early", close=True)
            body += piece
            if time.monotonic() > until:
                raise Refused(408, "the body did not arrive in time", close=True)
        return bytes(body)

    def _too_large(self) -> Refused:
        return Refused(413, f"the body is larger than {self.server.limits.body_bytes} bytes", close=True)

    def _store(self, protobuf: bytes, path: str) -> Rejected | None:
        bounds = pa.py_buffer(np.array([0, len(protobuf)], np.int64))
        batch = Batch(
            cluster_id="otlp",
            topic=path,
            topic_id="",
            partition=0,
            # Without a copy: it is held here until it is stored.
            values=pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, bounds, pa.py_buffer(protobuf)]),
            offsets=pa.array([0], pa.int64()),
        )
        try:
            return self.server.submit(batch, FORMAT)
        except Exception as error:
            raise Refused(503, f"not stored: {error}", retry_after_s=5) from error

    def _refuse(self, refusal: Refused) -> None:
        headers = getattr(self, "headers", None)
        encoding = "" if headers is None else headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding, body = failure(refusal.status, str(refusal), encoding)
        self.close_connection = self.close_connection or refusal.close
        self._answer(refusal.status, body, encoding, refusal.retry_after_s)

    def _answer(self, status: int, body: bytes, encoding: str, retry_after_s: int | None = None) -> None:
        self.close_connection = self.close_connection or self.server.closing
        self.send_response(status)
        self.send_header("Content-Type", encoding)
        self.send_header("Content-Length", str(len(body)))
        if retry_after_s is not None:
            self.send_header("Retry-After", str(retry_after_s))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "POST")
        if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            self.send_header("Accept-Encoding", "gzip")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _inflate(body: bytes, limit: int) -> bytes:
    try:
        return gunzip(body, limit)
    except Broken as error:
        raise Refused(400, f"the body is no gzip: {error}") from None


def _checked(body: bytes, encoding: str, signal: Signal) -> bytes:
    """The request in protobuf, known to be one.

    Raises:
        Refused: 400, sending it again is useless.
    """
    if encoding == JSON:
        try:
            return to_protobuf(body, signal)[1]
        except NotOtlp as error:
            raise Refused(400, str(error)) from None
    try:
        found = signal_of(body)
        to_message(signal, body)
    except (NotProtobuf, DecodeError):
        raise Refused(400, f"the body is no OTLP protobuf for {signal}") from None
    if found not in (None, signal):
        raise Refused(400, f"the body carries {found}, expected {signal} at this path")
    return body


def serve(
    address: tuple[str, int],
    submit: Submit,
    limits: RequestLimits | None = None,
    *,
    waiting_bytes: int = WAITING_BYTES,
) -> Listener:
    """Listen on `address` (port 0 = any free one) until `close`.

    Args:
        address: host (an address; 127.0.0.1 keeps strangers out) and port.
        submit: called from request threads, several at once, one request each, already known to be OTLP protobuf.
        limits: see `RequestLimits`.
        waiting_bytes: of all requests in memory, inflated, until they are answered; one alone may take more. One for
            which there is no room within `patience_s` is told to come back later.

    Raises:
        OSError: the address cannot be listened on.
    """
    return Listener(_Server(address, submit, limits or RequestLimits(), waiting_bytes))
