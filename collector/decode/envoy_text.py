"""Envoy's default text access log → operators. It has no details, no cluster and no addresses but the upstream's."""

from __future__ import annotations

from functools import partial

from collector.decode.layout_lines import read_layouts
from collector.decode.line_format import TextFormat
from collector.decode.text_layout import Layout
from collector.envoy import to_calls

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

FORMAT = TextFormat("envoy_text", read=partial(read_layouts, LAYOUTS), finish=partial(to_calls, mesh="envoy"))
