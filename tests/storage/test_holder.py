"""The socket of a held store speaks ClickHouse's HTTP query form, to any client."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import multipart, unix_socket
from storage.embedded import EmbeddedEngine
from storage.engine import Engine
from storage.holder import MAX_CONNECTIONS, Holder


@pytest.fixture
def held(shared_store: EmbeddedEngine, engine: Engine) -> Iterator[Path]:
    """The directory of a store that this process serves."""
    holder = Holder(shared_store)
    yield shared_store.path
    holder.stop()
    holder.stop()


def ask(
    directory: Path, arguments: dict[str, str], body: bytes = b"", method: str = "POST", **headers: str
) -> http.client.HTTPResponse:
    """One request; its body is read."""
    connection = http.client.HTTPConnection("localhost")
    connection.sock = unix_socket.connect(directory, 5)
    connection.request(method, "/?" + urlencode(arguments), body, {k.replace("_", "-"): v for k, v in headers.items()})
    response = connection.getresponse()
    response.text = response.read().decode()  # type: ignore[attr-defined]
    connection.close()
    return response


def text(directory: Path, arguments: dict[str, str], body: bytes = b"") -> str:
    """The body of a good answer."""
    response = ask(directory, arguments, body)
    assert response.status == 200, response.text  # type: ignore[attr-defined]
    return response.text  # type: ignore[attr-defined]


def test_query_in_the_url_or_in_the_body(held: Path) -> None:
    assert text(held, {"query": "SELECT 1 + 1"}) == "2\n"
    assert text(held, {}, b"SELECT 1 + 1") == "2\n"
    assert text(held, {"query": "SELECT 1"}, b"+ 1") == "2\n"
    assert ask(held, {"query": "SELECT 3"}, method="GET").status == 200


def test_formats(held: Path) -> None:
    assert json.loads(text(held, {"query": "SELECT 1 AS a, 'x' AS b FORMAT JSONEachRow"})) == {"a": 1, "b": "x"}
    assert text(held, {"query": "SELECT 1 AS a, 'x' AS b", "default_format": "CSVWithNames"}) == '"a","b"\n1,"x"\n'


def test_parameters_and_settings(held: Path) -> None:
    found = text(
        held,
        {
            "query": "SELECT {a:String}, getSetting('max_threads')",
            "param_a": "x\\ty",
            "max_threads": "1",
            "database": "eastwatch",
        },
    )
    assert found == "x\\ty\t1\n"


def test_insert_in_any_format(held: Path, engine: Engine) -> None:
    text(held, {"query": "INSERT INTO dead_letters (source, offset) FORMAT CSV"}, b'"a",1\n"b",2\n')
    text(held, {"query": "INSERT INTO dead_letters FORMAT JSONEachRow"}, b'{"source": "c", "offset": 3}\n')
    for _ in range(2):
        text(held, {"query": "INSERT INTO dead_letters (offset) FORMAT TSV", "insert_deduplication_token": "t"}, b"4\n")
    text(held, {"query": "INSERT INTO dead_letters (offset) VALUES (5)"})
    text(held, {}, b"INSERT INTO dead_letters (offset) SELECT 6")
    found = engine.query("SELECT groupArray(offset) AS o FROM (SELECT offset FROM dead_letters ORDER BY offset)")
    assert found["o"][0].as_py() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("arguments", "body", "status", "code"),
    [
        ({"query": "SELECT nosuch"}, b"", 404, "47"),
        ({"query": "SELECT * FROM nosuch"}, b"", 404, "60"),
        ({"query": "SELECT ("}, b"", 400, "62"),
        ({"query": "SELECT 1", "nosuch_setting": "1"}, b"", 400, "115"),
        ({"query": "SELECT {a:UInt8}", "param_a": "x"}, b"", 400, "457"),
        ({"query": "SELECT {a:UInt8}"}, b"", 400, "456"),
        ({"query": "SELECT throwIf(1)"}, b"", 500, "395"),
        ({}, b"", 500, "36"),
        ({}, b"\xff\xfe", 500, "36"),
        ({"query": "SELECT 1", "database": "other"}, b"", 500, "36"),
        ({"query": "INSERT INTO calls (status) FORMAT ArrowStream"}, b"no arrow", 500, "36"),
        ({"query": "INSERT INTO dead_letters (offset) FORMAT CSV"}, b"x\n", 500, "117"),
    ],
)
def test_errors_carry_their_code(held: Path, arguments: dict[str, str], body: bytes, status: int, code: str) -> None:
    response = ask(held, arguments, body)
    assert (response.status, response.getheader("X-ClickHouse-Exception-Code")) == (status, code)
    assert response.text.startswith(f"Code: {code}. DB::Exception: ")  # type: ignore[attr-defined]


def test_requests_that_are_no_http(held: Path) -> None:
    for raw, answer in ((b"BREW / HTTP/1.1\r\n\r\n", b"501"), (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"411"),
                        (b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"413"), (b"", b"")):  # fmt: skip
        with unix_socket.connect(held, 5) as client:
            client.sendall(raw)
            client.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := client.recv(4096):
                received += chunk
        assert answer in received[:40]
    assert text(held, {"query": "SELECT 1"}) == "1\n"


def test_more_connections_than_it_serves_at_once_wait(held: Path) -> None:
    answers = list[str]()
    idle = [unix_socket.connect(held, 5) for _ in range(MAX_CONNECTIONS - 1)]
    threads = [
        threading.Thread(target=lambda n=n: answers.append(text(held, {"query": f"SELECT {n}"}))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for client in idle:
        client.close()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == [f"{n}\n" for n in range(8)]


def test_stopping_does_not_wait_for_idle_connections(shared_store: EmbeddedEngine) -> None:
    holder = Holder(shared_store)
    with unix_socket.connect(shared_store.path, 5) as idle:
        done = threading.Thread(target=holder.stop)
        done.start()
        done.join(30)
        assert not done.is_alive()
        with contextlib.suppress(ConnectionResetError):  # it was not accepted yet
            assert idle.recv(1) == b""


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAME = st.from_regex(r"[a-z_]{1,20}", fullmatch=True)


@given(st.dictionaries(NAME, TEXT), st.dictionaries(NAME, st.binary()))
def test_a_form_comes_back_unchanged(fields: dict[str, str], files: dict[str, bytes]) -> None:
    kind, body = multipart.encode(multipart.Form(fields, files))
    boundary = multipart.boundary_of(kind)
    assert boundary
    assert multipart.decode(boundary, body) == multipart.Form(fields, files)


@given(st.binary())
def test_any_body_is_a_form_or_refused(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        multipart.decode("b", body)
