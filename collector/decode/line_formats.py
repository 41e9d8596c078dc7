"""Every line format, in the order in which a line that fits several is claimed."""

from __future__ import annotations

from collections.abc import Mapping, Set

from collector.decode import (
    calico_json,
    calls_json,
    emissary_text,
    envoy_json,
    envoy_text,
    gcp_log_entry,
    hubble_json,
    ingress_nginx,
    istio_text,
    jaeger_json,
    kong_json,
    linkerd_apache,
    linkerd_json,
    reactor_netty,
    zipkin_json,
    ztunnel_json,
    ztunnel_text,
)
from collector.decode.envelope import is_envelope
from collector.decode.line_format import JsonFormat, LineFormat, TextFormat

JSON_FORMATS: tuple[JsonFormat, ...] = (
    calls_json.FORMAT,
    hubble_json.FORMAT,
    calico_json.FORMAT,
    ztunnel_json.FORMAT,
    envoy_json.FORMAT,
    linkerd_json.FORMAT,
    kong_json.FORMAT,
    gcp_log_entry.FORMAT,
    zipkin_json.FORMAT,
    jaeger_json.FORMAT,
)
TEXT_FORMATS: tuple[TextFormat, ...] = (
    istio_text.FORMAT,
    envoy_text.FORMAT,
    ztunnel_text.FORMAT,
    emissary_text.FORMAT,
    linkerd_apache.FORMAT,
    ingress_nginx.FORMAT,
    reactor_netty.FORMAT,
)

BY_NAME: Mapping[str, LineFormat] = {form.name: form for form in (*JSON_FORMATS, *TEXT_FORMATS)}
LINE_FORMATS: tuple[str, ...] = tuple(BY_NAME)
"""Names of the line formats."""


def form_of(keys: Set[str]) -> str:
    """The format of a JSON object by its keys: a line format, `envelope`, or `""`."""
    if "log" in keys:
        return "envelope"
    form = next((form.name for form in JSON_FORMATS if form.recognises(keys)), "")
    return form or ("envelope" if is_envelope(keys) else "")
