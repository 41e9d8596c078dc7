"""The third engine: an embedded store that another process holds, over the socket in its directory (`storage.holder`).

Parameters travel bound, rows and results as Arrow streams. Each statement has a connection of its own.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa

from storage import multipart, unix_socket
from storage.arrow_types import quoted, structure
from storage.batches import TableShapes, fitted
from storage.bind import bind
from storage.engine import Settings
from storage.errors import EngineUnavailable, StorageError
from storage.lock import StoreLock
from storage.refusals import one_line, refusal
from storage.results import normalise

CONNECT_S = 5.0
_MAX_URL_BYTES = 16_000


class _Connection(http.client.HTTPConnection):
    """HTTP over the socket of a store."""

    def __init__(self, directory: Path) -> None:
        super().__init__("localhost")
        self._directory = directory

    def connect(self) -> None:
        self.sock: socket.socket = unix_socket.connect(self._directory, CONNECT_S)


class AttachedEngine:
    """The store in the directory `path`, held by another process.

    Raises:
        EngineUnavailable: nobody answers on its socket.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self._closed = False
        self._shapes = TableShapes(self.query)
        self._send("GET", "/ping", b"", {})

    @property
    def location(self) -> str:
        """`chdb:PATH`."""
        return f"chdb:{self.path}"

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        settings: Settings | None = None,
        external: Mapping[str, pa.Table] | None = None,
    ) -> pa.Table:
        """See `Engine.query`."""
        bound = bind(sql, parameters)
        table = self._select(sql, bound, settings, external)
        return normalise(table, lambda: self._describe(sql, bound, settings, external))

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        """See `Engine.insert`."""
        if batch.num_rows == 0:
            return
        rows = fitted(table, batch, self._shapes.of(table))
        columns = ", ".join(quoted(name) for name in rows.schema.names)
        arguments = {
            "query": f"INSERT INTO {quoted(table)} ({columns}) FORMAT ArrowStream",
            "insert_deduplication_token": token or "",
        }
        self._post(arguments, _stream(rows))

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, settings: Settings | None = None
    ) -> None:
        """See `Engine.execute`."""
        self._shapes.forget()
        self._statement(sql, bind(sql, parameters), settings, None)

    def close(self) -> None:
        """Refuse further statements; the store stays with its holder."""
        self._closed = True

    def _select(
        self,
        sql: str,
        bound: Mapping[str, str],
        settings: Settings | None,
        external: Mapping[str, pa.Table] | None,
    ) -> pa.Table:
        return pa.ipc.open_stream(self._statement(sql, bound, settings, external, "ArrowStream")).read_all()

    def _describe(
        self,
        sql: str,
        bound: Mapping[str, str],
        settings: Settings | None,
        external: Mapping[str, pa.Table] | None,
    ) -> dict[str, str]:
        found = self._select(f"DESCRIBE TABLE ({sql}\n)", bound, settings, external)
        return dict(zip(found["name"].to_pylist(), found["type"].to_pylist(), strict=True))

    def _statement(
        self,
        sql: str,
        bound: Mapping[str, str],
        settings: Settings | None,
        external: Mapping[str, pa.Table] | None,
        output: str = "Null",
    ) -> bytes:
        arguments = {"default_format": output, **{name: str(value) for name, value in (settings or {}).items()}}
        arguments |= {f"param_{name}": text for name, text in bound.items()}
        if not external and sum(map(len, arguments.values())) < _MAX_URL_BYTES:
            return self._post(arguments, sql.encode())
        files = dict[str, bytes]()
        for name, table in (external or {}).items():
            files[name] = _stream(table)
            arguments[f"{name}_format"] = "ArrowStream"
            arguments[f"{name}_structure"] = ", ".join(
                f"{quoted(column)} {kind}" for column, kind in structure(table.schema)
            )
        kind, body = multipart.encode(multipart.Form({**arguments, "query": sql}, files))
        return self._send("POST", "/", body, {"Content-Type": kind})

    def _post(self, arguments: Mapping[str, str], body: bytes) -> bytes:
        return self._send("POST", "/?" + urlencode(arguments), body, {})

    def _send(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        if self._closed:
            raise EngineUnavailable(f"{self.location} has been closed by this process")
        connection = _Connection(self.path)
        try:
            connection.request(method, target, body, {**headers, "Connection": "close"})
            response = connection.getresponse()
            output = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._gone(error) from None
        finally:
            connection.close()
        if response.status == 200:
            return output
        raise self._refused(response, output.decode(errors="replace"))

    def _refused(self, response: http.client.HTTPResponse, text: str) -> StorageError:
        code = response.getheader("X-ClickHouse-Exception-Code") or ""
        if not code.isdigit():
            return EngineUnavailable(f"{self.location}: its holder answers {response.status}: {one_line(text)}")
        return refusal(text, self.location, int(code))

    def _gone(self, error: Exception) -> EngineUnavailable:
        holder = StoreLock(self.path).holder()
        return EngineUnavailable(
            f"{self.location}: {holder}, which held the store, does not answer ({one_line(str(error))}); "
            "open the store again to take it over"
        )


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
