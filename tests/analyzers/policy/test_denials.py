"""The ledger of denials: every form of a refusal by hand, and what counts once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from analyzers.policy import denials as ledger_module
from analyzers.policy.denials import Denial, denials
from analyzers.policy.refusers import Refuser, provider, refuser
from collector.inventory import load
from storage.engine import Engine
from tests.analyzers.policy import denial_lines as lines
from tests.analyzers.policy.denial_lines import IPS, consul_id, linkerd_id, spiffe
from tests.analyzers.policy.denial_store import ISTIO, RBAC, at, ingested, pods, stock
from tests.analyzers.records import at as moment
from tests.analyzers.records import call, insert_calls
from tests.collector.decode.proxy_samples import GCP_LABELS, GCP_RECORD, KONG_RECORD
from tests.collector.decode.samples import EXT_AUTHZ, JWT


def brief(found: Iterable[Denial]) -> list[tuple[Any, ...]]:
    """Who, by whom, why and how often."""
    return [
        (
            one.source,
            one.destination,
            one.principal,
            one.kind,
            one.policy_namespace,
            one.policy,
            one.rule,
            one.reason,
            one.operation,
            one.calls,
        )
        for one in found
    ]


# Every form, by hand.

NO_ALLOW = (None, None, None, "no_allow")
FORMS: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "istio json, a rule": (
        lines.istio_json(at(1), "web", "api", RBAC.format(ISTIO)),
        ("shop/web", "shop/api", spiffe("web"), "rbac", "shop", "api-callers", "2", None, "GET /admin", 1),
    ),
    "istio json, no rule allows": (
        lines.istio_json(at(1), "web", "api", RBAC.format("none")),
        ("shop/web", "shop/api", spiffe("web"), "rbac", *NO_ALLOW, "GET /admin", 1),
    ),
    "an old Envoy names nothing": (
        lines.istio_json(at(1), "web", "api", "rbac_access_denied"),
        ("shop/web", "shop/api", spiffe("web"), "rbac", None, None, None, None, "GET /admin", 1),
    ),
    "a broken CUSTOM policy": (
        lines.istio_json(at(1), "web", "api", RBAC.format("default-deny-all-due-to-bad-CUSTOM-action")),
        (
            "shop/web",
            "shop/api",
            spiffe("web"),
            "rbac",
            None,
            "default-deny-all-due-to-bad-CUSTOM-action",
            None,
            None,
            "GET /admin",
            1,
        ),
    ),
    "istio text, the caller by its address": (
        lines.istio_text(at(1), "web", "api", RBAC.format(ISTIO), "r-1"),
        ("shop/web", "shop/api", None, "rbac", "shop", "api-callers", "2", None, "GET /admin", 1),
    ),
    "istio tcp": (
        lines.istio_tcp(at(1), "web", "db", RBAC.format("ns[shop]-policy[db]-rule[0]")),
        ("shop/web", "shop/db", spiffe("web"), "rbac", "shop", "db", "0", None, None, 1),
    ),
    "istio tcp, no rule allows": (
        lines.istio_tcp(at(1), "web", "db", RBAC.format("none")),
        ("shop/web", "shop/db", spiffe("web"), "rbac", *NO_ALLOW, None, 1),
    ),
    "jwt": (
        lines.istio_json(
            at(1), "web", "api", "jwt_authn_access_denied{Jwt_issuer_is_not_configured}", response_code=401
        ),
        (
            "shop/web",
            "shop/api",
            spiffe("web"),
            "jwt",
            None,
            None,
            None,
            "Jwt_issuer_is_not_configured",
            "GET /admin",
            1,
        ),
    ),
    "ext_authz": (
        lines.istio_json(at(1), "web", "api", "ext_authz_denied", response_flags="UAEX"),
        ("shop/web", "shop/api", spiffe("web"), "ext_authz", None, None, None, None, "GET /admin", 1),
    ),
    "ext_authz that cannot be asked": (
        lines.istio_json(at(1), "web", "api", "ext_authz_error", response_flags="UAEX"),
        ("shop/web", "shop/api", spiffe("web"), "ext_authz", None, None, None, "error", "GET /admin", 1),
    ),
    "ext_authz by its policy": (
        lines.istio_json(at(1), "web", "api", RBAC.format(f"istio-ext-authz-opa-{ISTIO}")),
        ("shop/web", "shop/api", spiffe("web"), "ext_authz", "shop", "api-callers", "2", None, "GET /admin", 1),
    ),
    "ztunnel, a DENY": (
        lines.ztunnel(
            at(1), "web", "db", "connection closed due to policy rejection: explicitly denied by: shop/no-web"
        ),
        ("shop/web", "shop/db", spiffe("web"), "ztunnel", "shop", "no-web", None, None, None, 1),
    ),
    "ztunnel, none allowed": (
        lines.ztunnel(
            at(1), "web", "db", "connection closed due to policy rejection: allow policies exist, but none allowed"
        ),
        ("shop/web", "shop/db", spiffe("web"), "ztunnel", *NO_ALLOW, None, 1),
    ),
    "ztunnel, an open connection is cut": (
        lines.ztunnel(at(1), "web", "db", "connection closed due to policy change"),
        ("shop/web", "shop/db", spiffe("web"), "ztunnel", None, None, None, "policy_changed", None, 1),
    ),
    "ztunnel, a stranger": (
        lines.ztunnel(at(1), "web", "db", "connection closed due to policy rejection: workload mismatch"),
        ("shop/web", "shop/db", spiffe("web"), "ztunnel", None, None, None, "workload_mismatch", None, 1),
    ),
    "ztunnel, at the caller only": (
        lines.ztunnel(at(1), "web", "db", "http status: 401 Unauthorized", "outbound"),
        ("shop/web", "shop/db", spiffe("web"), "ztunnel", None, None, None, None, None, 1),
    ),
    "linkerd's access log": (
        lines.linkerd_access(at(1), "web", "api"),
        ("shop/web", "shop/api", linkerd_id("web"), "linkerd", None, None, None, None, "GET /admin", 1),
    ),
    "linkerd's log, by a server": (
        lines.linkerd_policy(at(1), "web", "api"),
        ("shop/web", "shop/api", linkerd_id("web"), "linkerd", "shop", "server/api-http", None, "no_allow", None, 1),
    ),
    "linkerd's log, by a route": (
        lines.linkerd_policy(at(1), "web", "api", route="admin"),
        (
            "shop/web",
            "shop/api",
            linkerd_id("web"),
            "linkerd",
            "shop",
            "server/api-http",
            "httproute/admin",
            "no_allow",
            None,
            1,
        ),
    ),
    "linkerd's log, a connection": (
        lines.linkerd_policy(at(1), "web", "api", message="Connection denied"),
        ("shop/web", "shop/api", linkerd_id("web"), "linkerd", "shop", "server/api-http", None, "no_allow", None, 1),
    ),
    "linkerd's log, an open connection is cut": (
        lines.linkerd_policy(at(1), "web", "api", message="Connection terminated due to policy change"),
        (
            "shop/web",
            "shop/api",
            linkerd_id("web"),
            "linkerd",
            "shop",
            "server/api-http",
            None,
            "policy_changed",
            None,
            1,
        ),
    ),
    "consul, an intention with permissions": (
        lines.consul(at(1), "web", "api", "consul-intentions-layer7-3", "r-1"),
        ("web", "shop/api", consul_id("web"), "consul", None, "consul-intentions-layer7", "3", None, "GET /admin", 1),
    ),
    "consul, an intention": (
        lines.consul(at(1), "web", "api", "consul-intentions-layer4", "r-1"),
        ("web", "shop/api", consul_id("web"), "consul", None, "consul-intentions-layer4", None, None, "GET /admin", 1),
    ),
    "consul, no intention allows": (
        lines.consul(at(1), "web", "api", "none", "r-1"),
        ("web", "shop/api", consul_id("web"), "consul", *NO_ALLOW, "GET /admin", 1),
    ),
    "cilium": (
        lines.hubble(at(1), "web", "db", ingress_denied_by=[{"name": "db", "namespace": "shop"}]),
        ("shop/web", "shop/db", None, "network", "shop", "db", None, "POLICY_DENIED", None, 1),
    ),
    "cilium, no policy named": (
        lines.hubble(at(1), "web", "db", "AUTH_REQUIRED"),
        ("shop/web", "shop/db", None, "network", None, None, None, "AUTH_REQUIRED", None, 1),
    ),
    "calico": (
        lines.calico(at(1), "web", "db", 7, "shop/default.deny-db"),
        ("shop/web", "shop/db", None, "network", "shop", "default.deny-db", "1", None, None, 7),
    ),
    "stated by the source itself": (
        json.dumps(
            {"ts": "2026-03-02T10:00:01Z", "source_namespace": "shop", "source_service": "web", "verdict": "denied"}
            | {"destination_namespace": "shop", "destination_service": "db", "denied_by": "the firewall"}
        ),
        ("shop/web", "shop/db", None, "other", None, "the firewall", None, None, None, 1),
    ),
    "stated without a name": (
        json.dumps(
            {"ts": "2026-03-02T10:00:01Z", "source_namespace": "shop", "source_service": "web", "verdict": "denied"}
            | {"destination_namespace": "shop", "destination_service": "db"}
        ),
        ("shop/web", "shop/db", None, "unnamed", None, None, None, None, None, 1),
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_form_of_refusal(engine: Engine, name: str) -> None:
    line, expected = FORMS[name]
    if "address" in name:
        stock(engine, "web", "api")
    ingested(engine, [line])
    (found,) = denials(engine)
    assert brief([found]) == [expected]
    assert (found.first_seen, found.last_seen, found.hours, found.minutes) == (at(1), at(1), 1, 1)
    assert not found.dry_run


def test_gateways_and_other_logs_tell_of_refusals(engine: Engine) -> None:
    audit = {**GCP_LABELS, "response_details": "AuthzDenied", "policy_name": "shop.api.v1", "policy_rule": "4"}
    google = {**GCP_RECORD, "labels": audit, "httpRequest": {**GCP_RECORD["httpRequest"], "status": 403}}
    again = {**google, "logName": "projects/p/logs/server-istio-audit-log"}
    kong = {**KONG_RECORD, "tries": [], "response": {**KONG_RECORD["response"], "status": 401}}
    ingested(engine, [JWT, EXT_AUTHZ, json.dumps(google), json.dumps(again), json.dumps(kong)])
    found = {one.destination: one for one in denials(engine)}
    told = {
        name: (one.kind, one.policy_namespace, one.policy, one.rule, one.reason, one.calls)
        for name, one in found.items()
    }
    assert told == {
        "istioinaction/webapp": ("jwt", None, None, None, "Jwt_issuer_is_not_configured", 1),
        "foo/dummy-svc-app": ("ext_authz", None, None, None, None, 1),
        "istio-bookinfo-1-68819/productpage": ("rbac", "shop", "api.v1", "4", None, 1),
        "external:httpbin.konghq.com": ("unnamed", None, None, None, None, 1),
    }
    assert found["istioinaction/webapp"].request_ids == ["b6d14c77-0000-4000-8000-000000000000"]


def test_the_provider_of_an_external_authorization(engine: Engine) -> None:
    ingested(engine, [FORMS["ext_authz by its policy"][0], FORMS["ext_authz"][0]])
    assert {(one.policy, one.provider) for one in denials(engine)} == {("api-callers", "opa"), (None, None)}


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (RBAC.format(ISTIO), ("rbac", "shop", "api-callers", "2", None)),
        (RBAC.format("none"), ("rbac", None, None, None, "no_allow")),
        ("jwt_authn_access_denied{Jwt_is_missing}", ("jwt", None, None, None, "Jwt_is_missing")),
        ("", ("unnamed", None, None, None, None)),
    ],
)
@pytest.mark.parametrize("stated", [{}, {"denied_by": ""}, {"denied_by": None}])
def test_a_stated_refusal_has_the_policy_of_its_details(
    engine: Engine, details: str, expected: tuple[Any, ...], stated: dict[str, Any]
) -> None:
    stated = {"ts": lines.rfc3339(at(1)), "verdict": "denied", "destination_service": "api", **stated}
    ingested(engine, [json.dumps({**stated, "mesh": "istio", "status": 403, "response_details": details})])
    (one,) = denials(engine)
    assert (one.kind, one.policy_namespace, one.policy, one.rule, one.reason) == expected


def test_a_stated_policy_stands_beside_other_details(engine: Engine) -> None:
    said = {"destination_service": "api", "verdict": "denied", "denied_by": "mine", "mesh": "istio"}
    ingested(
        engine, [json.dumps({"ts": lines.rfc3339(at(1)), **said, "response_details": "jwt_authn_access_denied{x}"})]
    )
    (one,) = denials(engine)
    assert one.policy == "mine"


# What counts once.


def test_both_sides_of_a_refused_call_are_one(engine: Engine) -> None:
    refused = "connection closed due to policy rejection: explicitly denied by: shop/no-web"
    both = [
        lines.ztunnel(at(1), "web", "db", refused),
        lines.ztunnel(at(1), "web", "db", "http status: 401 Unauthorized", "outbound"),
        lines.istio_json(at(2), "web", "api", RBAC.format(ISTIO), request_id="r-1"),
        lines.istio_source(at(2), "web", "api", request_id="r-1"),
    ]
    silent = lines.ztunnel(at(4000), "web", "db", "http status: 401 Unauthorized", "outbound")
    ingested(engine, [*both, silent])
    assert {(one.destination, one.policy, one.calls, one.first_seen) for one in denials(engine)} == {
        ("shop/db", "no-web", 1, at(1)),
        ("shop/db", None, 1, at(4000)),  # an hour in which the callee's side tells of none
        ("shop/api", "api-callers", 1, at(2)),
    }


def test_linkerds_two_logs_tell_of_the_same_requests(engine: Engine) -> None:
    both = [
        write(at(second), "web", "api")
        for second in (1, 2, 3)
        for write in (lines.linkerd_access, lines.linkerd_policy)
    ]
    without = [lines.linkerd_access(at(10), "cron", "api"), lines.linkerd_access(at(3700), "web", "api")]
    ingested(engine, [*both, *without])
    assert {(one.source, one.policy, one.operation, one.calls) for one in denials(engine)} == {
        ("shop/web", "server/api-http", None, 3),
        ("shop/web", None, "GET /admin", 1),
        ("shop/cron", None, "GET /admin", 1),
    }


def test_what_was_let_pass_is_no_denial(engine: Engine) -> None:
    ingested(
        engine,
        [
            lines.istio_json(at(1), "web", "api", "via_upstream", upstream_host="127.0.0.1:80"),
            lines.istio_source(at(1), "web", "api"),
            lines.linkerd_access(at(1), "web", "api", response_bytes="19"),
            lines.hubble(at(1), "web", "db", "INVALID_SOURCE_IP"),
            lines.ztunnel(at(1), "web", "db", "connection failed: Connection refused (os error 111)"),
        ],
    )
    assert denials(engine) == []


def test_a_waypoints_own_identity_may_be_what_is_refused(engine: Engine) -> None:
    """ztunnel sees the waypoint as the caller: a policy that names only the real callers refuses all of them."""
    error = "connection closed due to policy rejection: allow policies exist, but none allowed"
    line = lines.ztunnel(
        at(1), "web", "db", error, **{"src.identity": spiffe("waypoint"), "src.workload": "waypoint-5567b86c58-jtj8k"}
    )
    ingested(engine, [line])
    (found,) = denials(engine)
    assert (found.source, found.principal, found.kind, found.reason) == (
        *("shop/waypoint", spiffe("waypoint")),
        *("ztunnel", "no_allow"),
    )


# Windows, filters, times, samples.


def test_window_and_filters(engine: Engine) -> None:
    stream = [
        lines.istio_json(at(second), source, destination, RBAC.format(ISTIO), request_id=f"r-{second}")
        for second, source, destination in (
            *((0, "web", "api"), (59, "web", "api"), (60, "web", "api"), (7300, "web", "api")),
            *((5, "cron", "api"), (6, "cron", "db")),
        )
    ]
    ingested(engine, stream)
    (most, *_) = denials(engine)
    assert (most.source, most.calls, most.hours, most.minutes) == ("shop/web", 4, 2, 3)
    assert (most.first_seen, most.last_seen) == (at(0), at(7300))
    assert most.request_ids == ["r-0", "r-59", "r-60", "r-7300"]
    assert [one.calls for one in denials(engine, at(59), at(7300), service="web")] == [2]
    assert [one.calls for one in denials(engine, until=at(0))] == []
    assert {one.destination for one in denials(engine, service="shop/db")} == {"shop/db"}
    assert {one.source for one in denials(engine, service="cron")} == {"shop/cron"}
    assert denials(engine, namespace="shop") == denials(engine)
    assert denials(engine, namespace="elsewhere") == [] == denials(engine, service="nothing")


def test_samples_are_bounded_and_the_earliest(engine: Engine) -> None:
    stream = [
        lines.istio_json(at(s), "web", "api", RBAC.format("none"), request_id=f"r-{s:03}") for s in range(90, 0, -1)
    ]
    ingested(engine, [*stream, lines.istio_json(at(0), "web", "api", RBAC.format("none"), request_id="")])
    (found,) = denials(engine)
    assert (found.calls, found.request_ids) == (91, [f"r-{s:03}" for s in range(1, 6)])


def test_the_number_of_entries_is_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "ROW_LIMIT", 2)
    stream = [
        lines.istio_json(at(s), "web", "api", RBAC.format(f"ns[shop]-policy[p{policy}]-rule[0]"))
        for policy in range(5)
        for s in range(policy + 1)
    ]
    ingested(engine, stream)
    assert [(one.policy, one.calls) for one in denials(engine)] == [("p4", 5), ("p3", 4)]


def test_names_are_those_of_the_time_of_the_call(engine: Engine) -> None:
    """A pod's address goes to another pod: each refusal is of who had it then."""
    moved = json.loads(pods("web")["pods.json"])
    later = json.loads(json.dumps(moved["items"][0]))
    later["metadata"] = {"name": "cron", "namespace": "shop", "labels": {"app": "cron"}}
    later["spec"]["serviceAccountName"] = "cron"
    later["status"]["startTime"] = at(100).isoformat()
    stock(engine, "web", "api")
    load(engine, {"later.json": json.dumps({"kind": "List", "items": [later]}).encode()}, loaded_at=at(120))
    ingested(engine, [lines.istio_text(at(s), "web", "api", RBAC.format("none"), f"r-{s}") for s in (50, 150)])
    assert [(one.source, one.request_ids) for one in sorted(denials(engine), key=lambda one: one.first_seen)] == [
        ("shop/web", ["r-50"]),
        ("shop/cron", ["r-150"]),
    ]


