"""A ClickHouse server for tests: the native TCP protocol in front of chDB, in a process of its own.

`storage.server` is driven against it over real TCP, and so is ClickHouse's own client (chDB's `remote()`). chDB is
ClickHouse, so parsing, settings, parameters, deduplication and types are the real ones; here is only the protocol:
hello with user and password, ping, queries with settings and parameters, external tables, results as blocks, inserts,
exceptions, progress, cancel, LZ4, TLS. One chDB connection for each TCP connection keeps their settings apart.

    with start_native_server() as server:
        open_store(server.url("eastwatch"))

As a program, `python -m tests.support.native_server --path DIR` prints its port and ends when its stdin closes.
"""

from __future__ import annotations

import argparse
import contextlib
import hmac
import itertools
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from tests.support import native_packets as packets
from tests.support.native_packets import FromClient, FromServer, Query
from tests.support.native_wire import (
    Block,
    Reader,
    WireError,
    binary,
    frames,
    read_block,
    read_blocks,
    read_frame,
    varint,
)

MAX_CONNECTIONS = 64
IDLE_S = 600.0
KILL_AGAIN_MS = 500
"""A query that is to end is killed again after so long: a kill can come before the engine listens."""
COMPLETE_STAGE = 2

Result = TypeVar("Result")


class ServerError(Exception):
    """What the client is told: ClickHouse's error code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Cancelled(Exception):
    """The client cancelled its query."""


_CODE = re.compile(r"Code: (\d+)\. DB::Exception: (.*)", re.DOTALL)
_COMMENT = re.compile(r"(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\()*", re.DOTALL)
_INSERT = re.compile(r"insert\s", re.IGNORECASE)
_INSERT_TAIL = re.compile(r"\s*\b(?:values|format\s+\w+)\s*;?\s*$", re.IGNORECASE)
_FORMAT_TAIL = re.compile(r"\s+format\s+\w+\s*;?\s*$", re.IGNORECASE)
_STREAMS = re.compile(r"(?:select|with)\b", re.IGNORECASE)  # chDB streams nothing else
_LISTS = re.compile(r"(?:show|describe|desc|exists|explain)\b", re.IGNORECASE)

_PLAIN_TYPES = "SETTINGS print_pretty_type_names = 0"


def server_error(error: Exception) -> ServerError:
    """chDB's text error as code and message."""
    match = _CODE.search(str(error))
    return ServerError(int(match[1]), match[2].strip()) if match else ServerError(1002, str(error))


