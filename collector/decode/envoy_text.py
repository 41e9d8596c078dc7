"""Envoy's default text access log → operators. It has no details, no cluster and no addresses but the upstream's."""

from __future__ import annotations

from collector.decode.text_layout import Layout

LAYOUTS = (
    Layout(
        (
            '"request"',
            "response_code",
            "response_flags",
            "bytes_received",
            "bytes_sent",
            "duration_ms",
            "upstream_service_time_ms",
            '"x_forwarded_for"',
            '"user_agent"',
            '"request_id"',
            '"authority"',
            '"upstream_host"',
        )
    ),
)
