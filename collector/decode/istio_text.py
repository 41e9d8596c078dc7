"""Istio's default text access log → operators.

Its layouts: since 1.9 with response and termination details; before without; until 1.5 with Mixer's status, from 1.3
also with the route; in 1.1 without the reason of a failure; before 1.1 with neither. The layout says which operators a
line carries.
"""

from __future__ import annotations

from functools import partial

from collector.decode.layout_lines import read_layouts
from collector.decode.line_format import TextFormat
from collector.decode.text_layout import Layout
from collector.envoy import to_calls

_TAIL = (
    "bytes_received",
    "bytes_sent",
    "duration_ms",
    "upstream_service_time_ms",
    '"x_forwarded_for"',
    '"user_agent"',
    '"request_id"',
    '"authority"',
    '"upstream_host"',
    "upstream_cluster",
    "upstream_local_address",
    "downstream_local_address",
    "downstream_remote_address",
    "requested_server_name",
)

LAYOUTS = (
    Layout(
        (
            '"request"',
            "response_code",
            "response_flags",
            "response_code_details",
            "connection_termination_details",
            '"upstream_transport_failure_reason"',
            *_TAIL,
            "route_name",
        )
    ),
    Layout(
        (
            '"request"',
            "response_code",
            "response_flags",
            '"mixer_status"',
            '"upstream_transport_failure_reason"',
            *_TAIL,
            "route_name",
        )
    ),
    Layout(
        (
            '"request"',
            "response_code",
            "response_flags",
            '"mixer_status"',
            '"upstream_transport_failure_reason"',
            *_TAIL,
        )
    ),
    Layout(
        (
            '"request"',
            "response_code",
            "response_flags",
            '"upstream_transport_failure_reason"',
            *_TAIL,
            "route_name",
        )
    ),
    Layout(('"request"', "response_code", "response_flags", '"mixer_status"', *_TAIL)),
    Layout(('"request"', "response_code", "response_flags", *_TAIL)),
)
"""A line is read by the first layout that it has: Mixer's status first, or it would be the beginning of a reason."""

FORMAT = TextFormat("istio_text", read=partial(read_layouts, LAYOUTS), finish=partial(to_calls, mesh="istio"))
