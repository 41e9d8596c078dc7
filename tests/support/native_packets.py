"""The packets of ClickHouse's native TCP protocol as a server reads and writes them, by negotiated revision.

After ClickHouse's `src/Core/ProtocolDefines.h`, `Protocol.h` and `ClientInfo.cpp`. 54464 is the newest revision in
which no peer may send sparse columns, and it has all that clickhouse-driver 0.2.11 uses.
"""

from __future__ import annotations

import re
import struct
import time
from dataclasses import dataclass, field
from enum import IntEnum

from tests.support.native_wire import Block, Reader, WireError, binary, varint

SERVER_REVISION = 54464
OLDEST_REVISION = 54429  # settings as strings

SERVER_TIMEZONE = 54058
QUOTA_KEY_IN_CLIENT_INFO = 54060
DISPLAY_NAME = 54372
VERSION_PATCH = 54401
COLUMN_DEFAULTS = 54410
WRITE_INFO = 54420
INTERSERVER_SECRET = 54441
OPENTELEMETRY = 54442
X_FORWARDED_FOR = 54443
REFERER = 54447
DISTRIBUTED_DEPTH = 54448
QUERY_START_TIME = 54449
PARALLEL_REPLICAS = 54453
PROFILE_EVENTS_IN_INSERT = 54456
ADDENDUM = 54458
PARAMETERS = 54459
QUERY_TIME_IN_PROGRESS = 54460
PASSWORD_RULES = 54461
NONCE = 54462
TOTAL_BYTES_IN_PROGRESS = 54463
TIMEZONE_UPDATES = 54464


class FromClient(IntEnum):
    """Packets that a client sends."""

    HELLO = 0
    QUERY = 1
    DATA = 2
    CANCEL = 3
    PING = 4
    TABLES_STATUS = 5
    SCALAR = 7


class FromServer(IntEnum):
    """Packets that a server sends."""

    HELLO = 0
    DATA = 1
    EXCEPTION = 2
    PROGRESS = 3
    PONG = 4
    END_OF_STREAM = 5
    PROFILE_INFO = 6
    TABLES_STATUS = 9
    TABLE_COLUMNS = 11
    PROFILE_EVENTS = 14
    TIMEZONE_UPDATE = 17


@dataclass(frozen=True, slots=True)
class Hello:
    """Who connects."""

    client: str
    revision: int
    database: str
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Query:
    """One query packet. `parameters` are in ClickHouse's escaped form, as the server hands them to the parser.

    `important` names the settings that the server must know; it skips others that it does not.
    """

    query_id: str
    text: str
    stage: int
    compressed: bool
    settings: dict[str, str] = field(default_factory=dict)
    important: frozenset[str] = frozenset()
    parameters: dict[str, str] = field(default_factory=dict)


def read_hello(reader: Reader) -> Hello:
    """The first packet. Raises WireError for anything else, such as HTTP."""
    kind = reader.varint()
    if kind != FromClient.HELLO:
        raise WireError(f"packet {kind} before the hello: expected ClickHouse's native protocol", 101)
    client = reader.text()
    reader.varint()
    reader.varint()
    revision = reader.varint()
    hello = Hello(client, revision, reader.text(), reader.text(), reader.text())
    if hello.revision < OLDEST_REVISION:
        raise WireError(f"revision {hello.revision} is older than {OLDEST_REVISION}, the oldest spoken here", 101)
    return hello


def hello(version: tuple[int, int, int], timezone: str, revision: int) -> bytes:
    """The answer to a good hello."""
    out = varint(FromServer.HELLO) + binary("ClickHouse") + varint(version[0]) + varint(version[1])
    out += varint(SERVER_REVISION)
    if revision >= SERVER_TIMEZONE:
        out += binary(timezone)
    if revision >= DISPLAY_NAME:
        out += binary("native test server")
    if revision >= VERSION_PATCH:
        out += varint(version[2])
    if revision >= PASSWORD_RULES:
        out += varint(0)
    if revision >= NONCE:
        out += struct.pack("<Q", 0)
    return out


def read_query(reader: Reader, revision: int) -> Query:
    """The rest of a query packet."""
    query_id = reader.text()
    _skip_client_info(reader, revision)
    settings, important = _read_settings(reader)
    if revision >= INTERSERVER_SECRET:
        reader.binary()
    stage = reader.varint()
    compressed = bool(reader.varint())
    text = reader.binary().decode("utf-8", "surrogateescape")
    bound = _read_settings(reader)[0] if revision >= PARAMETERS else {}
    parameters = {name: unquote(value) for name, value in bound.items()}
    return Query(query_id, text, stage, compressed, settings, important, parameters)


