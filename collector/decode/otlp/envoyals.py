"""Envoy's gRPC access logs as the Collector's `envoyals` receiver passes them on: protobuf printed as text.

The body of such a record is a Go text rendering of `HTTPAccessLogEntry` or `TCPAccessLogEntry`
(envoy/data/accesslog/v3/accesslog.proto), whose whitespace differs from build to build on purpose. So it is read token
by token, fields that are not known are passed over, and the result is an object with the keys of Envoy's JSON log. What
the entry would carry and does not is `null` there: logged, and absent.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, cast

Node = dict[str, list[Any]]

_TOKEN = re.compile(
    r"""\s*(?:(?P<name>[A-Za-z_][\w./]*|\[[^\]\n]{1,200}\])\s*:?\s*(?P<open>[{<])|(?P<field>[A-Za-z_]\w*)\s*:\s*"""
    r"""(?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[-+\w.]+)|(?P<close>[}>])|(?P<comma>[,;]))""",
    re.ASCII | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:([abfnrtv\\'\"?])|x([0-9a-fA-F]{1,2})|([0-7]{1,3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))")
_LETTERS = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_MAX_DEPTH = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_PROTOCOLS = {"HTTP10": "HTTP/1.0", "HTTP11": "HTTP/1.1", "HTTP2": "HTTP/2", "HTTP3": "HTTP/3"}
_TLS = {"TLSv1": "TLSv1", "TLSv1_1": "TLSv1.1", "TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}
# Field of ResponseFlags -> short code, in Envoy's order of printing.
_FLAGS = {
    "failed_local_healthcheck": "LH",
    "no_healthy_upstream": "UH",
    "upstream_request_timeout": "UT",
    "local_reset": "LR",
    "upstream_remote_reset": "UR",
    "upstream_connection_failure": "UF",
    "upstream_connection_termination": "UC",
    "upstream_overflow": "UO",
    "no_route_found": "NR",
    "delay_injected": "DI",
    "fault_injected": "FI",
    "rate_limited": "RL",
    "unauthorized_details": "UAEX",
    "rate_limit_service_error": "RLSE",
    "downstream_connection_termination": "DC",
    "upstream_retry_limit_exceeded": "URX",
    "stream_idle_timeout": "SI",
    "invalid_envoy_request_headers": "IH",
    "downstream_protocol_error": "DPE",
    "upstream_max_stream_duration_reached": "UMSDR",
    "response_from_cache_filter": "RFCF",
    "no_filter_config_found": "NFCF",
    "duration_timeout": "DT",
    "upstream_protocol_error": "UPE",
    "no_cluster_found": "NC",
    "overload_manager": "OM",
    "dns_resolution_failure": "DF",
    "drop_overload": "DO",
    "unconditional_drop_overload": "UDO",
    "downstream_remote_reset": "DR",
}


def parse(text: str) -> Node | None:
    """A message in protobuf's text format: field -> its values, texts or nested messages. None where it is none."""
    root: Node = {}
    stack = [root]
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            return root if len(stack) == 1 and not text[at:].strip() else None
        at = found.end()
        if found["open"]:
            if len(stack) > _MAX_DEPTH:
                return None
            inner: Node = {}
            stack[-1].setdefault(found["name"], []).append(inner)
            stack.append(inner)
        elif found["field"]:
            stack[-1].setdefault(found["field"], []).append(_scalar(found["value"]))
        elif found["close"]:
            if len(stack) == 1:
                return None
            stack.pop()
    return root if len(stack) == 1 else None


def _scalar(token: str) -> str:
    if token[0] not in "\"'":
        return token
    return _ESCAPE.sub(_unescape, token[1:-1]).encode("latin-1", "backslashreplace").decode("utf-8", "backslashreplace")


def _unescape(found: re.Match[str]) -> str:
    letter, byte, octal, short, long = found.groups()
    if letter:
        return chr(_LETTERS.get(letter, ord(letter)))
    if byte or octal:
        return chr(int(byte, 16) if byte else int(octal, 8) & 0xFF)
    code = int(short or long, 16)
    # As the bytes of its UTF-8, like everything else in the text.
    return chr(code).encode("utf-8", "replace").decode("latin-1") if code < 0x110000 else "?"


def _at(node: Node | None, *path: str) -> Any:
    """The last value of a field, or of a field of a field; None where there is none."""
    found: Any = node
    for name in path:
        values: list[Any] | None = cast(Node, found).get(name) if isinstance(found, dict) else None
        if not values:
            return None
        found = values[-1]
    return found


def _address(node: Any) -> str | None:
    address, port = _at(node, "socket_address", "address"), _at(node, "socket_address", "port_value")
    if not isinstance(address, str):
        return None
    host = f"[{address}]" if ":" in address else address
    return f"{host}:{port}" if port else host


