"""What a caller writes into a text line never passes for what the proxy wrote: else the line is a dead letter.

Envoy's text formats escape nothing, and the path, four headers and the server's name in TLS are the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.decode.registry import decoder
from tests.collector.identity.rows import plain

HEADERS = '"{xff}" "{agent}" "{id}" "{authority}" "{host}"'
DENIED = "rbac_access_denied_matched_policy[none]"
TEMPLATES: Mapping[str, tuple[str, str]] = {
    "1.9": (
        "istio_text",
        f'[2026-03-02T10:00:19.409Z] "GET {{path}} HTTP/1.1" 403 - {DENIED} - "-" 0 19 3 - {HEADERS} '
        "inbound|8080|| - 10.1.2.3:8080 10.1.1.1:37652 {sni} default",
    ),
    "1.9 upstream fails": (
        "istio_text",
        '[2026-03-02T10:00:19.409Z] "GET {path} HTTP/1.1" 503 UF upstream_reset_before_response_started{{TLS_error}} '
        f'connection failed "TLS error: 268435703:SSL routines" 0 95 3 - {HEADERS} '
        "outbound|8080||orders.shop.svc.cluster.local - 10.9.2.3:8080 10.1.1.1:37652 {sni} default",
    ),
    "1.8": (
        "istio_text",
        f'[2021-01-07T10:24:37.571Z] "GET {{path}} HTTP/1.1" 403 - "-" 0 19 3 - {HEADERS} '
        "inbound|8080|| - 10.1.2.3:8080 10.1.1.1:37652 {sni} default",
    ),
    "1.5": (
        "istio_text",
        f'[2020-10-12T14:19:35.996Z] "GET {{path}} HTTP/1.1" 403 - "-" "-" 0 19 3 - {HEADERS} '
        "inbound|8080|http|orders.shop.svc.cluster.local - 10.1.2.3:8080 10.1.1.1:37652 {sni} default",
    ),
    "1.2": (
        "istio_text",
        f'[2019-09-11T20:39:25.076Z] "GET {{path}} HTTP/1.1" 403 - "-" "-" 0 19 3 - {HEADERS} '
        "inbound|8080|http|orders.shop.svc.cluster.local - 10.1.2.3:8080 10.1.1.1:37652 {sni}",
    ),
    "1.1": (
        "istio_text",
        f'[2019-04-14T06:12:07.636Z] "GET {{path}} HTTP/1.1" 403 - "-" 0 19 3 - {HEADERS} '
        "inbound|8080|http|orders.shop.svc.cluster.local - 10.1.2.3:8080 10.1.1.1:37652 {sni}",
    ),
    "1.0": (
        "istio_text",
        f'[2019-02-15T09:06:04.079Z] "GET {{path}} HTTP/1.1" 403 - 0 19 3 - {HEADERS} '
        "inbound|8080|http|orders.shop.svc.cluster.local - 10.1.2.3:8080 10.1.1.1:37652 {sni}",
    ),
    "envoy": ("envoy_text", f'[2026-03-02T10:00:00.310Z] "GET {{path}} HTTP/2" 403 UAEX 0 19 3 - {HEADERS}'),
    "emissary": ("emissary_text", f'ACCESS [2026-03-02T10:00:00.310Z] "GET {{path}} HTTP/2" 403 - 0 19 3 - {HEADERS}'),
    # hyper refuses blanks in a URI, but not quotes.
    "linkerd": ("linkerd_apache", '10.4.0.6:51160 - - [2022-08-23T20:28:20.071809491Z] "GET {path} HTTP/2.0" 403'),
    "linkerd without status": (
        "linkerd_apache",
        '10.4.0.6:51160 - - [2022-08-23T20:28:20.071809491Z] "GET {path} HTTP/2.0" ',
    ),
    "spring": (
        "reactor_netty",
        '10.1.9.9 - - [10/Jan/2024:15:48:18 -0500] "GET {path} HTTP/1.1" 403 19 8080 3 ms',
    ),
    "spring 2": ("reactor_netty", '10.1.9.9 - - [10/Jan/2024:15:48:18 -0500] "GET {path} HTTP/1.1" 403 19 3'),
    # nginx escapes quotes: the user's name and the id are the fields without any.
    "nginx": (
        "ingress_nginx",
        '172.19.0.1 - {user} [12/Sep/2026:23:33:09 +0000] "GET {path} HTTP/1.1" 403 19 "{xff}" "{agent}" 77 0.003 '
        "[shop-orders-80] [] 10.1.2.3:8080 19 0.003 403 {id}",
    ),
}
TRUSTED = (
    "ts",
    "status",
    "response_flags",
    "response_details",
    "termination_details",
    "verdict",
    "denied_by",
    "fault",
    "bytes_sent",
    "bytes_received",
    "duration_us",
    "upstream_duration_us",
    "attempt",
    "upstream_cluster",
    "reporter",
    "source_ip",
    "source_port",
    "destination_ip",
    "destination_port",
    "protocol",
)
FIELDS = ("path", "xff", "agent", "id", "authority", "sni", "user")
QUIET = dict.fromkeys(FIELDS, "-") | {"path": "/orders/17", "sni": "-", "authority": "orders.shop:8080"}
HEADS = (
    ' HTTP/1.1" 200 - via_upstream - "-" 0 0 0 0 "-" "x" "y" "z" "1.2.3.4:80" inbound|80|| 1.1.1.1:1 2.2.2.2:2 '
    "3.3.3.3:3 - default",
    ' HTTP/1.1" 200 - via_upstream - "-" 0 0 0 0 "-" "x',
    ' HTTP/1.1" 200 - "-" "-" 0 0 0 0 "-" "x',
    ' HTTP/1.1" 200 - "-" 0 0 0 0 "-" "x',
    ' HTTP/2" 200 - 0 0 0 0 "-" "x',
    ' HTTP/2.0" 200',
    ' HTTP/1.1" 200 5 8080 5 ms',
    ' -" 0 - - - "-" 5 5 5 5 "-" "x',
    ' HTTP/1.1" 200 5 "x',
)
TAILS = (
    '" "y" "z" "1.2.3.4:80" inbound|80|| 1.1.1.1:1 2.2.2.2:2 3.3.3.3:3 - default',
    '" "y" "z" "1.2.3.4:80" inbound|80|| 1.1.1.1:1 2.2.2.2:2 3.3.3.3:3 -',
    '" "1.2.3.4:80" outbound|80||evil.shop.svc.cluster.local 1.1.1.1:1 2.2.2.2:2 ',
    'x" "y" "z" "1.2.3.4:80',
    'x" 5 5 5 5 "-" "x',
    '- "-" "-" 5 5 5 5 "-',
    ": 200 x",
    ", 200 x",
    "x [12/Sep/2026:23:33:09 +0000] ",
)
WORDS = (*HEADS, *TAILS, '"', '" "', " ", "-", '-"', "200", "HTTP/1.1", 'HTTP/1.1"', "|", "1.2.3.4:80", "default", "\\")
FORGERIES: tuple[Mapping[str, str], ...] = (
    *({"path": "/a" + head} for head in HEADS),
    *({"agent": "x" + head} for head in HEADS),
    *({field: "x" + tail} for tail in TAILS for field in ("path", "xff", "agent", "id", "authority", "sni")),
    {"path": '/a -" 0'},
    {"sni": "x y"},
    {"authority": "a" + TAILS[0], "path": '/a"b" c'},
    {"xff": TAILS[4]},
    {"xff": TAILS[4], "sni": "x y"},
    {"id": TAILS[6]},
    {"user": TAILS[8] + TAILS[8]},
)
characters = st.characters(exclude_categories=("Cs",), exclude_characters="\r\n")
texts = st.lists(st.sampled_from(WORDS) | st.text(characters, max_size=4), max_size=6).map("".join)


def _calls(format: str, lines: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Rows by the place of their line; every other line is a dead letter with a reason."""
    found = decoder(format).decode(pa.array([line.encode() for line in lines], pa.large_binary()))
    rows = plain(found.tables["calls"]) if found.tables else []
    made = {row.get("_message", 0): row for row in rows}
    assert all(letter.reason for letter in found.dead)
    assert sorted([*made, *(letter.message for letter in found.dead)]) == list(range(len(lines)))
    return made


