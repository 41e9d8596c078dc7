"""The server engine's own affairs: passwords, TLS, a server that goes away and comes back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pyarrow as pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from storage.connect import open_store
from storage.errors import AuthenticationFailed, BadLocation, EngineUnavailable
from storage.location import ServerLocation, parse
from storage.server import ServerEngine
from tests.support.native_server import NativeServer, start_native_server
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A self-signed certificate of 127.0.0.1 and its key, as PEM files."""
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clickhouse.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(directory / "cert.pem"), str(directory / "key.pem")


@pytest.fixture(scope="module")
def native() -> Generator[NativeServer]:
    """A plain server."""
    with start_native_server() as server:
        yield server


def test_a_wrong_password(native: NativeServer) -> None:
    with pytest.raises(
        AuthenticationFailed, match=r"clickhouse://127\.0\.0\.1:\d+/x: user or password refused"
    ) as caught:
        open_store(f"clickhouse://{native.user}:hunter2@127.0.0.1:{native.port}/x")
    assert "hunter2" not in str(caught.value)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(EngineUnavailable, match=f"127.0.0.1:{port} does not answer: Connection refused"):
        open_store(f"clickhouse://u:p@127.0.0.1:{port}/x")


def test_somebody_else_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            client.recv(4096)
            client.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Exception) as caught:
            open_store(f"clickhouse://u:p@127.0.0.1:{listener.getsockname()[1]}/x?timeout_s=5")
        thread.join()
    assert type(caught.value).__module__ == "storage.errors"
    assert "\n" not in str(caught.value)


def test_a_missing_database_is_made(native: NativeServer) -> None:
    engine = open_store(native.url("made_here"))
    assert engine.query("SELECT currentDatabase() AS d")["d"][0].as_py() == "made_here"
    engine.close()


@pytest.mark.parametrize("compression", ["0", "1"])
def test_compression_on_and_off(native: NativeServer, compression: str) -> None:
    engine = open_store(native.url("made_here") + f"?compression={compression}")
    found = engine.query("SELECT repeat('x', 900000) AS a, number FROM numbers(2)")
    assert [len(value) for value in found["a"].to_pylist()] == [900_000] * 2
    engine.close()


def test_tls(certificate: tuple[str, str], tmp_path: Path) -> None:
    with start_native_server(tls=certificate) as server:
        url = f"clickhouse://{server.user}:{server.password}@127.0.0.1:{server.port}/x?secure=1"
        for trusted in (f"{url}&ca={certificate[0]}", f"{url}&verify=0"):
            engine = open_store(trusted)
            assert engine.query("SELECT 1 AS n")["n"][0].as_py() == 1
            engine.close()
        with pytest.raises(EngineUnavailable, match="its certificate cannot be verified"):
            open_store(url)
        with pytest.raises(BadLocation, match="ca="):
            open_store(f"{url}&ca={tmp_path / 'none.pem'}")


def test_a_server_that_comes_back_is_found_again(native: NativeServer) -> None:
    relay = TcpProxy(native.port)
    place = parse(f"clickhouse://{native.user}:{native.password}@127.0.0.1:{relay.port}/back")
    assert isinstance(place, ServerLocation)
    engine = ServerEngine(place, retry_s=20)
    engine.execute(
        "CREATE TABLE IF NOT EXISTS t (n UInt64) ENGINE = MergeTree ORDER BY n "
        "SETTINGS non_replicated_deduplication_window = 100"
    )
    batch = pa.record_batch({"n": pa.array(range(10), pa.uint64())})
    engine.insert("t", batch, token="a")
    relay.refuse()
    late = threading.Timer(0.5, relay.resume)
    late.start()
    engine.insert("t", batch, token="a")  # sent again, counted once
    engine.insert("t", batch, token="b")
    late.join()
    relay.cut()
    assert engine.query("SELECT count() AS n FROM t")["n"][0].as_py() == 20
    relay.refuse()
    impatient = ServerEngine.__new__(ServerEngine)
    impatient.__dict__.update(engine.__dict__, _retry_s=0.3)
    with pytest.raises(EngineUnavailable, match=f"127.0.0.1:{relay.port} does not answer"):
        impatient.query("SELECT 1")
    engine.close()
    relay.close()