def test_a_caller_that_nobody_knows_is_unknown(engine: Engine) -> None:
    ingested(engine, [lines.istio_text(at(s), name, "api", RBAC.format("none"), "r") for s, name in enumerate(IPS)])
    assert [(one.source, one.calls) for one in denials(engine)] == [("unknown", len(IPS))]


def test_rollups_that_are_gone_hide_nothing(engine: Engine) -> None:
    ingested(engine, [FORMS["istio json, a rule"][0]])
    expected = denials(engine)
    engine.execute("TRUNCATE TABLE edges_1h")
    assert denials(engine) == expected and len(expected) == 1


# Policies on trial.

SHADOW = "istio_dry_run_allow_shadow_engine_result"
ON_TRIAL: Sequence[tuple[Mapping[str, Any], tuple[Any, ...]]] = (
    ({SHADOW: "denied"}, (None, None, None, "no_allow")),
    (
        {"istio_dry_run_deny_shadow_engine_result": "denied"}
        | {"istio_dry_run_deny_shadow_effective_policy_id": "ns[shop]-policy[x]-rule[1]"},
        ("shop", "x", "1", None),
    ),
    ({"rbac": {SHADOW: "denied", "other": 1}}, (None, None, None, "no_allow")),
    ({f"experimental.envoy.filters.http.rbac[{SHADOW}]": "denied"}, (None, None, None, "no_allow")),
)


