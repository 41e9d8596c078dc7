"""The native-protocol test server itself: what clickhouse-driver and ClickHouse's own client see of it.

`storage.server` is only as well tested as this server is true, so it is held against two clients that were written
against real servers, and its block walker against random data of every type.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from clickhouse_driver import Client, errors
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import native_packets, native_wire
from tests.support.native_server import NativeServer, start_native_server
from tests.support.native_wire import Block, WireError, from_bytes, layout, read_block, read_blocks

ROOT = Path(__file__).parents[2]
REVISIONS = (0, 54429, native_packets.SERVER_REVISION)

EVERY_TYPE = {
    "string": "String",
    "fixed": "FixedString(5)",
    "low": "LowCardinality(String)",
    "low_null": "LowCardinality(Nullable(String))",
    "time": "DateTime('UTC')",
    "time_us": "DateTime64(6, 'UTC')",
    "time_s": "DateTime64(0, 'UTC')",
    "day": "Date",
    "day32": "Date32",
    "ip4": "IPv4",
    "ip6": "IPv6",
    "id": "UUID",
    "u8": "UInt8",
    "u16": "UInt16",
    "u32": "UInt32",
    "u64": "UInt64",
    "i8": "Int8",
    "i16": "Int16",
    "i32": "Int32",
    "i64": "Int64",
    "f64": "Float64",
    "flag": "Bool",
    "e8": "Enum8('a' = -1, 'b' = 2)",
    "e16": "Enum16('x' = 300)",
    "amount": "Decimal(18, 3)",
    "texts": "Array(String)",
    "lows": "Array(LowCardinality(String))",
    "grid": "Array(Array(UInt16))",
    "numbers": "Map(Int16, UInt64)",
    "labels": "Map(LowCardinality(String), String)",
    "lists": "Map(String, Array(UInt8))",
    "maybe": "Nullable(Int32)",
    "maybes": "Array(Nullable(String))",
    "pair": "Tuple(String, UInt8)",
    "named": "Tuple(a UInt8, `b c` LowCardinality(String))",
    "total": "SimpleAggregateFunction(sum, UInt64)",
    "histogram": "SimpleAggregateFunction(sumMap, Map(Int16, UInt64))",
}


@pytest.fixture(scope="module")
def server() -> Iterator[NativeServer]:
    with start_native_server(password="p:a/s@s%") as running:
        yield running


Connect = Callable[..., Client]


@pytest.fixture(params=[False, "lz4"], ids=["plain", "lz4"])
def connect(server: NativeServer, request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Make clients of the server; they are closed after the test."""
    opened: list[Client] = []

    def make(**options: Any) -> Client:
        merged = {"user": server.user, "password": server.password, "compression": request.param, **options}
        client = Client("127.0.0.1", port=server.port, **merged)
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.disconnect()


def fresh(client: Client, name: str, columns: str, tail: str = "ENGINE = MergeTree ORDER BY tuple()") -> str:
    client.execute(f"DROP TABLE IF EXISTS {name} SYNC")
    client.execute(f"CREATE TABLE {name} ({columns}) {tail}")
    return name


