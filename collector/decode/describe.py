"""Words for dead letters: what an unrecognised record looks like, and what was expected."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress

import msgspec

from collector.decode.envelope import without_prefix
from collector.decode.json_lists import records_of
from collector.decode.line_formats import form_of
from collector.decode.sniff import whole_message_format

_LOOKS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\[?\{"), "JSON"),
    (re.compile(rb"\[\S+\] \[\d{1,2}/\w{3}/\d{4}:"), "a session of ingress-nginx (ingress_nginx)"),
    (
        re.compile(rb"\[ *[0-9.]+s\] +[A-Z]+ .{0,400}\blinkerd_app_inbound::policy"),
        "Linkerd's own log (linkerd_apache)",
    ),
    (re.compile(rb"\["), "a text line that begins with '[' as Envoy's do, but its fields do not follow"),
    (re.compile(rb"ACCESS \["), "an Emissary access log line (emissary_text)"),
    (re.compile(rb".{0,60}(?:\baccess\b.{0,80}\bsrc\.addr=)", re.S), "a ztunnel access log line (ztunnel_text)"),
    (re.compile(rb"\S+ \S+ \S+ \[\d{4}-[^\]]+\] \""), "a Linkerd access log line (linkerd_apache)"),
    (
        re.compile(rb"(?s:\S+ - .*? \[\d{1,2}/\w{3}/\d{4}:[^\]]+\] \".*\" [0-9-]+ [0-9.-]+ \[[^\]]*\] \[)"),
        "an ingress-nginx access log line (ingress_nginx)",
    ),
    (
        re.compile(rb"(?s:(?:.*AccessLog\s*: )?\S+ - \S+ \[\d{1,2}/\w{3}/\d{4}:.*\" \d{3} [0-9-]+ \d+(?: \d+ ms)?$)"),
        "a Spring Cloud Gateway access log line (reactor_netty)",
    ),
    (re.compile(rb"\S+ - \S+ \[\d{1,2}/\w{3}/\d{4}:"), "a web server's common log line"),
    (
        re.compile(rb"(?:\d{4}-\d\d-\d\dT\S+\s+)?(?:trace|debug|info|warn(?:ing)?|error|critical)\b", re.I),
        "a proxy's own log",
    ),
    (re.compile(rb"<"), "XML or HTML"),
)


_ENVOY_HEAD = rb"\[[^\]\s]+\] \"[^\"]* (?:HTTP/[0-9.]+|-)\" [0-9]{1,4} \S+ "
# Of another format's topic only: a reader of these has found more to say.
_TEXT: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (re.compile(_ENVOY_HEAD + rb"(?s:.*\|)"), "istio_text", "an Istio access log line (istio_text)"),
    (re.compile(_ENVOY_HEAD + rb"[0-9-]"), "envoy_text", "an Envoy access log line (envoy_text)"),
    (re.compile(_ENVOY_HEAD), "istio_text", "an Istio access log line (istio_text)"),
)

_MOST_NAMED = 3
_MOST_LOOKED_AT = 2000
_MOST_PARSED = 1 << 20
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def expectation(accepted: Set[str]) -> str:
    """What a reader of these formats takes. A reader of every format names none of them."""
    return "expected " + (
        " or ".join(sorted(accepted)) if len(accepted) <= _MOST_NAMED else "a format of docs/formats.md"
    )


def describe_line(line: bytes, accepted: Set[str]) -> str:
    """Why a line that is no JSON object was not read."""
    head = line[:200]
    if sum(byte < 9 or 13 < byte < 32 or byte == 127 for byte in head) * 10 > len(head):
        looks = "binary data"
    else:
        begin = line[:_MOST_LOOKED_AT]
        looks = next((words for pattern, name, words in _TEXT if name not in accepted and pattern.match(begin)), "")
        looks = looks or next((words for pattern, words in _LOOKS if pattern.match(begin)), "text")
    return f"not recognised: looks like {looks}, begins with {head[:40]!r}; {expectation(accepted)}"


_SPANS = (
    (re.compile(rb"\"traceId\"\s*:.{0,200}\"id\"\s*:", re.S), "zipkin_json"),
    (re.compile(rb"\"operationName\"\s*:|\"traceID\"\s*:\s*\"[^\"]*\"\s*,\s*\"spans\""), "jaeger_json"),
)


def looks_like(message: bytes, format: str) -> str:
    """`; it looks like ...`, for the reason of a message that `format` could not read; empty if nothing can be said."""
    found = whole_message_format(message) or _of_record(message)
    return f"; it looks like {found}" if found and found != format else ""


def _of_record(message: bytes) -> str:
    """What the first record of lines or of a list looks like."""
    small = message if len(message) <= _MOST_PARSED else message[: message.find(b"\n", 0, _MOST_PARSED) + 1]
    records = records_of(small)
    line = without_prefix(small.strip().partition(b"\n")[0].rstrip()) if not records else records[0]
    for record in (line, small):
        with suppress(ValueError, RecursionError):
            keys = set(_OBJECT.decode(record))
            return form_of(keys) or describe_object(keys)
    begin = (line or message)[:_MOST_LOOKED_AT]
    found = next((name for pattern, name in _SPANS if pattern.search(begin)), "")
    found = found or next((words for pattern, _, words in _TEXT if pattern.match(begin)), "")
    return found or next((words for pattern, words in _LOOKS if pattern.match(begin)), "")


def describe_object(keys: Iterable[str]) -> str:
    """An object of no known format."""
    listed = list(keys)
    shown = ", ".join(repr(key[:40]) for key in listed[:8]) + (", ..." if len(listed) > 8 else "")
    return f"a JSON object with keys {shown}"


def describe_keys(form: str, keys: Sequence[str], accepted: Set[str]) -> str:
    """Why a JSON object was not read."""
    looks = f"looks like {form}" if form else describe_object(keys)
    return f"not recognised: {looks}; {expectation(accepted)}"