def literal(text: str) -> str:
    """`text` as a SQL string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(text: str) -> str:
    """`text` as a SQL identifier."""
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"


class Database:
    """The one chDB store of this process and what belongs to all connections."""

    def __init__(self, path: str) -> None:
        from chdb.state.sqlitelike import Connection

        self._open = lambda: Connection(path)
        self._admin = self.connect()
        self._admin_lock = threading.Lock()
        version = str(self.rows("SELECT version()")[0][0]).split(".")
        self.version = (int(version[0]), int(version[1]), int(version[2]))
        self.timezone = self.rows("SELECT timezone()")[0][0]
        self.settings = {
            row[0]: row[1] for row in self.rows("SELECT name, value FROM system.settings") if len(row) == 2
        }

    def connect(self) -> Any:
        """A chDB connection with settings of its own, those of a server."""
        connection = self._open()
        connection.query("SET implicit_select = 0")
        return connection

    def rows(self, sql: str) -> list[list[str]]:
        """A small result as text."""
        with self._admin_lock:
            raw: bytes = self._admin.query(sql, "TSVRaw").bytes()
        return [line.split("\t") for line in raw.decode().splitlines()]

    def kill(self, comment: str) -> None:
        """Stop the query whose `log_comment` is `comment`; whoever needs it stopped asks until it is."""
        # A connection of its own: a statement that failed can spoil the next one on its connection.
        with contextlib.suppress(Exception), contextlib.closing(self.connect()) as connection:
            connection.query(f"KILL QUERY WHERE Settings['log_comment'] = {literal(comment)} ASYNC")


@dataclass(frozen=True, slots=True)
class Account:
    """The one user of the server."""

    user: str
    password: str

    def admits(self, user: str, password: str) -> bool:
        same = hmac.compare_digest(user.encode(), self.user.encode())
        return hmac.compare_digest(password.encode(), self.password.encode()) and same


class Conversation:
    """One TCP connection, from hello to the end."""

    _numbers = itertools.count(1)

    def __init__(self, sock: socket.socket, database: Database, account: Account) -> None:
        self._sock = sock
        self._database = database
        self._account = account
        self._reader = Reader(lambda: sock.recv(1 << 18))
        self._revision = 0
        self._compressed = False
        self._inserting = False
        self._name = f"native-{next(self._numbers)}"

    def run(self) -> None:
        """Serve until the client goes. Raises OSError and EOFError when it goes in the middle of something."""
        try:
            if not self._greet():
                return
        except WireError as error:
            self._sock.sendall(packets.exception(error.code, str(error)))
            return
        self._chdb = self._database.connect()
        try:
            if self._use_database():
                while self._next():
                    pass
        except WireError as error:
            # The stream cannot be read on from here: tell why and hang up, as the real server does.
            self._sock.sendall(packets.exception(error.code, str(error)))
        finally:
            self._chdb.close()

    # --- handshake

    def _greet(self) -> bool:
        hello = packets.read_hello(self._reader)
        self._revision = min(hello.revision, packets.SERVER_REVISION)
        if not self._account.admits(hello.user, hello.password):
            reason = "Authentication failed: password is incorrect, or there is no user with such name. "
            self._sock.sendall(packets.exception(516, f"{hello.user}: {reason}(AUTHENTICATION_FAILED)"))
            return False
        self._default_database = hello.database
        self._sock.sendall(packets.hello(self._database.version, self._database.timezone, self._revision))
        if self._revision >= packets.ADDENDUM:
            self._reader.binary()  # quota key
        return True

    def _use_database(self) -> bool:
        if self._default_database:
            try:
                self._chdb.query(f"USE {identifier(self._default_database)}")
            except Exception as error:  # noqa: BLE001 chDB raises what it likes
                failure = server_error(error)
                self._sock.sendall(packets.exception(failure.code, str(failure)))
                return False
        return True

    # --- packets between queries

    def _next(self) -> bool:
        self._reader.drop()
        try:
            kind = self._reader.varint()
        except (EOFError, OSError):
            return False
        if kind == FromClient.PING:
            self._sock.sendall(varint(FromServer.PONG))
        elif kind == FromClient.QUERY:
            self._inserting = False
            self._query(packets.read_query(self._reader, self._revision))
        elif kind == FromClient.TABLES_STATUS:
            asked = packets.read_tables_status(self._reader)
            present = [t for t in asked if self._exists(*t)]
            self._sock.sendall(packets.tables_status(present))
        elif kind == FromClient.CANCEL:
            pass  # it crossed the end of its query
        elif kind == FromClient.DATA and self._inserting:
            # The insert has failed and the client does not know yet.
            self._reader.binary()
            self._inserting = bool(read_block(self._blocks, self._revision).columns)
        else:
            raise WireError(f"packet {kind} is not expected here")
        return True

    def _exists(self, database: str, table: str) -> bool:
        return self._database.rows(f"EXISTS TABLE {identifier(database)}.{identifier(table)}") == [["1"]]

    # --- queries

    def _query(self, query: Query) -> None:
        self._compressed = query.compressed
        self._blocks = Reader(lambda: read_frame(self._reader)) if query.compressed else self._reader
        comment = query.settings.get("log_comment") or self._name
        undo: list[str] = []
        failure: ServerError | None = None
        try:
            try:
                if query.stage != COMPLETE_STAGE:
                    raise ServerError(
                        48, f"query stage {query.stage} is not spoken here, only {COMPLETE_STAGE} (complete)"
                    )
                undo += self._apply(query)
            except ServerError as error:
                failure = error
            # Read them in any case: the next packet stands behind them.
            undo += self._receive_external_tables(store=failure is None)
            if failure:
                raise failure
            self._execute(query, comment)
        except Cancelled:
            self._sock.sendall(varint(FromServer.END_OF_STREAM))
        except ServerError as error:
            self._sock.sendall(packets.exception(error.code, str(error)))
        finally:
            for statement in undo:
                with contextlib.suppress(Exception):
                    self._chdb.query(statement)

    def _apply(self, query: Query) -> list[str]:
        """Set the query's settings on the chDB connection; what undoes it."""
        wanted = {"log_comment": self._name}
        for name, value in query.settings.items():
            if name not in self._database.settings:
                if name in query.important:
                    raise ServerError(115, f"Unknown setting '{name}'. (UNKNOWN_SETTING)")
            elif value != self._database.settings[name]:
                wanted[name] = value
        self._ask(lambda: self._chdb.query("SET " + ", ".join(f"{k} = {literal(v)}" for k, v in wanted.items())))
        return ["SET " + ", ".join(f"{name} = DEFAULT" for name in wanted)]

    def _ask(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 chDB raises RuntimeError, ChdbError and others alike
            raise server_error(error) from None

    def _receive_external_tables(self, *, store: bool) -> list[str]:
        """Read data packets up to the empty one; each named block becomes (part of) a temporary table."""
        undo: list[str] = []
        failure: ServerError | None = None
        while True:
            name, block = self._read_data()
            if not block.columns:
                break
            if failure or not store:
                continue
            try:
                statement = f"DROP TEMPORARY TABLE IF EXISTS {identifier(name)}"
                if statement not in undo:
                    columns = ", ".join(f"{identifier(c[0].decode())} {c[1].decode()}" for c in block.columns)
                    self._ask(
                        lambda n=name, c=columns: self._chdb.query(f"CREATE TEMPORARY TABLE {identifier(n)} ({c})")
                    )
                    undo.append(statement)
                if block.rows:
                    self._ask(lambda n=name, b=block: self._store(f"INSERT INTO {identifier(n)}", [b]))
            except ServerError as error:
                failure = error
        if failure:
            for statement in undo:
                self._chdb.query(statement)
            raise failure
        return undo

    def _read_data(self) -> tuple[str, Block]:
        self._reader.drop()
        kind = self._reader.varint()
        if kind == FromClient.CANCEL:
            raise Cancelled
        if kind not in (FromClient.DATA, FromClient.SCALAR):
            raise WireError(f"packet {kind} where data was expected")
        name = self._reader.text()
        block = read_block(self._blocks, self._revision)
        if kind == FromClient.SCALAR:  # results of scalar subqueries: the text we get has them as literals too
            return self._read_data()
        return name, block

    def _execute(self, query: Query, comment: str) -> None:
        text = query.text.strip()
        start = _COMMENT.match(text)
        body = text[start.end() if start else 0 :]
        if _INSERT.match(body) and self._wants_data(body):
            self._insert(_INSERT_TAIL.sub("", body))
            return
        text = _FORMAT_TAIL.sub("", text)
        if zone := query.settings.get("session_timezone"):
            self._send_if(packets.TIMEZONE_UPDATES, packets.timezone_update(zone))
        if _STREAMS.match(body):
            self._select(text, query.parameters, comment)
        else:
            self._statement(text, query.parameters, comment, lists=bool(_LISTS.match(body)))

    def _wants_data(self, body: str) -> bool:
        """Whether an INSERT's rows come as blocks: it ends in VALUES or FORMAT, and is no INSERT ... SELECT."""
        if not _INSERT_TAIL.search(body):
            return not re.search(r"\b(?:select|with|values\s*\()", body, re.IGNORECASE)
        formatted = self._database.rows(f"SELECT formatQuerySingleLineOrNull({literal(body)})")[0][0]
        return bool(re.search(r"\bFORMAT \w+$|\bVALUES$", formatted, re.IGNORECASE)) and " SELECT " not in formatted

    def _select(self, text: str, parameters: dict[str, str], comment: str) -> None:
        header = self._header(text, parameters, comment)
        types = [type_name for _, type_name, _ in header.columns]
        stream = self._watched(lambda: self._chdb.send_query(text, "Native", params=parameters or None), comment)
        rows = blocks = size = 0
        self._send_block(header)
        try:
            while (chunk := self._watched(stream.fetch, comment)) is not None:
                raw: bytes = chunk.bytes()
                for block in read_blocks(raw):
                    self._send_block(block.typed(types))
                    blocks += 1
                    rows += block.rows
                size += len(raw)
                self._sock.sendall(packets.progress(self._revision, rows=int(chunk.rows_read()), size=len(raw)))
        finally:
            with contextlib.suppress(Exception):
                stream.cancel()
        self._finish(rows, blocks, size)

    def _header(self, text: str, parameters: dict[str, str], comment: str) -> Block:
        """The columns of a SELECT. `FORMAT Native` writes none without rows, and DateTime without its time zone."""
        describe = f"DESCRIBE ({text.rstrip().rstrip(';')}\n) {_PLAIN_TYPES}"
        told = self._watched(lambda: self._chdb.query(describe, "TSV", params=parameters or None), comment)
        fields = [line.split("\t") for line in told.bytes().decode().splitlines()]
        return Block(0, tuple((_plain(name).encode(), _plain(kind).encode(), b"") for name, kind, *_ in fields))

    def _send_empty(self, text: str, parameters: dict[str, str], comment: str) -> None:
        """The columns of a listing without rows."""
        empty = self._watched(
            lambda: self._chdb.query(text, "TSVWithNamesAndTypes", params=parameters or None), comment
        )
        self._send_block(_header(empty.bytes()))

    def _statement(self, text: str, parameters: dict[str, str], comment: str, *, lists: bool) -> None:
        result = self._watched(lambda: self._chdb.query(text, "Native", params=parameters or None), comment)
        rows = blocks = 0
        raw: bytes = result.bytes()
        for block in read_blocks(raw):
            if not blocks:
                self._send_block(block.header())
            self._send_block(block)
            rows, blocks = rows + block.rows, blocks + 1
        if lists and not blocks:
            self._send_empty(text, parameters, comment)
        written = packets.progress(self._revision, written=result.rows_written(), written_size=result.bytes_written())
        self._sock.sendall(written)
        self._finish(rows, blocks, len(raw))

    def _finish(self, rows: int, blocks: int, size: int) -> None:
        self._sock.sendall(packets.profile_info(rows, blocks, size))
        self._send_block(Block())
        self._sock.sendall(varint(FromServer.END_OF_STREAM))

    # --- inserts

    def _insert(self, head: str) -> None:
        columns = self._insert_columns(head)
        self._send_if(packets.COLUMN_DEFAULTS, packets.table_columns(columns))
        self._send_block(Block(0, tuple((name.encode(), type_name.encode(), b"") for name, type_name in columns)))

        def blocks() -> Iterator[Block]:
            while True:
                _, block = self._read_data()
                if not block.columns:
                    self._inserting = False
                    return
                if block.rows:
                    yield block
                self._send_if(packets.PROFILE_EVENTS_IN_INSERT, self._events(block.rows))

        self._inserting = True
        written, size = self._ask_store(head, blocks())
        self._send_if(packets.PROFILE_EVENTS_IN_INSERT, self._events(written))
        self._sock.sendall(packets.progress(self._revision, written=written, written_size=size))
        self._sock.sendall(varint(FromServer.END_OF_STREAM))

    def _events(self, rows: int) -> bytes:
        return packets.profile_events(self._revision, "InsertedRows", rows)

    def _ask_store(self, head: str, blocks: Iterator[Block]) -> tuple[int, int]:
        try:
            return self._store(head, blocks)
        except (WireError, EOFError, OSError, Cancelled):
            raise
        except Exception as error:  # noqa: BLE001 chDB raises what it likes
            raise server_error(error) from None

    def _store(self, head: str, blocks: Iterable[Block]) -> tuple[int, int]:
        """Feed `blocks` to one INSERT, by way of a file.

        chDB's own streaming insert (`send_insert`) loses errors: a violated constraint or a failing view is a success
        to it. INSERT ... SELECT tells them.
        """
        with tempfile.NamedTemporaryFile(suffix=".native") as spool:
            names: list[str] = []
            types: list[str] = []
            for block in blocks:
                spool.write(block.encode(0))
                names = [identifier(name.decode()) for name, _, _ in block.columns]
                types = [type_name.decode() for _, type_name, _ in block.columns]
            if not names:
                return 0, 0
            spool.flush()
            structure = literal(", ".join(map(" ".join, zip(names, types, strict=True))))
            source = f"SELECT {', '.join(names)} FROM file({literal(spool.name)}, 'Native', {structure})"
            done = self._chdb.query(f"{head} {source}")
        return int(done.rows_written()), int(done.bytes_written())

    def _insert_columns(self, head: str) -> list[tuple[str, str]]:
        """Name and type of the columns that an insert takes, in its order."""
        target, listed = _target(head)
        described = (
            self._ask(lambda: self._chdb.query(f"DESCRIBE TABLE {target} {_PLAIN_TYPES}", "TSV")).bytes().decode()
        )
        known: dict[str, str] = {}
        for line in described.splitlines():
            name, type_name, default, *_ = line.split("\t")
            if default not in ("MATERIALIZED", "ALIAS") or listed:
                known[_plain(name)] = _plain(type_name)
        if not listed:
            return list(known.items())
        for name in listed:
            if name not in known:
                raise ServerError(16, f"No such column {name} in table {target}. (NO_SUCH_COLUMN_IN_TABLE)")
        return [(name, known[name]) for name in listed]

    # --- sending, and listening for a cancel meanwhile

    def _send_block(self, block: Block) -> None:
        body = block.encode(self._revision)
        self._sock.sendall(varint(FromServer.DATA) + binary(""))
        for piece in frames(body) if self._compressed else (body,):
            self._sock.sendall(piece)

    def _send_if(self, revision: int, packet: bytes) -> None:
        if self._revision >= revision:
            self._sock.sendall(packet)

    def _watched(self, call: Callable[[], Result], comment: str) -> Result:
        """Run `call` while listening: a cancel, or the client's going, kills the query."""
        outcome: list[Result] = []
        failures: list[Exception] = []
        ours, theirs = socket.socketpair()

        def work() -> None:
            try:
                outcome.append(call())
            except Exception as error:  # noqa: BLE001 handed to the connection's thread
                failures.append(error)
            finally:
                theirs.close()

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        cancelled = gone = False
        with ours:
            while True:
                # Not select(): with the engine's files open, descriptors are beyond what it takes.
                listening = select.poll()
                for one in [ours] if cancelled or gone else [ours, self._sock]:
                    listening.register(one, select.POLLIN)
                ready = dict(listening.poll(KILL_AGAIN_MS if cancelled or gone else None))
                if ours.fileno() in ready:
                    break
                if cancelled or gone:
                    self._database.kill(comment)
                    continue
                self._reader.drop()
                try:
                    if self._reader.varint() != FromClient.CANCEL:
                        raise WireError("only a cancel may be sent while a query runs")
                    cancelled = True
                except (EOFError, OSError, WireError):
                    gone = True
                self._database.kill(comment)
        worker.join()
        if gone:
            raise EOFError
        if cancelled:
            raise Cancelled
        if failures:
            raise server_error(failures[0])
        return outcome[0]


def _plain(text: str) -> str:
    """A TSV field without its escapes."""
    return re.sub(r"\\(.)", lambda m: {"t": "\t", "n": "\n", "r": "\r"}.get(m[1], m[1]), text)


def _header(text: bytes) -> Block:
    """The columns of an empty result from `TSVWithNamesAndTypes`."""
    names, types = (line.split("\t") for line in text.decode().split("\n")[:2])
    return Block(0, tuple((_plain(n).encode(), _plain(t).encode(), b"") for n, t in zip(names, types, strict=True)))


_TARGET = re.compile(r"insert\s+into\s+(?:table\s+)?(?!function\b)", re.IGNORECASE)
_PART = re.compile(r"`((?:[^`\\]|\\.|``)*)`|\"((?:[^\"\\]|\\.)*)\"|([A-Za-z_]\w*)")


def _target(head: str) -> tuple[str, list[str]]:
    """The table of an INSERT and its column list (empty = all)."""
    into = _TARGET.match(head)
    if not into:
        raise ServerError(48, "an INSERT into a table function is not spoken here")
    position, parts = into.end(), list[str]()
    while part := _PART.match(head, position):
        parts.append(part[0])
        position = part.end()
        if head[position : position + 1] != ".":
            break
        position += 1
    rest = head[position:].lstrip()
    if not parts:
        raise ServerError(62, f"Syntax error: expected a table name in {head[:100]!r}. (SYNTAX_ERROR)")
    if not rest.startswith("("):
        return ".".join(parts), []
    listed: list[str] = []
    position = 1
    while part := _PART.match(rest, position + len(rest[position:]) - len(rest[position:].lstrip(" \n\t,"))):
        quoted = part[1] if part[1] is not None else part[2]
        listed.append(part[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted.replace("``", "`")))
        position = part.end()
    return ".".join(parts), listed


# --- the process


def serve(path: str, account: Account, host: str, port: int, tls: ssl.SSLContext | None) -> None:
    """Listen, print the port, and serve until stdin closes."""
    database = Database(path)
    slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
    with socket.create_server((host, port)) as listener:
        print(listener.getsockname()[1], flush=True)

        def converse(sock: socket.socket) -> None:
            try:
                with sock:
                    sock.settimeout(IDLE_S)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    served = tls.wrap_socket(sock, server_side=True) if tls else sock
                    with served:
                        Conversation(served, database, account).run()
            except (OSError, EOFError):
                pass  # the client went
            finally:
                slots.release()

        def accept() -> None:
            while True:
                slots.acquire()
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=converse, args=(sock,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        sys.stdin.read()
    os._exit(0)  # connections may be in the middle of a query: the store is a test's and goes with us


def main() -> None:
    parser = argparse.ArgumentParser(description="ClickHouse's native protocol over chDB, for tests")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--path", required=True)
    parser.add_argument("--user", default="eastwatch")
    parser.add_argument("--certificate", help="PEM file; with --key, TLS is spoken")
    parser.add_argument("--key")
    arguments = parser.parse_args()
    tls = None
    if arguments.certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(arguments.certificate, arguments.key)
    account = Account(arguments.user, os.environ.get("NATIVE_SERVER_PASSWORD", ""))
    serve(arguments.path, account, arguments.host, arguments.port, tls)


@dataclass(frozen=True, slots=True)
class NativeServer:
    """A running server."""

    host: str
    port: int
    user: str
    password: str
    secure: bool
    pid: int

    def url(self, database: str = "") -> str:
        """As `--store` takes it."""
        scheme = "clickhouses" if self.secure else "clickhouse"
        return (
            f"{scheme}://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{self.host}:{self.port}/{database}"
        )


@contextlib.contextmanager
def start_native_server(
    user: str = "eastwatch", password: str = "secret", tls: tuple[str, str] | None = None, path: str | None = None
) -> Generator[NativeServer, None, None]:
    """A server on loopback, ended with the block. `tls` = PEM files of certificate and key; `path` keeps the store."""
    directory = path or tempfile.mkdtemp(prefix="native-server-")
    command = [sys.executable, "-m", "tests.support.native_server", "--path", directory, "--user", user]
    if tls:
        command += ["--certificate", tls[0], "--key", tls[1]]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "NATIVE_SERVER_PASSWORD": password},
    )
    assert process.stdin and process.stdout
    try:
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise RuntimeError(f"the native test server did not start: exit code {process.wait(10)}")
        yield NativeServer("127.0.0.1", int(line), user, password, tls is not None, process.pid)
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        if path is None:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