def rows_of_every_type() -> list[dict[str, Any]]:
    moment = dt.datetime(2024, 2, 29, 23, 59, 58, tzinfo=dt.UTC)
    full = {
        "string": "x" * 200 + "\0\n'\\ü",
        "fixed": "abc",
        "low": "low",
        "low_null": None,
        "time": moment,
        "time_us": moment.replace(microsecond=123456),
        "time_s": moment,
        "day": moment.date(),
        "day32": dt.date(1925, 1, 2),
        "ip4": ipaddress.IPv4Address("10.1.2.3"),
        "ip6": ipaddress.IPv6Address("2001:db8::1"),
        "id": uuid.UUID(int=2**127 + 5),
        "u8": 255,
        "u16": 65535,
        "u32": 2**32 - 1,
        "u64": 2**64 - 1,
        "i8": -128,
        "i16": -32768,
        "i32": -(2**31),
        "i64": -(2**63),
        "f64": -0.1,
        "flag": True,
        "e8": "b",
        "e16": "x",
        "amount": Decimal("-12.345"),
        "texts": ["", "y" * 20000],
        "lows": ["p", "q", "p"],
        "grid": [[1, 2], [], [3]],
        "numbers": {-5: 7, 300: 2**63},
        "labels": {"a": "1", "b": ""},
        "lists": {"k": [1, 2], "": []},
        "maybe": -7,
        "maybes": ["m", None],
        "pair": ("t", 9),
        "named": (1, "u"),
        "total": 12,
        "histogram": {1: 2},
    }
    void = {
        **dict.fromkeys(("string", "fixed", "low", "low_null"), ""),
        **{name: dt.datetime(1970, 1, 1, tzinfo=dt.UTC) for name in ("time", "time_us", "time_s")},
        **{name: dt.date(1970, 1, 1) for name in ("day", "day32")},
        "ip4": ipaddress.IPv4Address(0),
        "ip6": ipaddress.IPv6Address(0),
        "id": uuid.UUID(int=0),
        **dict.fromkeys(("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f64", "total"), 0),
        "flag": False,
        "e8": "a",
        "e16": "x",
        "amount": Decimal(0),
        **{name: [] for name in ("texts", "lows", "grid", "maybes")},
        **{name: {} for name in ("numbers", "labels", "lists", "histogram")},
        "maybe": None,
        "pair": ("", 0),
        "named": (0, ""),
    }
    return [full, void, full]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_type_comes_back_as_it_was_inserted(connect: Connect, count: int) -> None:
    client = connect()
    fresh(client, "every", ", ".join(f"{name} {type_name}" for name, type_name in EVERY_TYPE.items()))
    rows = [tuple(row[name] for name in EVERY_TYPE) for row in rows_of_every_type()[:count]]
    client.execute("INSERT INTO every VALUES", rows)
    found, columns = client.execute("SELECT * FROM every", with_column_types=True)

    assert dict(columns) == EVERY_TYPE
    assert found == rows


def test_a_token_makes_a_second_insert_vanish_and_its_view_too(connect: Connect) -> None:
    client = connect()
    window = "SETTINGS non_replicated_deduplication_window = 100"
    fresh(client, "hits", "a UInt8", f"ENGINE = MergeTree ORDER BY a {window}")
    fresh(client, "sums", "n UInt64", f"ENGINE = SummingMergeTree ORDER BY tuple() {window}")
    client.execute("DROP VIEW IF EXISTS hits_to_sums SYNC")
    client.execute("CREATE MATERIALIZED VIEW hits_to_sums TO sums AS SELECT count() AS n FROM hits")
    for token in ("one", "one", "two"):
        settings = {"insert_deduplication_token": token, "deduplicate_blocks_in_dependent_materialized_views": 1}
        assert client.execute("INSERT INTO hits (a) VALUES", [(1,), (2,)], settings=settings) == 2
    assert client.execute("SELECT count() FROM hits") == [(4,)]
    assert client.execute("SELECT sum(n) FROM sums") == [(4,)]
    # The setting ended with its query: the same rows without a token are new rows.
    client.execute("INSERT INTO hits (a) VALUES", [(3,), (4,)])
    assert client.execute("SELECT getSetting('insert_deduplication_token')") == [("",)]
    assert client.execute("SELECT count() FROM hits") == [(6,)]


def test_inserts_take_columns_in_any_order_and_fill_in_defaults(connect: Connect) -> None:
    client = connect()
    fresh(client, "`odd name`", "a UInt8, `b (c)` String DEFAULT 'd', e UInt8 MATERIALIZED a + 1")
    client.execute("INSERT INTO `odd name` (`b (c)`, a) VALUES", [("x", 1)])
    client.execute("INSERT INTO default.`odd name` (a) FORMAT Native", [(2,)])
    client.execute("insert into table `odd name` settings async_insert = 0 values", [(3, "y")])
    client.execute("INSERT INTO `odd name` (a) SELECT number + 4 FROM numbers(2)")
    client.execute("INSERT INTO `odd name` VALUES (6, 'inline')")
    found = client.execute("SELECT a, `b (c)`, e FROM `odd name` ORDER BY a")
    assert found == [(1, "x", 2), (2, "d", 3), (3, "y", 4), (4, "d", 5), (5, "d", 6), (6, "inline", 7)]


