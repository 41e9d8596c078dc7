"""Names under which Envoy's operators are logged: keys of JSON lines, and labels of OTLP log records."""

from __future__ import annotations

from collections.abc import Mapping

ASKED = ("request.headers.", "request.auth.", "downstream_peer_", "experimental.")
"""How attributes begin that policies ask about. What is absent of them is kept, as the empty text: a condition on it is
decided then, where it is open of a key that the line does not have."""

KEYS: Mapping[str, tuple[str, ...]] = {
    "start_time": ("start_time", "timestamp", "@timestamp", "time", "ts"),
    "method": ("method", ":method", "request_method", "http_method"),
    "path": ("path", ":path", "x_envoy_original_path", "x_envoy_origin_path", "request_path", "uri", "uri_path"),
    "protocol": ("protocol", "request_protocol"),
    "response_code": ("response_code", "status", "status_code", "response_status", "http_status"),
    "response_flags": ("response_flags", "response_flag"),
    "response_code_details": ("response_code_details", "response_details"),
    "connection_termination_details": ("connection_termination_details", "termination_details"),
    "upstream_transport_failure_reason": ("upstream_transport_failure_reason", "upstream_failure_reason"),
    "bytes_received": ("bytes_received",),
    "bytes_sent": ("bytes_sent",),
    "duration_ms": ("duration", "duration_ms", "response_duration_total"),
    "upstream_service_time_ms": ("upstream_service_time", "x_envoy_upstream_service_time"),
    "x_forwarded_for": ("x_forwarded_for", "forwarded_for", "xff"),
    "user_agent": ("user_agent",),
    "request_id": ("request_id", "x_request_id"),
    "authority": ("authority", ":authority", "host", "request_authority"),
    "upstream_host": ("upstream_host", "upstream_remote_address", "upstream_address"),
    "upstream_cluster": ("upstream_cluster", "upstream_cluster_raw", "cluster_name_raw"),
    "upstream_local_address": ("upstream_local_address",),
    "downstream_local_address": ("downstream_local_address",),
    "downstream_remote_address": ("downstream_remote_address",),
    "downstream_direct_remote_address": ("downstream_direct_remote_address", "direct_remote_address"),
    "requested_server_name": ("requested_server_name", "sni"),
    "route_name": ("route_name",),
    "downstream_peer_uri_san": ("downstream_peer_uri_san", "downstream_peer_san", "peer_uri_san", "peer_san"),
    "downstream_local_uri_san": ("downstream_local_uri_san", "downstream_local_san", "local_uri_san", "local_san"),
    "upstream_peer_uri_san": ("upstream_peer_uri_san", "upstream_peer_san"),
    "upstream_local_uri_san": ("upstream_local_uri_san", "upstream_local_san"),
    "downstream_tls_version": ("downstream_tls_version", "tls_version"),
    "downstream_tls_cipher": ("downstream_tls_cipher", "tls_cipher"),
    "upstream_tls_version": ("upstream_tls_version",),
    "grpc_status": ("grpc_status", "grpc_status_number", "grpc_status_code"),
    "content_type": ("content_type", "request_content_type"),
    "attempt_count": ("attempt_count", "upstream_request_attempt_count", "x_envoy_attempt_count"),
    "access_log_type": ("access_log_type",),
    "trace_id": ("trace_id", "x_b3_traceid"),
    "span_id": ("span_id", "x_b3_spanid"),
    "traceparent": ("traceparent",),
    "connection_id": ("connection_id",),
    "stream_id": ("stream_id",),
    "downstream_peer_metadata": ("downstream_peer", "wasm.downstream_peer"),
    "upstream_peer_metadata": ("upstream_peer", "wasm.upstream_peer"),
}
"""Keys of each operator in order of preference: of several in one line, the first that is not absent is taken."""


def spellings(key: str) -> tuple[str, ...]:
    """How a key may be written: snake, kebab, camel and Pascal case, capitals (as in `%UPPER_CASE%`)."""
    words = key.split("_")
    camel = words[0] + "".join(word.capitalize() for word in words[1:])
    pascal = "".join(word.capitalize() for word in words)
    return tuple(dict.fromkeys((key, key.replace("_", "-"), camel, pascal, key.upper())))


OPERATOR_OF: Mapping[str, tuple[str, int]] = {
    spelling: (operator, preference)
    for operator, keys in KEYS.items()
    for preference, key in enumerate(keys)
    for spelling in spellings(key)
}
"""Operator and preference of every spelling of every key."""
