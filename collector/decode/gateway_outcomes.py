"""What became of a request or session at a gateway made of nginx (ingress-nginx, Kong), and what gateways log alike."""

from __future__ import annotations

from collector.outcomes import Line, Outcome, judge

GATEWAY_REQUEST = "gateway_request"
"""`log_type` of a request or session at a gateway's door whose line cannot name an upstream: no edge is counted."""

_UNKNOWN = Outcome("unknown", "", "mesh")
_SESSIONS = {
    200: Outcome("allowed", "", "none"),
    400: Outcome("unknown", "", "caller"),
    403: Outcome("denied", "", "mesh"),
    502: Outcome("allowed", "", "network"),
}


def request_outcome(status: int, tried: bool) -> Outcome:
    """A 401, 403 or 407 for which no upstream was tried is the gateway's own: a plugin's, an access list's."""
    if status in (401, 403, 407) and not tried:
        return Outcome("denied", "", "mesh")
    return judge(Line(status, reached_upstream=tried, has_details=False))


def session_outcome(status: int) -> Outcome:
    """Of a TCP or UDP session, by nginx's status of it (ngx_stream_core_module, `$status`)."""
    return _SESSIONS.get(status, _UNKNOWN)
