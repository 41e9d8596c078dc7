"""`--store` URLs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import BadLocation
from storage.location import ChdbLocation, ServerLocation, parse


def test_embedded() -> None:
    assert parse("chdb:data") == ChdbLocation(Path("data"))
    assert parse("chdb:/var/lib/x") == ChdbLocation(Path("/var/lib/x"))
    assert parse("chdb:///var/lib/x") == ChdbLocation(Path("/var/lib/x"))
    assert parse("chdb:~/x") == ChdbLocation(Path("~/x").expanduser())


def test_server() -> None:
    assert parse("clickhouse://db.example") == ServerLocation("db.example", 9000, "eastwatch", "default", "")
    found = parse("clickhouse://me%40x:p%2Fw%3A@[::1]:9001/mesh?secure=1&verify=0&compression=0&timeout_s=5")
    assert found == ServerLocation("::1", 9001, "mesh", "me@x", "p/w:", True, False, None, False, 10.0, 5.0)
    assert str(found) == "clickhouse://[::1]:9001/mesh"
    secure = parse("clickhouses://u@h/d?ca=/etc/ca.pem")
    assert isinstance(secure, ServerLocation)
    assert (secure.port, secure.secure, secure.ca) == (9440, True, "/etc/ca.pem")


def test_cluster() -> None:
    found = parse("clickhouse://h/d?cluster=main")
    assert isinstance(found, ServerLocation)
    assert (found.cluster, found.quorum, str(found)) == ("main", "auto", "clickhouse://h:9000/d?cluster=main")
    found = parse("clickhouse://h/d?cluster=main-2&quorum=2")
    assert isinstance(found, ServerLocation)
    assert (found.cluster, found.quorum) == ("main-2", 2)


def test_the_password_is_never_shown() -> None:
    place = parse("clickhouse://u:hunter2@h/d")
    assert "hunter2" not in repr(place) + str(place)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "expected"),
        ("data", "expected"),
        ("chdb:", "a path after chdb: expected"),
        ("chdb:~nobody-of-this-name/x", "no home directory of that user"),
        ("sqlite:x", "chdb:PATH or clickhouse://"),
        ("clickhouse://", "no host"),
        ("clickhouse://u:hunter2@/db", "no host"),
        ("clickhouse://u:hunter2@h:port/db", "Port"),
        ("clickhouse://u:hunter2@h:99999/db", "Port"),
        ("clickhouse://u:hunter2@h/d?nosuch=1", "unknown option nosuch"),
        ("clickhouse://u:hunter2@h/d?secure=maybe", "0 or 1 expected"),
        ("clickhouse://u:hunter2@h/d?timeout_s=-1", "seconds above 0"),
        ("clickhouse://u:hunter2@h/d-d", "no database name"),
        ("clickhouse://u:hunter2@h/d/e", "no database name"),
        ("clickhouse://u:hunter2@h/d?cluster=", "no name of a cluster"),
        ("clickhouse://u:hunter2@h/d?cluster=a'b", "no name of a cluster"),
        ("clickhouse://u:hunter2@h/d?cluster=main&quorum=most", "auto or a number of replicas"),
        ("clickhouse://u:hunter2@h/d?quorum=2", "quorum is an option of a cluster"),
        ("http://u:hunter2@h/d", "expected"),
    ],
)
def test_what_cannot_be_read(url: str, words: str) -> None:
    with pytest.raises(BadLocation) as caught:
        parse(url)
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


@given(st.text())
def test_any_text_is_a_place_or_refused(text: str) -> None:
    for url in (text, f"chdb:{text}", f"clickhouse://{text}", f"clickhouse://h/d?{text}"):
        try:
            parse(url)
        except BadLocation as error:
            assert "\n" not in str(error)