def test_many_blocks_go_in_and_out(connect: Connect) -> None:
    client = connect()
    fresh(client, "many", "n UInt64, s LowCardinality(String)")
    columns = [list(range(30_000)), [f"v{n % 300}" for n in range(30_000)]]
    client.execute("INSERT INTO many VALUES", columns, columnar=True, settings={"insert_block_size": 7_000})
    found = client.execute("SELECT n, s FROM many ORDER BY n", columnar=True, settings={"max_block_size": 1000})
    assert [list(column) for column in found] == columns
    assert client.last_query.profile_info.rows == 30_000
    assert client.last_query.progress.rows == 30_000


NASTY = 'it\'s "q"\t\\ \\N \n\r\0 ü 😀 {x:String} -- ; \\'


def test_parameters_come_through_unchanged(connect: Connect) -> None:
    client = connect(settings={"server_side_params": True})
    values = {"s": NASTY, "n": -3, "a": ["a'b", "", "\\"], "d": dt.date(2024, 2, 29)}
    assert client.execute("SELECT {s:String}, {n:Int8}, {a:Array(String)}, {d:Date}", values) == [
        tuple(values.values())
    ]
    with pytest.raises(errors.ServerException) as refused:
        client.execute("SELECT {n:UInt8}", {"n": "many"})
    assert refused.value.code == 457


def test_settings_hold_for_one_query_and_unknown_ones_are_skipped_unless_important(connect: Connect) -> None:
    client = connect()
    ask = "SELECT getSetting('max_threads')"
    usual = client.execute(ask)
    assert client.execute(ask, settings={"max_threads": 7, "no_such_setting": "1"}) == [(7,)]
    assert client.execute(ask) == usual
    with pytest.raises(errors.ServerException) as refused:
        connect(settings_is_important=True).execute("SELECT 1", settings={"no_such_setting": "1"})
    assert refused.value.code == 115
    with pytest.raises(errors.ServerException) as late:
        client.execute(
            "SELECT sleepEachRow(0.2) FROM numbers(20)", settings={"max_execution_time": 1, "max_block_size": 1}
        )
    assert late.value.code == 159


def test_external_tables_live_for_one_query(connect: Connect) -> None:
    client = connect()
    sent = [
        {
            "name": "given",
            "structure": [("k", "String"), ("n", "UInt64")],
            "data": [{"k": "a", "n": 1}, {"k": "b", "n": 5}],
        }
    ]
    assert client.execute("SELECT sum(n), any(k) FROM given WHERE k = 'b'", external_tables=sent) == [(5, "b")]
    nothing = [{"name": "given", "structure": [("k", "String")], "data": []}]
    assert client.execute("SELECT count() FROM given", external_tables=nothing) == [(0,)]
    with pytest.raises(errors.ServerException) as gone:
        client.execute("SELECT count() FROM given")
    assert gone.value.code == 60


def test_connections_do_not_see_each_others_sessions(connect: Connect) -> None:
    one, other = connect(), connect()
    one.execute("CREATE TEMPORARY TABLE private (n UInt8)")
    assert one.execute("SELECT * FROM private") == []
    with pytest.raises(errors.ServerException):
        other.execute("SELECT * FROM private")


