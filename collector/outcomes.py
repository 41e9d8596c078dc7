"""What became of a call: whether the proxy let it pass, which policy refused it, and who failed.

Input is what one proxy line says: status, gRPC status, Envoy's response flags and details, termination details.
Sources: envoyproxy.io, "Access log format strings" (RESPONSE_FLAGS), "HTTP response code details"; Envoy's RBAC, JWT
and external-authorization filters; Istio's policy ids `ns[NS]-policy[NAME]-rule[N]`.

Verdict: `denied` when details or flags name an authorization filter; `allowed` when the call came behind those filters
(an upstream was chosen or answered); else `unknown`, also where it ended in a black hole. A 403 that came
`via_upstream` is the application's own.

Fault, by the first that applies:

| the line says | fault |
|---|---|
| the mesh refused it (verdict `denied`) | mesh |
| the mesh has no way to where it should go (BlackHoleCluster) | mesh |
| a TLS failure towards the upstream | mesh |
| DC DR DPE IH RL: the caller left, broke the protocol, or asked too often | caller |
| UF DF: no connection to the upstream, no address of it | network |
| UT UC UR UPE UH LH UMSDR URX: the upstream was late, closed, reset, unfit | callee |
| NR NC NFCF UO RLSE LR OM DO UDO DT FI SI, other flags: the proxy, its configuration or limits | mesh |
| no flag, HTTP status 500 and above from the upstream | callee |
| no flag, status 500 and above that the proxy made itself | by its details, else mesh |
| no flag, gRPC 2 4 8 12 13 14 15 | callee |
| no flag, HTTP 400 to 499, gRPC 1 3 5 6 7 9 10 11 16 | caller; a 404 without a route: mesh |
| no flag, HTTP status 0 | by its details, else unknown |
| anything else that has a status, or a connection without a flag | none |

FI and DI alone are no failure below status 500, nor is SI with 408 anyone's but the caller's.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Verdict = Literal["allowed", "denied", "unknown"]
Fault = Literal["none", "caller", "network", "callee", "mesh", "unknown"]

_RBAC = re.compile(r"rbac_access_denied(?:_matched_policy\[(?P<policy>.*)\])?", re.DOTALL)
_JWT = "jwt_authn_access_denied"
_EXT_AUTHZ = ("ext_authz_denied", "ext_authz_error")
_PROVIDER = re.compile(r"istio-ext-authz-(?P<provider>.+)-(?P<policy>ns\[.*)", re.DOTALL)

# In order: the flag that says most about the cause first ("UF,URX" is a failed connection).
_FLAG_FAULTS: tuple[tuple[Fault, frozenset[str]], ...] = (
    ("caller", frozenset({"DC", "DR", "DPE", "IH", "RL"})),
    ("network", frozenset({"UF", "DF"})),
    ("callee", frozenset({"UT", "UC", "UR", "UPE", "UH", "LH", "UMSDR"})),
    ("mesh", frozenset({"NR", "NC", "NFCF", "UO", "RLSE", "LR", "OM", "DO", "UDO", "DT"})),
    ("callee", frozenset({"URX"})),
)
_HARMLESS = frozenset({"RFCF", "DI"})
_DETAIL_FAULTS: tuple[tuple[str, Fault], ...] = (
    ("downstream_remote_disconnect", "caller"),
    ("downstream_remote_reset", "caller"),
    ("http1.", "caller"),
    ("http2.", "caller"),
    ("http3.", "caller"),
    ("path_normalization_failed", "caller"),
    ("missing_host_header", "caller"),
    ("low_version", "caller"),
    ("upstream_response_timeout", "callee"),
    ("upstream_per_try_timeout", "callee"),
    ("upstream_max_stream_duration", "callee"),
    ("request_overall_timeout", "callee"),
    ("no_healthy_upstream", "callee"),
    ("response_timeout", "callee"),
    ("upstream_reset_before_response_started{connection_failure", "network"),
    ("upstream_reset_before_response_started{remote_connection_failure", "network"),
    ("upstream_reset", "callee"),
)
_BEHIND_FILTERS = ("via_upstream", "upstream_", "no_healthy_upstream", "maintenance_mode", "response_timeout")
_GRPC_CALLEE = frozenset({2, 4, 8, 12, 13, 14, 15})


class Line(NamedTuple):
    """What one line says of the outcome. `""` = absent."""

    status: int = 0
    grpc_status: int = -1
    """-1 = none."""
    flags: str = ""
    details: str = ""
    termination: str = ""
    transport_failure: str = ""
    is_connection: bool = False
    """A TCP connection: there is no status."""
    reached_upstream: bool = False
    """The line names an upstream host."""
    has_status: bool = True
    """The line carried a status."""
    has_details: bool = True
    """The line carried the details that would name a refusal."""
    black_hole: bool = False
    """It went into Istio's BlackHoleCluster: what is not registered must not be called (REGISTRY_ONLY)."""


