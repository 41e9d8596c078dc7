"""What web servers' log lines have in common: times such as `10/Oct/2000:13:55:36 -0700`, and request lines."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = re.compile(r"(\d{1,2})/([A-Z][a-z]{2})/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d)", re.ASCII)
TIME = r"\d{1,2}/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}"
"""The time as an expression without groups."""

_REQUEST = r"^(?P<method>[^ ]*) (?P<path>(?s:.*)) (?P<protocol>HTTP/[0-9.]+)$"


def rfc3339(text: pa.StringArray) -> pa.StringArray:
    """Times of the common log format as RFC 3339; null for what is none. Worked out once per distinct second."""
    distinct = text.dictionary_encode()
    found = [None if value is None else _rfc3339(value) for value in distinct.dictionary.to_pylist()]
    return pa.array(found, pa.string()).take(distinct.indices)


def _rfc3339(text: str) -> str | None:
    match = _TIME.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        return None
    day, month, year, clock, hours, minutes = match.groups()
    return f"{year}-{_MONTHS.index(month) + 1:02d}-{int(day):02d}T{clock}{hours}:{minutes}"


def request_parts(request: pa.StringArray) -> tuple[pa.StringArray, pa.StringArray, pa.StringArray]:
    """Method, path and protocol of request lines; null where a request is none (`-`, or the bytes of a TLS hello)."""
    parts = pc.extract_regex(request, _REQUEST)
    return parts.field("method"), parts.field("path"), parts.field("protocol")


def protocols(protocol: pa.StringArray) -> pa.StringArray:
    """`http`, `http2` or `http3` of `HTTP/1.1` and the like; null stays null."""
    distinct = protocol.dictionary_encode()
    names = [
        {"HTTP/2.0": "http2", "HTTP/2": "http2", "HTTP/3.0": "http3", "HTTP/3": "http3"}.get(value, "http")
        for value in distinct.dictionary.to_pylist()
    ]
    return pa.array(names, pa.string()).take(distinct.indices)