@pytest.mark.parametrize(("keys", "expected"), ON_TRIAL)
def test_what_a_policy_on_trial_would_refuse(
    engine: Engine, keys: Mapping[str, Any], expected: tuple[Any, ...]
) -> None:
    passed = lines.istio_json(at(1), "web", "api", "via_upstream", response_code=200, upstream_host="127.0.0.1:80")
    ingested(
        engine, [json.dumps({**json.loads(passed), **keys}), lines.istio_json(at(2), "web", "api", RBAC.format(ISTIO))]
    )
    assert [one.dry_run for one in denials(engine)] == [False]
    (found,) = [one for one in denials(engine, dry_run=True) if one.dry_run]
    assert (found.policy_namespace, found.policy, found.rule, found.reason) == expected
    assert (found.calls, found.first_seen) == (1, at(1))


def test_other_words_of_filters_are_no_trial(engine: Engine) -> None:
    passed = json.loads(lines.istio_json(at(1), "web", "api", "via_upstream", response_code=200))
    passed["upstream_host"] = "127.0.0.1:80"
    for keys in (
        {SHADOW: "allowed"},
        {"istio_ext_authz_abc_shadow_engine_result": "denied"},  # says that the authorizer is to be asked
        {"x_header": f'{{"{SHADOW}":"denied"}}'},  # a caller's text
        {"rbac": "shadow_engine_result: denied"},
    ):
        ingested(engine, [json.dumps({**passed, **keys})])
    assert denials(engine, dry_run=True) == []


