"""Whoever holds an embedded store serves it to other processes, in ClickHouse's HTTP query form on a Unix socket.

    POST /?query=...&param_x=...&database=...&<setting>=...     body: more of the query, or the rows of an INSERT
    GET  /ping

Output comes in any FORMAT (default TabSeparated, or `default_format`), external tables go in as multipart files with
`NAME_structure` and `NAME_format`. Errors carry `X-ClickHouse-Exception-Code` and ClickHouse's text, as from a server.
One thread a connection, at most 32 of them; the socket's mode 0600 is the access control.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa

from storage import multipart, unix_socket
from storage.embedded import DATABASE, EmbeddedEngine
from storage.errors import QueryFailed, StorageError, StoreUnwritable
from storage.refusals import code_of, one_line

MAX_CONNECTIONS = 32
MAX_BODY_BYTES = 2 << 30
IDLE_S = 60.0

_RESERVED = {
    "query",
    "database",
    "default_format",
    "user",
    "password",
    "quota_key",
    "query_id",
    "session_id",
    "session_timeout",
    "buffer_size",
    "wait_end_of_query",
    "compress",
    "decompress",
    "close_session",
    "stacktrace",
}
_INSERT = re.compile(r"\s*INSERT\s+INTO\b(?!.*\bSELECT\b)(?P<rest>.*?)\bFORMAT\s+(?P<format>\w+)\s*$", re.I | re.S)
_TARGET = re.compile(r"\s*(?:TABLE\s+)?(?P<target>[\w.`]+)\s*\((?P<columns>[^()]*)\)\s*$")
_NOT_FOUND = {60, 81, 46, 5, 10, 16, 47}
_BAD_REQUEST = {6, 26, 27, 38, 41, 42, 43, 53, 62, 69, 72, 115, 130, 386, 456, 457}


@dataclass(frozen=True, slots=True)
class _Request:
    """One statement as it came in: its arguments by kind, and what the body held beside the query."""

    sql: str
    data: bytes
    format: str
    database: str
    parameters: Mapping[str, str]
    settings: Mapping[str, str]
    external: Mapping[str, pa.Table]


class Holder:
    """Serves `engine` on the socket in its directory, from construction to `stop`.

    Raises:
        StoreUnwritable: the socket cannot be made.
    """

    def __init__(self, engine: EmbeddedEngine) -> None:
        self._engine = engine
        try:
            self._listener = unix_socket.listen(engine.path)
        except OSError as error:
            raise StoreUnwritable(f"{engine.location}: no socket can be made there: {error}") from None
        self._wake, self._awake = socket.socketpair()
        self._change = threading.Condition()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._accept, name="store-holder", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more requests, let running ones end, however long they take, and close every socket.

        Calling it twice is fine.
        """
        with self._change:
            if self._stopped:
                return
            self._stopped = True
            self._change.notify_all()
        self._wake.close()
        self._thread.join()
        (self._engine.path / unix_socket.NAME).unlink(missing_ok=True)
        self._listener.close()
        self._awake.close()
        with self._change:
            running = dict(self._open)
        for connection in running.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        for thread in running:
            thread.join()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._awake, selectors.EVENT_READ)
            while True:
                selector.select()
                with self._change:
                    self._change.wait_for(lambda: self._stopped or len(self._open) < MAX_CONNECTIONS)
                    if self._stopped:
                        return
                try:
                    connection, _ = self._listener.accept()
                except OSError:
                    continue
                thread = threading.Thread(
                    target=self._serve, args=(connection,), name="store-holder-connection", daemon=True
                )
                with self._change:
                    self._open[thread] = connection
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(IDLE_S)
                _Handler(connection, self._engine)
        finally:
            with self._change:
                self._open.pop(threading.current_thread(), None)
                self._change.notify_all()