def test_a_failed_statement_gives_its_code_and_the_connection_lives_on(connect: Connect) -> None:
    client = connect()
    fresh(client, "narrow", "a UInt8, CONSTRAINT small CHECK a < 10")
    failing: dict[int, Callable[[], Any]] = {
        62: lambda: client.execute("SELEC 1"),
        47: lambda: client.execute("SELECT nosuch"),
        60: lambda: client.execute("INSERT INTO nosuch (a) VALUES", [(1,)]),
        16: lambda: client.execute("INSERT INTO narrow (b) VALUES", [(1,)]),
        469: lambda: client.execute("INSERT INTO narrow (a) VALUES", [(1,), (11,)]),
        395: lambda: client.execute("SELECT throwIf(number = 150000) FROM numbers(200000)"),
    }
    for code, call in failing.items():
        with pytest.raises(errors.ServerException) as refused:
            call()
        assert refused.value.code == code, refused.value
        assert client.execute("SELECT 1") == [(1,)]
    assert client.execute("SELECT count() FROM narrow") == [(0,)]
    # Fails while more blocks are still to come.
    with pytest.raises(errors.ServerException) as refused:
        client.execute(
            "INSERT INTO narrow (a) VALUES", [(n % 256,) for n in range(3000)], settings={"insert_block_size": 10}
        )
    assert refused.value.code == 469
    assert connect().execute("SELECT count() FROM narrow") == [(0,)]


def test_empty_results_still_name_their_columns(connect: Connect) -> None:
    client = connect()
    fresh(client, "bare", "a UInt8, `t\tb` Map(String, UInt8)")
    expected = ([], [("a", "UInt8"), ("t\tb", "Map(String, UInt8)")])
    assert client.execute("SELECT * FROM bare", with_column_types=True) == expected
    assert client.execute("SHOW TABLES LIKE 'nothing like it'", with_column_types=True) == ([], [("name", "String")])
    assert client.execute("EXISTS TABLE bare") == [(1,)]
    assert client.execute("/* c */ -- d\n SELECT 1 FORMAT JSON") == [(1,)]
    assert client.execute("WITH 2 AS x SELECT x") == [(2,)]


def test_wrong_credentials_and_databases_are_refused(server: NativeServer, connect: Connect) -> None:
    for options in ({"password": "wrong"}, {"user": "root"}, {"password": ""}):
        with pytest.raises(errors.ServerException) as refused:
            connect(**options).execute("SELECT 1")
        assert refused.value.code == 516
        assert server.password not in str(refused.value)
    with pytest.raises(errors.ServerException) as refused:
        connect(database="nosuch").execute("SELECT 1")
    assert refused.value.code == 81
    connect().execute("CREATE DATABASE IF NOT EXISTS somewhere")
    assert connect(database="somewhere").execute("SELECT currentDatabase()") == [("somewhere",)]


def running(client: Client, text: str) -> int:
    return client.execute(
        f"SELECT count() FROM system.processes WHERE query LIKE '%{text}%' AND query NOT LIKE '%processes%'"
    )[0][0]


def until(condition: Callable[[], bool], deadline_s: float = 60) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_a_cancel_ends_the_query_and_the_connection_lives_on(connect: Connect) -> None:
    client, watcher = connect(), connect()
    endless = "SELECT 'to cancel', sum(cityHash64(number)) FROM numbers(1000000000000)"
    progress = client.execute_with_progress(endless)
    until(lambda: running(watcher, "to cancel") == 1)
    del progress
    client.cancel()
    assert client.execute("SELECT 1") == [(1,)]
    assert running(watcher, "to cancel") == 0


def test_a_client_that_goes_takes_its_query_with_it(connect: Connect) -> None:
    client, watcher = connect(), connect()
    failures: list[Exception] = []

    def ask() -> None:
        try:
            client.execute("SELECT 'to leave', sum(cityHash64(number)) FROM numbers(1000000000000)")
        except (errors.Error, EOFError, OSError) as error:
            failures.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: running(watcher, "to leave") == 1)
    client.connection.socket.shutdown(socket.SHUT_RDWR)
    until(lambda: running(watcher, "to leave") == 0)
    asking.join()
    assert failures


