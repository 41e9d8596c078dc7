"""A ClickHouse server, over its native TCP protocol (clickhouse-driver), with columns straight from and into Arrow.

A client serves one statement at a time, so there is a pool of them. A lost connection is opened again with back-off;
statements that may safely run twice (SELECT, and INSERT with a deduplication token) are then sent again.
"""

from __future__ import annotations

import logging
import queue
import random
import ssl
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import pyarrow as pa
from clickhouse_driver import errors as driver
from clickhouse_driver.client import Client

from storage.arrow_types import quoted, structure
from storage.bind import bind
from storage.engine import Settings
from storage.errors import BadLocation, EngineUnavailable, QueryFailed, StorageError
from storage.location import ServerLocation
from storage.native_blocks import ArrowBlock, ArrowConnection, Columns
from storage.refusals import one_line, refusal, without_code
from storage.results import join

MAX_CONNECTIONS = 16
RETRY_S = 20.0
FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 3.0
_UNKNOWN_DATABASE = 81
_SETTINGS: Settings = {
    "session_timezone": "UTC",
    "async_insert": 0,
    "distributed_foreground_insert": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
}

Result = TypeVar("Result")

# The driver warns about each failed attempt with its traceback; what failed in the end is raised.
logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)


class _Text:
    """A bound parameter as the driver must send it: a quoted literal around the escaped text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text.replace("\\", "\\\\").replace("'", "\\'")


class ServerEngine:
    """The database that `place` names; made when it is missing.

    `retry_s` bounds how long a statement waits for a server that went away; the first connection is tried once.
    `settings` go with every statement.

    Raises:
        EngineUnavailable: nobody answers at host and port, or the certificate is refused.
        AuthenticationFailed: user or password refused.
        BadLocation: the file of certificates cannot be read.
    """

    def __init__(self, place: ServerLocation, *, retry_s: float = RETRY_S, settings: Settings | None = None) -> None:
        self._place = place
        self._settings: Settings = {**_SETTINGS, **(settings or {})}
        self._retry_s = retry_s
        self._closed = False
        self._idle: queue.LifoQueue[Client] = queue.LifoQueue()
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._create_database()

    @property
    def location(self) -> str:
        """`clickhouse://host:port/database`."""
        return str(self._place)

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
        return self._retried(lambda: self._run(sql, bound, settings, external))

    def insert(self, table: str, batch: pa.RecordBatch, *, token: str | None = None) -> None:
        """See `Engine.insert`."""
        if batch.num_rows == 0:
            return
        columns = ", ".join(quoted(name) for name in batch.schema.names)
        sql = f"INSERT INTO {quoted(table)} ({columns}) VALUES"
        if token is None:
            self._insert(sql, batch, {})
        else:
            self._retried(lambda: self._insert(sql, batch, {"insert_deduplication_token": token}))

    def execute(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, settings: Settings | None = None
    ) -> None:
        """See `Engine.execute`."""
        bound = bind(sql, parameters)
        self._run(sql, bound, settings, None)

    def close(self) -> None:
        """Close all connections that are not at work; the others close when their statement ends."""
        self._closed = True
        self._drain()

    def _run(
        self,
        sql: str,
        bound: Mapping[str, str],
        settings: Settings | None,
        external: Mapping[str, pa.Table] | None,
    ) -> pa.Table:
        with self._client(settings) as client:
            connection = client.connection
            connection.send_query(sql, params={name: _Text(text) for name, text in bound.items()})
            for name, table in (external or {}).items():
                connection.send_data(_block(structure(table.schema), table), table_name=name)
            connection.send_external_tables(None)
            blocks = list[ArrowBlock]()
            for packet in client.packet_generator():
                block = getattr(packet, "block", None)
                if isinstance(block, ArrowBlock) and block.num_columns:
                    blocks.append(block)
            return _table(blocks)

    def _insert(self, sql: str, batch: pa.RecordBatch, settings: Settings) -> None:
        with self._client(settings) as client:
            connection = client.connection
            connection.send_query(sql)
            connection.send_external_tables(None)
            sample = cast("ArrowBlock", client.receive_sample_block())
            connection.send_data(_block(sample.columns_with_types, pa.Table.from_batches([batch])))
            client.receive_profile_events()
            connection.send_data(ArrowBlock([], [], 0))
            client.receive_profile_events()
            client.receive_end_of_insert_query()

    def _retried(self, call: Callable[[], Result]) -> Result:
        """The result of `call`, tried again with growing pauses while the server is away, for `retry_s` in all."""
        # Not stamina: its default hook prints each retry on stdout, which belongs to the command's one document.
        deadline, pause_s = time.monotonic() + self._retry_s, FIRST_PAUSE_S
        while True:
            try:
                return call()
            except EngineUnavailable:
                if self._closed or time.monotonic() + pause_s > deadline:
                    raise
            time.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(pause_s * 2, LAST_PAUSE_S)

    @contextmanager
    def _client(self, settings: Settings | None) -> Generator[Client]:
        """A connected client for one statement; errors come out as those of this room."""
        if self._closed:
            raise EngineUnavailable(f"{self.location} has been closed by this process")
        with self._slots:
            try:
                client = self._idle.get_nowait()
            except queue.Empty:
                client = _new_client(self._place, self._place.database)
            try:
                client.establish_connection({**self._settings, **(settings or {})})
                yield client
            except BaseException as error:
                client.disconnect()
                known = self._known(error)
                if known is None:
                    raise
                raise known from None
            self._idle.put(client)
            if self._closed:
                self._drain()

    def _drain(self) -> None:
        while True:
            try:
                self._idle.get_nowait().disconnect()
            except queue.Empty:
                return

    def _known(self, error: BaseException) -> StorageError | None:
        if isinstance(error, driver.ServerException):
            return refusal(str(error.message), self.location, int(error.code or 0))
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return EngineUnavailable(
                f"{self.location}: its certificate cannot be verified: {one_line(str(error))}; "
                "name the authority with ca=FILE, or accept any with verify=0"
            )
        if isinstance(error, (OSError, EOFError, driver.NetworkError, driver.SocketTimeoutError)):
            reason = without_code(str(error)) or "the connection was closed"
            return EngineUnavailable(
                f"{self.location}: {self._place.host}:{self._place.port} does not answer: {reason}"
            )
        if isinstance(error, driver.Error):
            return QueryFailed(f"{self.location}: {one_line(str(error))}")
        return None

    def _create_database(self) -> None:
        if self._place.ca:
            try:
                ssl.create_default_context(cafile=self._place.ca)
            except (OSError, ssl.SSLError) as error:
                raise BadLocation(f"{self.location}: ca={self._place.ca}: {one_line(str(error))}") from None
        try:
            self._run("SELECT 1", {}, None, None)
            return
        except QueryFailed as error:
            if error.code != _UNKNOWN_DATABASE:
                raise
        self._idle.put(_new_client(self._place, ""))
        self._run(f"CREATE DATABASE IF NOT EXISTS {quoted(self._place.database)}", {}, None, None)
        self._drain()
        self._run("SELECT 1", {}, None, None)


def _new_client(place: ServerLocation, database: str) -> Client:
    """A client that is not connected yet."""
    options: dict[str, Any] = {
        "host": place.host,
        "port": place.port,
        "user": place.user,
        "password": place.password,
        "database": database,
        "secure": place.secure,
        "verify": place.verify,
        "ca_certs": place.ca,
        "connect_timeout": place.connect_timeout_s,
        "send_receive_timeout": place.timeout_s,
        "compression": place.compression,
        "client_name": "eastwatch",
        "settings_is_important": True,
        "tcp_keepalive": True,
    }
    client = Client(**options, settings={"server_side_params": True, "strings_as_bytes": True})
    connection = ArrowConnection(**options)
    connection.context.settings = client.settings
    connection.context.client_settings = client.client_settings
    client.connection = connection
    return client


def _block(columns: Columns, table: pa.Table) -> ArrowBlock:
    """The columns of `table` by name, in the order and types the server wants."""
    whole = table.combine_chunks()
    arrays = list[pa.Array]()
    for name, _ in columns:
        chunks = whole[name].chunks
        arrays.append(chunks[0] if chunks else pa.array([], whole[name].type))
    return ArrowBlock(columns, arrays, whole.num_rows)


def _table(blocks: list[ArrowBlock]) -> pa.Table:
    """All blocks of one result; the first has no rows and says names and types."""
    if not blocks:
        return pa.table({})
    names = [name for name, _ in blocks[0].columns_with_types]
    filled = [block for block in blocks if block.num_rows] or blocks[:1]
    columns = [join([block.arrays[index] for block in filled]) for index in range(len(names))]
    fields = [pa.field(name, column.type) for name, column in zip(names, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))