class Outcome(NamedTuple):
    """See the module's docstring.

    `denied_by` is the policy id with its rule as the line has it (`ns[NS]-policy[NAME]-rule[N]`,
    `consul-intentions-layer7-N`), `none` (no ALLOW policy matched), `jwt_authn`, `ext_authz`, or `ext_authz:PROVIDER`
    and behind a blank the id of the CUSTOM policy; `""` where the line names nothing.
    """

    verdict: Verdict = "unknown"
    denied_by: str = ""
    fault: Fault = "unknown"


def refusal(details: str, flags: frozenset[str]) -> tuple[bool, str]:
    """Whether an authorization filter refused, and in whose name."""
    if match := _RBAC.match(details):
        policy = match["policy"] or ""
        provider = _PROVIDER.match(policy)
        return True, f"ext_authz:{provider['provider']} {provider['policy']}" if provider else policy
    if details.startswith(_JWT):
        return True, "jwt_authn"
    if details.startswith(_EXT_AUTHZ) or "UAEX" in flags:
        return True, "ext_authz"
    return details == "AuthzDenied", ""


def _by_details(details: str) -> Fault | None:
    return next((fault for start, fault in _DETAIL_FAULTS if details.startswith(start)), None)


def _by_flags(flags: frozenset[str], line: Line) -> Fault:
    if flags <= {"FI"} and 0 < line.status < 500:
        return "none"
    if "SI" in flags and line.status == 408:
        return "caller"
    for fault, members in _FLAG_FAULTS:
        if flags & members:
            return fault
    return "mesh"


def _fault(line: Line, flags: frozenset[str]) -> Fault:
    if "TLS_error" in line.transport_failure or "TLS_error" in line.details:
        return "mesh"
    if flags:
        return _by_flags(flags, line)
    if line.is_connection:
        return "none"
    if line.status >= 500:
        if line.details.startswith("via_upstream") or (not line.details and line.reached_upstream):
            return "callee"
        return _by_details(line.details) or ("mesh" if line.details else "unknown")
    if line.grpc_status > 0:
        return "callee" if line.grpc_status in _GRPC_CALLEE else "caller"
    if line.status >= 400:
        return "mesh" if line.details.startswith(("route_not_found", "cluster_not_found")) else "caller"
    if line.status == 0:
        return _by_details(line.details) or ("none" if line.grpc_status == 0 else "unknown")
    return "none"


def _allowed(line: Line, flags: frozenset[str]) -> bool:
    if line.details:
        return line.reached_upstream or line.details.startswith(_BEHIND_FILTERS)
    if line.reached_upstream or flags & {"UF", "UH", "UO", "UT", "UC", "UR", "URX", "UPE", "NC", "DF"}:
        return True
    # Without details a 401 or 403 may be either's; any other answer has passed the filters.
    return line.has_status and not line.has_details and line.status >= 200 and line.status not in (401, 403, 407)


@lru_cache(maxsize=16384)
def judge(line: Line) -> Outcome:
    """Verdict, policy and fault of one line. Pure; never raises."""
    flags = frozenset(flag for flag in line.flags.replace(" ", "").split(",") if flag not in ("", "-")) - _HARMLESS
    for details in (line.details, line.termination):
        denied, by = refusal(details, flags)
        if denied:
            return Outcome("denied", by, "mesh")
    if line.black_hole:
        return Outcome("unknown", "", "mesh")
    if not line.has_status and not line.is_connection and not flags and line.grpc_status < 0:
        return Outcome("allowed" if line.reached_upstream else "unknown", "", "unknown")
    return Outcome("allowed" if _allowed(line, flags) else "unknown", "", _fault(line, flags))