def test_eight_clients_at_once(connect: Connect) -> None:
    fresh(connect(), "shared", "who UInt8, n UInt32")
    found: dict[int, Any] = {}
    clients = [connect() for _ in range(8)]

    def work(who: int) -> None:
        for start in range(0, 500, 100):
            clients[who].execute("INSERT INTO shared VALUES", [(who, n) for n in range(start, start + 100)])
        found[who] = clients[who].execute(f"SELECT count(), sum(n) FROM shared WHERE who = {who}")

    threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {who: [(500, sum(range(500)))] for who in range(8)}


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" * 64,
        b"\x00" + b"\xff\xff\xff\xff\x0f",
        b"\x00\x01a\x01\x01" + native_wire.varint(20) + b"\0\0\0",
    ],
    ids=["http", "noise", "huge-string", "old-revision"],
)
def test_noise_is_answered_by_an_exception_and_hurts_no_one(server: NativeServer, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(sent)
        answer = sock.recv(65536)
        assert answer[:1] == bytes([native_packets.FromServer.EXCEPTION])
    with Client("127.0.0.1", port=server.port, user=server.user, password=server.password) as client:
        assert client.execute("SELECT 1") == [(1,)]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    directory = tmp_path_factory.mktemp("tls")
    (directory / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(directory / "cert.pem"), str(directory / "key.pem")


def test_tls(certificate: tuple[str, str]) -> None:
    with start_native_server(tls=certificate) as server:
        assert server.url("x").startswith("clickhouses://")
        options = {"port": server.port, "user": server.user, "password": server.password, "secure": True}
        with Client("127.0.0.1", ca_certs=certificate[0], compression=True, **options) as client:
            assert client.execute("SELECT sum(number) FROM numbers(100000)") == [(4999950000,)]
        with Client("127.0.0.1", **options) as stranger, pytest.raises((errors.NetworkError, ssl.SSLError)):
            stranger.execute("SELECT 1")
        with (
            Client("127.0.0.1", **{**options, "secure": False}) as plain,
            pytest.raises((errors.Error, EOFError, OSError)),
        ):
            plain.execute("SELECT 1")


CLICKHOUSE_CLIENT = """
import sys
from chdb.state.sqlitelike import Connection
chdb = Connection(":memory:")
for sql in sys.argv[1:]:
    try:
        sys.stdout.write(chdb.query(sql, "TSV").bytes().decode())
    except Exception as error:
        print(str(error).splitlines()[0])
"""


def clickhouse(*statements: str) -> list[str]:
    """The lines that ClickHouse's own client answers: chDB in a process of its own, reaching out with `remote()`."""
    command = [sys.executable, "-c", CLICKHOUSE_CLIENT, *statements]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def remote(server: NativeServer, table: str, password: str | None = None) -> str:
    return f"remote('127.0.0.1:{server.port}', {table}, '{server.user}', '{password or server.password}')"


def test_clickhouses_own_client_reads(server: NativeServer) -> None:
    grouped, joined, refused, failed, after = clickhouse(
        f"SELECT number % 3 AS k, count() AS n FROM {remote(server, 'numbers(10)')} GROUP BY k ORDER BY n DESC LIMIT 1",
        f"SELECT count() FROM {remote(server, 'numbers(1000)')} "
        "WHERE number GLOBAL IN (SELECT 2 * number FROM numbers(100))",
        f"SELECT * FROM {remote(server, 'system.one', 'wrong')}",
        f"SELECT throwIf(1) FROM {remote(server, 'system.one')}",
        f"SELECT 'still here' FROM {remote(server, 'system.one')}",
    )
    assert grouped == "0\t4"
    assert joined == "100"
    assert refused.startswith("Code: 516.")
    assert failed.startswith("Code: 395.")
    assert after == "still here"


def test_clickhouses_own_client_inserts_random_rows_of_every_type(server: NativeServer) -> None:
    types = {
        **EVERY_TYPE,
        "deep": "Map(String, Map(String, Array(Tuple(x UInt8, y Nullable(String)))))",
        "odd": "Enum8('it\\'s, (odd)' = 1, ')' = 2)",
        "sparse": "UInt32",
    }
    structure = ", ".join(f"{name} {type_name}" for name, type_name in types.items())
    digest = f"SELECT sum(cityHash64({', '.join(types)})), count() FROM"
    there = remote(server, "default.random_rows")
    with Client("127.0.0.1", port=server.port, user=server.user, password=server.password) as client:
        fresh(client, "random_rows", structure)
    ours, theirs, travelled = clickhouse(
        f"CREATE TABLE src ({structure}) ENGINE = MergeTree ORDER BY tuple() "
        "SETTINGS ratio_of_defaults_for_sparse_serialization = 0.1",
        "INSERT INTO src SELECT * REPLACE (toUInt32(rand() % 50 = 0) AS sparse) "
        f"FROM generateRandom($${structure}$$, 7, 40, 4) LIMIT 3000",
        f"INSERT INTO FUNCTION {there} SELECT * FROM src",
        f"{digest} src",
        f"{digest} {there}",
        f"{digest} (SELECT * FROM {there} LIMIT 3000)",  # here the rows themselves travel, not only their sum
    )
    assert ours == theirs == travelled
    assert ours.endswith("\t3000")


def test_the_server_ends_with_the_process_that_started_it() -> None:
    code = (
        "import sys, time\n"
        "from tests.support.native_server import start_native_server\n"
        "with start_native_server() as server:\n"
        "    print(server.port, server.pid, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdin and parent.stdout
    port, _ = map(int, parent.stdout.readline().split())
    socket.create_connection(("127.0.0.1", port)).close()
    parent.kill()
    parent.wait()

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return True
        return False

    until(refused)
    parent.stdin.close()
    parent.stdout.close()


# --- the wire format itself


def column(type_name: str, values: bytes) -> tuple[bytes, bytes, bytes]:
    return (b"c", type_name.encode(), values)


STRINGS = st.lists(st.binary(max_size=300), min_size=1, max_size=50)


@given(STRINGS, st.sampled_from(REVISIONS))
def test_blocks_survive_the_wire(strings: list[bytes], revision: int) -> None:
    values = b"".join(native_wire.binary(s) for s in strings)
    offsets = struct.pack(f"<{len(strings)}Q", *range(1, len(strings) + 1))
    block = Block(len(strings), (column("String", values), column("Array(String)", offsets + values)))
    assert read_block(from_bytes(block.encode(revision)), revision) == block
    assert list(read_blocks(block.encode(0) * 3)) == [block] * 3


@given(STRINGS, st.data())
def test_a_cut_block_is_an_end_of_file(strings: list[bytes], data: st.DataObject) -> None:
    block = Block(len(strings), (column("String", b"".join(native_wire.binary(s) for s in strings)),))
    whole = block.encode(native_packets.SERVER_REVISION)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(EOFError):
        read_block(from_bytes(whole[:cut]), native_packets.SERVER_REVISION)


@given(st.binary(max_size=5000), st.integers(1, 700))
def test_compressed_frames_survive_the_wire_in_any_pieces(content: bytes, size: int) -> None:
    framed = b"".join(native_wire.frames(content, size))
    reader = from_bytes(framed)
    found = b""
    while len(found) < len(content):
        found += native_wire.read_frame(reader)
    assert found == content


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_damaged_frame_is_noticed(content: bytes, data: st.DataObject) -> None:
    framed = bytearray(b"".join(native_wire.frames(content)))
    place = data.draw(st.integers(0, len(framed) - 1))
    framed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((WireError, EOFError)):
        native_wire.read_frame(from_bytes(bytes(framed)))


@given(st.binary(max_size=400), st.sampled_from(REVISIONS))
@example(b"\x01\x01\x00\x03\x00\x00\x80", 0)
def test_any_bytes_are_a_block_or_a_clear_error(noise: bytes, revision: int) -> None:
    try:
        block = read_block(from_bytes(noise), revision)
    except (WireError, EOFError):
        return
    assert read_block(from_bytes(block.encode(revision)), revision) == block


@pytest.mark.parametrize(
    "type_name", ["AggregateFunction(uniq, String)", "JSON", "Dynamic", "Variant(String)", "Array(", ""]
)
def test_types_that_cannot_be_walked_are_refused(type_name: str) -> None:
    with pytest.raises(WireError):
        layout(type_name)


@given(st.text())
def test_string_literals_are_unquoted(text: str) -> None:
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\t", "\\t") + "'"
    assert native_packets.unquote(quoted) == text
