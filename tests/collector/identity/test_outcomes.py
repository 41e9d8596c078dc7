"""Verdict, policy and fault for every row of the table in `collector.outcomes`, and for any line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.outcomes import Line, judge

_POLICY = "ns[starfleet]-policy[probe-deny-status]-rule[0]"


@pytest.mark.parametrize(
    ("line", "verdict", "denied_by", "fault"),
    [
        (Line(200, details="via_upstream", reached_upstream=True), "allowed", "", "none"),
        (Line(403, details=f"rbac_access_denied_matched_policy[{_POLICY}]"), "denied", _POLICY, "mesh"),
        (Line(403, details="rbac_access_denied_matched_policy[none]"), "denied", "none", "mesh"),
        (Line(403, details="rbac_access_denied"), "denied", "", "mesh"),
        (
            Line(termination="rbac_access_denied_matched_policy[none]", is_connection=True, has_status=False),
            "denied",
            "none",
            "mesh",
        ),
        (Line(401, details="jwt_authn_access_denied{Jwt_is_missing}"), "denied", "jwt_authn", "mesh"),
        (Line(403, flags="UAEX", details="ext_authz_denied"), "denied", "ext_authz", "mesh"),
        (Line(302, flags="UAEX", has_details=False), "denied", "ext_authz", "mesh"),
        (
            Line(403, details="rbac_access_denied_matched_policy[istio-ext-authz-opa-ns[a]-policy[b]-rule[0]]"),
            "denied",
            "ext_authz:opa ns[a]-policy[b]-rule[0]",
            "mesh",
        ),
        (
            Line(403, details="rbac_access_denied_matched_policy[consul-intentions-layer7-3]"),
            "denied",
            "consul-intentions-layer7-3",
            "mesh",
        ),
        (
            Line(termination="rbac_access_denied_matched_policy[consul-intentions-layer4]", is_connection=True),
            "denied",
            "consul-intentions-layer4",
            "mesh",
        ),
        (
            Line(403, details="rbac_access_denied_matched_policy[default-deny-all-due-to-bad-CUSTOM-action]"),
            "denied",
            "default-deny-all-due-to-bad-CUSTOM-action",
            "mesh",
        ),
        (Line(403, details="via_upstream", reached_upstream=True), "allowed", "", "caller"),
        (Line(403, has_details=False), "unknown", "", "caller"),
        (Line(200, has_details=False), "allowed", "", "none"),
        (Line(404, flags="NR", details="route_not_found"), "unknown", "", "mesh"),
        (Line(404, details="route_not_found"), "unknown", "", "mesh"),
        (Line(404, details="via_upstream", reached_upstream=True), "allowed", "", "caller"),
        (Line(503, flags="UH", details="no_healthy_upstream"), "allowed", "", "callee"),
        (Line(503, flags="UF,URX", details="upstream_reset_before_response_started{x}"), "allowed", "", "network"),
        (
            Line(503, flags="UF", details="upstream_reset_before_response_started{connection_failure,TLS_error:_|2}"),
            "allowed",
            "",
            "mesh",
        ),
        (
            Line(503, flags="UF", details="x", transport_failure="TLS_error:|268435581:SSL", reached_upstream=True),
            "allowed",
            "",
            "mesh",
        ),
        (Line(504, flags="UT", details="upstream_response_timeout"), "allowed", "", "callee"),
        (Line(503, flags="UC", reached_upstream=True), "allowed", "", "callee"),
        (Line(503, flags="URX", details="via_upstream", reached_upstream=True), "allowed", "", "callee"),
        (Line(503, flags="UO", details="upstream_reset_before_response_started{overflow}"), "allowed", "", "mesh"),
        (Line(0, flags="DC", details="downstream_remote_disconnect", reached_upstream=True), "allowed", "", "caller"),
        (Line(0, details="downstream_remote_disconnect"), "unknown", "", "caller"),
        (Line(408, flags="SI", details="stream_idle_timeout"), "unknown", "", "caller"),
        (Line(504, flags="SI", details="stream_idle_timeout"), "unknown", "", "mesh"),
        (Line(429, flags="RL", details="request_rate_limited"), "unknown", "", "caller"),
        (Line(200, flags="DI", details="via_upstream", reached_upstream=True), "allowed", "", "none"),
        (Line(200, flags="FI", details="via_upstream", reached_upstream=True), "allowed", "", "none"),
        (Line(503, flags="FI", details="fault_filter_abort"), "unknown", "", "mesh"),
        (Line(503, flags="ZZ", details="via_upstream", reached_upstream=True), "allowed", "", "mesh"),
        (Line(500, details="via_upstream", reached_upstream=True), "allowed", "", "callee"),
        (Line(500, reached_upstream=True, has_details=False), "allowed", "", "callee"),
        (Line(500, has_details=False), "allowed", "", "unknown"),
        (Line(503, details="direct_response"), "unknown", "", "mesh"),
        (Line(200, 0, details="via_upstream", reached_upstream=True), "allowed", "", "none"),
        (Line(200, 14, details="via_upstream", reached_upstream=True), "allowed", "", "callee"),
        (Line(200, 4, details="via_upstream", reached_upstream=True), "allowed", "", "callee"),
        (Line(200, 7, details="via_upstream", reached_upstream=True), "allowed", "", "caller"),
        (Line(is_connection=True, reached_upstream=True), "allowed", "", "none"),
        (Line(is_connection=True, flags="UF", reached_upstream=True), "allowed", "", "network"),
        (Line(is_connection=True, flags="UH"), "allowed", "", "callee"),
        (Line(is_connection=True, flags="UH", black_hole=True), "unknown", "", "mesh"),
        (Line(is_connection=True, flags="NR", details="filter_chain_not_found"), "unknown", "", "mesh"),
        (Line(has_status=False, has_details=False), "unknown", "", "unknown"),
    ],
)
def test_outcomes(line: Line, verdict: str, denied_by: str, fault: str) -> None:
    assert judge(line) == (verdict, denied_by, fault)


@settings(deadline=None)
@given(
    st.builds(
        Line,
        status=st.integers(0, 999),
        grpc_status=st.integers(-1, 255),
        flags=st.text("UFCH,- xé", max_size=12) | st.text(max_size=8),
        details=st.sampled_from(["", "via_upstream", "rbac_access_denied_matched_policy[", "upstream_reset"])
        | st.text(max_size=30),
        termination=st.text(max_size=20),
        transport_failure=st.text(max_size=20),
        is_connection=st.booleans(),
        reached_upstream=st.booleans(),
        has_status=st.booleans(),
        has_details=st.booleans(),
    )
)
def test_any_line_has_an_outcome(line: Line) -> None:
    outcome = judge(line)
    assert outcome.verdict in ("allowed", "denied", "unknown")
    assert outcome.fault in ("none", "caller", "network", "callee", "mesh", "unknown")
    assert not outcome.denied_by or outcome.verdict == "denied"