def _seconds(node: Any) -> float | None:
    if not isinstance(node, dict):
        return None
    try:
        return int(_at(node, "seconds") or 0) + int(_at(node, "nanos") or 0) / 1e9
    except (ValueError, OverflowError, TypeError):
        return None


def _time(node: Any) -> str | None:
    seconds, nanos = _at(node, "seconds"), _at(node, "nanos")
    try:
        since = timedelta(seconds=int(seconds or 0), microseconds=int(nanos or 0) // 1000)
        return (_EPOCH + since).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if seconds else None
    except (ValueError, OverflowError, TypeError):
        return None


def _header(node: Any, *maps: str, name: str) -> str | None:
    """A header in maps of headers, which print as `MAP:{key:"name" value:"text"}`; the first map that has it."""
    for kind in maps:
        entries = cast(Node, node).get(kind, []) if isinstance(node, dict) else []
        for header in entries:
            value = _at(header, "value")
            if _at(header, "key") == name and isinstance(value, str):
                return value
    return None


def _uris(node: Any) -> str | None:
    names = cast(Node, node).get("subject_alt_name", []) if isinstance(node, dict) else []
    found = [uri for uri in (_at(name, "uri") for name in names) if isinstance(uri, str)]
    return ",".join(found) or None


def _flags(node: Any) -> str:
    found = cast(Node, node) if isinstance(node, dict) else {}
    return ",".join(short for field, short in _FLAGS.items() if found.get(field, ["false"])[-1] != "false") or "-"


def entry(text: str) -> dict[str, Any] | None:
    """An access log entry with the keys of Envoy's JSON log; None where `text` is none."""
    root = parse(text)
    common = _at(root, "common_properties")
    if root is None or not isinstance(common, dict):
        return None
    tls, request, response = _at(common, "tls_properties"), _at(root, "request"), _at(root, "response")
    duration = _seconds(_at(common, "duration"))
    if duration is None:
        duration = _seconds(_at(common, "time_to_last_downstream_tx_byte"))
    log: dict[str, Any] = {
        "start_time": _time(_at(common, "start_time")),
        "duration": None if duration is None else round(duration * 1000, 6),
        "downstream_remote_address": _address(_at(common, "downstream_remote_address")),
        "downstream_direct_remote_address": _address(_at(common, "downstream_direct_remote_address")),
        "downstream_local_address": _address(_at(common, "downstream_local_address")),
        "upstream_host": _address(_at(common, "upstream_remote_address")),
        "upstream_local_address": _address(_at(common, "upstream_local_address")),
        "upstream_cluster": _at(common, "upstream_cluster"),
        "upstream_transport_failure_reason": _at(common, "upstream_transport_failure_reason"),
        "route_name": _at(common, "route_name"),
        "response_flags": _flags(_at(common, "response_flags")),
        "connection_termination_details": _at(common, "connection_termination_details"),
        "upstream_request_attempt_count": _at(common, "upstream_request_attempt_count"),
        "access_log_type": _at(common, "access_log_type"),
        "requested_server_name": _at(tls, "tls_sni_hostname"),
        "downstream_tls_version": _TLS.get(str(_at(tls, "tls_version"))),
        "downstream_peer_uri_san": _uris(_at(tls, "peer_certificate_properties")),
        "downstream_local_uri_san": _uris(_at(tls, "local_certificate_properties")),
    }
    if request is not None or response is not None:
        log |= {
            "method": _at(request, "request_method"),
            "path": _at(request, "original_path") or _at(request, "path"),
            "protocol": _PROTOCOLS.get(str(_at(root, "protocol_version"))),
            "authority": _at(request, "authority"),
            "user_agent": _at(request, "user_agent"),
            "x_forwarded_for": _at(request, "forwarded_for"),
            "request_id": _at(request, "request_id"),
            "bytes_received": _at(request, "request_body_bytes") or "0",
            "response_code": _at(response, "response_code", "value") or "0",
            "response_code_details": _at(response, "response_code_details"),
            "bytes_sent": _at(response, "response_body_bytes") or "0",
        }
        headers = {
            # A response without a body has its gRPC status among the headers.
            "grpc_status": _header(response, "response_trailers", "response_headers", name="grpc-status"),
            "content_type": _header(request, "request_headers", name="content-type"),
            "traceparent": _header(request, "request_headers", name="traceparent"),
        }
        # Envoy sends those that it is told to send: the others are not known to be absent.
        log |= {name: value for name, value in headers.items() if value is not None}
    else:
        connection = _at(root, "connection_properties")
        log |= {
            "method": None,
            "path": None,
            "protocol": None,
            "response_code": "0",
            "bytes_received": _at(connection, "received_bytes") or "0",
            "bytes_sent": _at(connection, "sent_bytes") or "0",
        }
    # A field of a known name may still hold a message where a text is due.
    return {key: value for key, value in log.items() if not isinstance(value, dict)}