def test_a_refused_call_may_fail_a_trial_too(engine: Engine) -> None:
    line = json.loads(lines.istio_json(at(1), "web", "api", RBAC.format(ISTIO)))
    ingested(engine, [json.dumps({**line, SHADOW: "denied"})])
    assert [one.dry_run for one in denials(engine)] == [False]
    assert sorted(one.dry_run for one in denials(engine, dry_run=True)) == [False, True]


def test_trials_of_linkerd_and_google(engine: Engine) -> None:
    audited = lines.linkerd_policy(
        at(1), "web", "api", message="Request allowed", behind=" authz.group= authz.kind=default authz.name=audit"
    )
    labels = {
        **GCP_LABELS,
        "dry_run_result": "AuthzDenied",
        "dry_run_policy_name": "shop.api.v1",
        "dry_run_policy_rule": "0",
    }
    ingested(engine, [audited, json.dumps({**GCP_RECORD, "labels": labels})])
    assert denials(engine) == []
    assert {
        (one.kind, one.policy_namespace, one.policy, one.rule, one.dry_run) for one in denials(engine, dry_run=True)
    } == {
        ("linkerd", "shop", "server/api-http", None, True),
        ("rbac", "shop", "api.v1", "0", True),
    }


# What `denied_by` names.


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("rbac", "ns[a]-policy[b]-rule[0]", Refuser("a", "b", "0")),
        ("rbac", "ns[a]-policy[b]", Refuser("a", "b")),
        ("rbac", "none", Refuser()),
        ("rbac", "", Refuser()),
        ("rbac", "whitelist", Refuser(None, "whitelist")),
        ("rbac", "ns[a]-policy[b]-rule[0]]", Refuser(None, "ns[a]-policy[b]-rule[0]]")),
        ("jwt", "jwt_authn", Refuser()),
        ("ext_authz", "ext_authz", Refuser()),
        ("ext_authz", "ext_authz:opa", Refuser()),
        ("ext_authz", "ext_authz:opa ns[a]-policy[b]-rule[0]", Refuser("a", "b", "0")),
        ("ztunnel", "a/b", Refuser("a", "b")),
        ("network", "a/b,c/d", Refuser(None, "a/b,c/d")),
        ("network", "cluster-wide", Refuser(None, "cluster-wide")),
        ("network", "default.knp", Refuser(None, "default.knp")),
        ("network", "default.knp rule 3", Refuser(None, "default.knp", "3")),
        ("network", "shop/default.db rule 0", Refuser("shop", "default.db", "0")),
        ("other", "a/b", Refuser(None, "a/b")),
        ("consul", "consul-intentions-layer7-12", Refuser(None, "consul-intentions-layer7", "12")),
        ("linkerd", "default/deny", Refuser(None, "default/deny")),
        ("linkerd", "server/a httproute/b", Refuser(None, "server/a", "httproute/b")),
    ],
)
def test_what_a_text_names(kind: str, text: str, expected: Refuser) -> None:
    assert refuser(kind, text) == expected