class _Handler(BaseHTTPRequestHandler):
    """One connection's requests."""

    protocol_version = "HTTP/1.1"
    server_version = "eastwatch-store"
    sys_version = ""

    def __init__(self, connection: socket.socket, engine: EmbeddedEngine) -> None:
        self._engine = engine
        super().__init__(connection, ("", 0), cast("Any", None))

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the client reports its errors."""

    def do_GET(self) -> None:
        """`/ping`, and queries without a body."""
        if urlsplit(self.path).path == "/ping":
            self._reply(200, b"Ok.\n", "text/plain")
        else:
            self._answer(b"")

    def do_POST(self) -> None:
        """One statement."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self.close_connection = True
            self._reply(411, b"Content-Length expected\n", "text/plain")
        elif int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._reply(413, f"at most {MAX_BODY_BYTES} bytes expected\n".encode(), "text/plain")
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                self._answer(body)
            else:
                self.close_connection = True

    def _answer(self, body: bytes) -> None:
        try:
            request = _read(self.path, self.headers.get("Content-Type", ""), body)
            output = _run(self._engine, request)
        except (ValueError, pa.ArrowException) as error:
            self._refuse(36, f"Code: 36. DB::Exception: {one_line(str(error))} (BAD_ARGUMENTS)")
        except QueryFailed as error:
            self._refuse(error.code, f"Code: {error.code}. DB::Exception: {error}")
        except StorageError as error:
            self._refuse(210, f"Code: 210. DB::Exception: {error} (NETWORK_ERROR)")
        except RuntimeError as error:
            text = str(error)
            self._refuse(code_of(text) or 1002, text[max(text.find("Code: "), 0) :])
        else:
            self._reply(200, output, "application/octet-stream", {"X-ClickHouse-Format": request.format})

    def _refuse(self, code: int, text: str) -> None:
        status = 404 if code in _NOT_FOUND else 400 if code in _BAD_REQUEST else 500
        self._reply(status, text.encode() + b"\n", "text/plain", {"X-ClickHouse-Exception-Code": str(code)})

    def _reply(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _read(target: str, content_type: str, body: bytes) -> _Request:
    """The request of a URL and a body.

    Raises:
        ValueError: it is none.
    """
    arguments = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True, strict_parsing=False))
    files: Mapping[str, bytes] = {}
    if boundary := multipart.boundary_of(content_type):
        form = multipart.decode(boundary, body)
        arguments.update(form.fields)
        files, body = form.files, b""
    sql, data, output = arguments.get("query", ""), b"", arguments.get("default_format", "TabSeparated")
    if (match := _INSERT.match(sql)) and body:
        sql, data, output = f"INSERT INTO {match['rest'].strip()}", body, match["format"]
    elif body:
        sql = f"{sql}\n{body.decode()}" if sql else body.decode()
    if not sql.strip():
        raise ValueError("empty query: POST one statement, or GET /?query=...")
    described = {f"{name}_{part}" for name in files for part in ("structure", "format", "types")}
    return _Request(
        sql=sql,
        data=data,
        format=output,
        database=arguments.get("database", DATABASE),
        parameters={name[6:]: text for name, text in arguments.items() if name.startswith("param_")},
        settings={
            name: text
            for name, text in arguments.items()
            if not name.startswith("param_") and name not in _RESERVED and name not in described
        },
        external={name: _external(name, arguments, part) for name, part in files.items()},
    )


def _external(name: str, arguments: Mapping[str, str], data: bytes) -> pa.Table:
    if arguments.get(f"{name}_format") != "ArrowStream":
        raise ValueError(f"external table {name}: {name}_format=ArrowStream expected")
    return pa.ipc.open_stream(data).read_all()


def _run(engine: EmbeddedEngine, request: _Request) -> bytes:
    if request.database != DATABASE:
        raise ValueError(f"database {request.database}: this store has one, {DATABASE}")
    if request.data and request.format == "ArrowStream" and (match := _TARGET.match(request.sql[len("INSERT INTO") :])):
        rows = pa.ipc.open_stream(request.data).read_all()
        columns = [column.strip().strip("`") for column in match["columns"].split(",")]
        engine.insert_into(match["target"], rows.select(columns), request.settings)
        return b""
    return engine.run(
        request.sql,
        request.parameters,
        format=request.format,
        settings=request.settings,
        external=request.external,
        data=request.data or None,
    )