def _skip_client_info(reader: Reader, revision: int) -> None:
    if not reader.unpack("B"):
        return
    for _ in range(3):  # initial user, query id, address
        reader.binary()
    if revision >= QUERY_START_TIME:
        reader.unpack("Q")
    interface = reader.unpack("B")
    if interface == 1:  # TCP: os user, host name, client name, version, revision
        for _ in range(3):
            reader.binary()
        for _ in range(3):
            reader.varint()
    elif interface == 2:  # HTTP: method, user agent, forwarded for, referer
        reader.unpack("B")
        reader.binary()
        if revision >= X_FORWARDED_FOR:
            reader.binary()
        if revision >= REFERER:
            reader.binary()
    if revision >= QUOTA_KEY_IN_CLIENT_INFO:
        reader.binary()
    if revision >= DISTRIBUTED_DEPTH:
        reader.varint()
    if revision >= VERSION_PATCH and interface == 1:
        reader.varint()
    if revision >= OPENTELEMETRY and reader.unpack("B"):
        reader.skip(24)
        reader.binary()
        reader.skip(1)
    if revision >= PARALLEL_REPLICAS:
        for _ in range(3):
            reader.varint()


def _read_settings(reader: Reader) -> tuple[dict[str, str], frozenset[str]]:
    settings: dict[str, str] = {}
    important: set[str] = set()
    while name := reader.text():
        if reader.varint() & 1:  # the other flag: a custom setting
            important.add(name)
        settings[name] = reader.text()
        if len(settings) > 10_000:
            raise WireError("more than 10000 settings")
    return settings, frozenset(important)


_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "N": "\\N"}


def unquote(literal: str) -> str:
    """The content of a SQL string literal; anything else comes back as it is."""
    if len(literal) < 2 or not (literal[0] == literal[-1] == "'"):
        return literal

    def character(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) == 3 else _ESCAPED.get(code, code)

    return _ESCAPE.sub(character, literal[1:-1].replace("''", "'"))


def exception(code: int, message: str) -> bytes:
    """An exception packet."""
    return (
        varint(FromServer.EXCEPTION)
        + struct.pack("<i", code)
        + binary("DB::Exception")
        + binary(f"DB::Exception: {message}")
        + binary("")
        + b"\x00"
    )


def progress(revision: int, *, rows: int = 0, size: int = 0, written: int = 0, written_size: int = 0) -> bytes:
    """A progress packet: what was read and written since the last one."""
    out = varint(FromServer.PROGRESS) + varint(rows) + varint(size) + varint(0)
    if revision >= TOTAL_BYTES_IN_PROGRESS:
        out += varint(0)
    if revision >= WRITE_INFO:
        out += varint(written) + varint(written_size)
    if revision >= QUERY_TIME_IN_PROGRESS:
        out += varint(0)
    return out


def profile_info(rows: int, blocks: int, size: int) -> bytes:
    """A profile packet: what the query returned."""
    return (
        varint(FromServer.PROFILE_INFO) + varint(rows) + varint(blocks) + varint(size) + b"\x00" + varint(0) + b"\x00"
    )


def table_columns(columns: list[tuple[str, str]]) -> bytes:
    """The description that precedes the sample block of an insert."""
    lines = "".join(f"`{name}` {type_name}\n" for name, type_name in columns)
    text = f"columns format version: 1\n{len(columns)} columns:\n{lines}"
    return varint(FromServer.TABLE_COLUMNS) + binary("") + binary(text)


def profile_events(revision: int, name: str, value: int) -> bytes:
    """One event counted, as the server sends it after each block of an insert; never compressed."""
    columns = (
        (b"host_name", b"String", binary("localhost")),
        (b"current_time", b"DateTime", struct.pack("<I", int(time.time()))),
        (b"thread_id", b"UInt64", struct.pack("<Q", 0)),
        (b"type", b"Enum8('increment' = 1, 'gauge' = 2)", b"\x01"),
        (b"name", b"String", binary(name)),
        (b"value", b"Int64", struct.pack("<q", value)),
    )
    return varint(FromServer.PROFILE_EVENTS) + binary("") + Block(1, columns).encode(revision)


def timezone_update(timezone: str) -> bytes:
    """The session's time zone, where it differs from the server's."""
    return varint(FromServer.TIMEZONE_UPDATE) + binary(timezone)


def read_tables_status(reader: Reader) -> list[tuple[str, str]]:
    """The tables that a distributed query asks about, as (database, table)."""
    count = reader.varint()
    if count > 1000:
        raise WireError(f"the status of {count} tables was asked, at most 1000 are answered")
    return [(reader.text(), reader.text()) for _ in range(count)]


def tables_status(tables: list[tuple[str, str]]) -> bytes:
    """The tables that exist, none of them replicated."""
    listed = b"".join(binary(database) + binary(table) + b"\x00" for database, table in tables)
    return varint(FromServer.TABLES_STATUS) + varint(len(tables)) + listed