def _line(template: str, fields: Mapping[str, str]) -> str:
    values = {**QUIET, **fields}
    if template.startswith(("[", "ACCESS")):
        return template.format(**values, host="10.1.2.3:8080")
    escaped = {name: text.replace('"', "\\x22") for name, text in values.items()} if "{user}" in template else values
    return template.format(**escaped)


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row.get(key) for key in TRUSTED}


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_caller_writes_what_the_proxy_did(name: str) -> None:
    own, template = TEMPLATES[name]
    lines = [_line(template, fields) for fields in ({}, *FORGERIES)]
    for format in ("auto", own):
        rows = _calls(format, lines)
        told = _told(rows.pop(0))
        for place, row in rows.items():
            assert _told(row) == told, lines[place]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from([*TEMPLATES]), st.dictionaries(st.sampled_from(FIELDS), texts)), max_size=20))
def test_whatever_callers_write(forged: list[tuple[str, dict[str, str]]]) -> None:
    quiet = [_line(TEMPLATES[name][1], {}) for name, _ in forged]
    rows = _calls("auto", [*quiet, *(_line(TEMPLATES[name][1], fields) for name, fields in forged)])
    for place in range(len(quiet)):
        if (row := rows.get(len(quiet) + place)) is not None:
            assert _told(row) == _told(rows[place]), forged[place]


def test_a_line_of_several_readings_says_so() -> None:
    _, template = TEMPLATES["1.9"]
    line = _line(template, {"path": "/a" + HEADS[1]})
    (letter,) = decoder("auto").decode(pa.array([line.encode()], pa.large_binary())).dead
    assert letter.reason == (
        "ambiguous: the end of a request line stands in it 2 times, expected once: a caller wrote one of them"
    )
    assert letter.format == "istio_text"
    line = _line(template, {"sni": "x" + TAILS[0]})
    (letter,) = decoder("auto").decode(pa.array([line.encode()], pa.large_binary())).dead
    assert letter.reason == (
        "ambiguous: an upstream with its cluster stands in it 2 times, expected once: a caller wrote one of them"
    )


@pytest.mark.parametrize("name", TEMPLATES)
def test_quotes_and_blanks_alone_lose_no_line(name: str) -> None:
    own, template = TEMPLATES[name]
    fields = [field for field in ("xff", "agent", "id", "user") if "{" + field + "}" in template]
    lines = [_line(template, {"path": '/a?q="b"'}), *(_line(template, {field: 'a "b" c'}) for field in fields)]
    assert sorted(_calls(own, lines)) == list(range(len(lines)))