def test_the_providers_name() -> None:
    assert provider("ext_authz:opa ns[a]-policy[b]-rule[0]") == "opa"
    assert (provider("ext_authz"), provider("")) == (None, None)


def test_an_entry_is_a_document() -> None:
    entry = Denial(
        "a/b", "c/d", None, "rbac", "c", "p", "0", None, None, "GET /", False, 2, 1, 1, moment(0), moment(1), ("r",)
    )
    assert entry.to_document() == {
        "source": "a/b", "destination": "c/d", "principal": None, "kind": "rbac", "policy_namespace": "c",
        "policy": "p", "rule": "0", "reason": None, "provider": None, "operation": "GET /", "dry_run": False,
        "calls": 2, "hours": 1, "minutes": 1, "first_seen": "2026-01-01T10:00:00Z", "last_seen": "2026-01-01T10:00:01Z",
        "request_ids": ["r"],
    }  # fmt: skip


def test_hostile_texts_are_only_texts(engine: Engine) -> None:
    text = "\x1b[31m'; DROP TABLE calls; -- ns[a]-policy[{x:String}] \\ \0 " + "x" * 10_000
    common = {"source_service": text[:300], "destination_service": "api", "destination_namespace": "shop"}
    insert_calls(engine, [call(1, verdict="denied", denied_by=text, operation=text, reporter="destination", **common)])
    (found,) = denials(engine)
    assert (found.policy, found.operation, found.kind) == (text, text, "other")
