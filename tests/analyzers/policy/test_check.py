"""Recorded calls judged in a store: which are judged where, by what is known of both ends, and how they are counted."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from analyzers.policy import each as listing
from analyzers.policy import judge
from analyzers.policy.check import check
from analyzers.policy.each import each
from analyzers.policy.errors import TooMuch
from analyzers.policy.policy_set import PolicySet, read_set
from analyzers.policy.store import load_set, stored_set, version_at, versions
from analyzers.policy.whatif import whatif
from collector.inventory import load
from storage.engine import Engine
from tests.analyzers.records import T0, at, call, insert_calls

WEB = "spiffe://cluster.local/ns/shop/sa/web"
ANYBODY = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: %s, namespace: %s}, spec: %s}"


def policies(*texts: str) -> PolicySet:
    """A set of documents, each in YAML's flow style."""
    return read_set({"p.yaml": "\n---\n".join(texts).encode()})


def authorization(name: str, spec: str, namespace: str = "shop") -> str:
    return ANYBODY % (name, namespace, spec)


def peers(mode: str, namespace: str = "istio-system", spec: str = "") -> str:
    return (
        f"{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, "
        f"metadata: {{name: default, namespace: {namespace}}}, spec: {{mtls: {{mode: {mode}}}{spec}}}}}"
    )


ONLY_WEB = authorization("only-web", "{rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]}]}")
NOBODY = authorization("nobody", "{}")


def line(seconds: float, **fields: Any) -> dict[str, Any]:
    """A callee's line of a call from `web` to `orders`."""
    given = {
        "reporter": "destination",
        "source_namespace": "shop",
        "source_service": "web",
        "source_principal": WEB,
        "destination_namespace": "shop",
        "destination_workload": "orders",
        "destination_service": "orders",
        "destination_port": 8080,
        "method": "GET",
        "path": "/orders",
        "operation": "GET /orders",
        "tls": "mtls",
        "protocol": "http",
        "verdict": "allowed",
        "request_id": f"r{seconds:g}",
    }
    return call(seconds, **given | fields)


def pods(engine: Engine, *names: str, namespace: str = "shop", **labels: str) -> None:
    """Pods into the inventory, each its own workload with a sidecar."""
    items = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name, **labels}},
            "spec": {"serviceAccountName": name, "containers": [{"name": "app"}, {"name": "istio-proxy"}]},
            "status": {"podIP": f"10.0.0.{number}"},
        }
        for number, name in enumerate(names, 1)
    ]
    load(engine, {"pods.json": json.dumps({"kind": "List", "items": items}).encode()}, loaded_at=T0)


def said(engine: Engine, found: PolicySet | None) -> Mapping[str, tuple[str, str | None]]:
    """Verdict and policy by request id."""
    return {one.request_id: (one.verdict, one.policy) for one in each(engine, found)}


def test_a_call_is_judged_once_by_the_line_of_its_callee(engine: Engine) -> None:
    insert_calls(engine, [line(1), line(2, reporter="source", source_principal="", tls="unknown")])
    assert said(engine, policies(ONLY_WEB)) == {"r1": ("allow", "shop/only-web")}


def test_where_only_the_caller_speaks_its_line_is_judged(engine: Engine) -> None:
    insert_calls(engine, [line(2, reporter="source", source_principal="", tls="unknown", destination_workload="")])
    assert said(engine, policies(NOBODY)) == {"r2": ("deny", None)}


def test_hosts_outside_are_judged_by_nobody(engine: Engine) -> None:
    outside = {"destination_namespace": "", "destination_workload": "", "destination_service": "api.example.com"}
    insert_calls(engine, [line(1, reporter="source", direction="egress", **outside)])
    assert said(engine, policies(authorization("nobody", "{}", "istio-system"))) == {}


def test_a_callee_of_no_known_namespace_is_judged_by_nobody_knows_which_policies(engine: Engine) -> None:
    insert_calls(engine, [line(1, destination_namespace="", destination_workload="")])
    assert [(one.verdict, one.missing) for one in each(engine, policies(NOBODY))] == [
        ("unknown", ["destination_namespace"])
    ]
    # Another line knows where the only service of this name is.
    insert_calls(engine, [line(2)])
    assert said(engine, policies(NOBODY)) == {"r1": ("deny", None), "r2": ("deny", None)}


def test_callees_without_a_proxy_are_judged_by_network_policies_alone(engine: Engine) -> None:
    bare = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "orders", "namespace": "shop", "labels": {"app": "orders"}},
        "spec": {"containers": [{"name": "app"}]},
        "status": {"podIP": "10.0.0.9"},
    }
    load(engine, {"pods.json": json.dumps(bare).encode()}, loaded_at=T0)
    insert_calls(engine, [line(1, reporter="source")])
    assert said(engine, policies(NOBODY)) == {}
    closed = (
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: closed, namespace: shop}, "
        "spec: {podSelector: {}, policyTypes: [Ingress]}}"
    )
    assert said(engine, policies(NOBODY, closed)) == {"r1": ("deny", "shop/closed")}


def test_labels_are_those_of_the_inventory(engine: Engine) -> None:
    orders = authorization("orders", "{selector: {matchLabels: {app: orders}}}")
    insert_calls(engine, [line(1)])
    (unknown,) = each(engine, policies(orders))
    assert (unknown.verdict, unknown.missing) == ("unknown", ["destination_labels"])
    pods(engine, "orders")
    assert said(engine, policies(orders)) == {"r1": ("deny", None)}
    assert said(engine, policies(authorization("cart", "{selector: {matchLabels: {app: cart}}}"))) == {
        "r1": ("allow", None)
    }


def test_of_one_edge_each_call_is_judged_by_the_policies_of_its_own_mesh(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_calls(engine, [line(1, mesh="istio"), line(2, mesh="linkerd"), line(3, mesh=""), line(4, mesh="istio")])
    found = policies(NOBODY)
    expected = {"r1": ("deny", None), "r3": ("deny", None), "r4": ("deny", None)}
    for bits in (judge.MOST_BITS, 0):
        monkeypatch.setattr(judge, "MOST_BITS", bits)
        assert said(engine, found) == expected
        counted = check(engine, found)
        assert (counted.calls, counted.count("deny")) == (4, 3)
        assert (whatif(engine, found).evaluated, whatif(engine, found).deny) == (3, 3)


def test_what_a_gateway_decided_is_decided_for_the_gateway(engine: Engine) -> None:
    gateway = {
        "reporter": "gateway",
        "source_namespace": "istio-system",
        "source_workload": "edge",
        "source_service": "edge",
        "source_principal": "",
    }
    insert_calls(engine, [line(1, **gateway)])
    assert said(engine, policies(NOBODY)) == {"r1": ("allow", None)}
    edge = "{rules: [{to: [{operation: {paths: [/orders], ports: ['%s']}}]}]}"
    for port in ("8080", "8443"):  # the line tells the upstream's port
        found = each(engine, policies(authorization("edge", edge % port, "istio-system")))
        assert [(one.verdict, one.missing) for one in found] == [("unknown", ["destination_port"])]
    # Which certificates a gateway asks for, its own listeners say.
    assert said(engine, policies(peers("STRICT"))) == {"r1": ("allow", None)}


@pytest.mark.parametrize(
    ("tls", "mode", "expected"),
    [
        ("plaintext", "STRICT", "deny"),
        ("tls", "STRICT", "deny"),
        ("mtls", "STRICT", "allow"),
        ("unknown", "STRICT", "unknown"),
        ("plaintext", "PERMISSIVE", "allow"),
        ("plaintext", "DISABLE", "allow"),
        ("plaintext", "UNSET", "allow"),
    ],
)
def test_strict_peers_must_show_a_certificate(engine: Engine, tls: str, mode: str, expected: str) -> None:
    insert_calls(engine, [line(1, tls=tls, source_principal=WEB if tls == "mtls" else "")])
    assert said(engine, policies(peers(mode)))["r1"][0] == expected


def test_who_shows_a_name_showed_a_certificate(engine: Engine) -> None:
    insert_calls(engine, [line(1, tls="tls"), line(2, tls="plaintext")])
    anybody = authorization("anybody", "{rules: [{from: [{source: {principals: ['*']}}]}]}")
    strict = {"r1": "allow", "r2": "deny"}
    for found in (policies(peers("STRICT")), policies(anybody), policies(peers("STRICT"), anybody)):
        assert {name: verdict for name, (verdict, _) in said(engine, found).items()} == strict


def test_modes_are_taken_from_the_nearest_level(engine: Engine) -> None:
    insert_calls(
        engine, [line(1, tls="plaintext", source_principal=""), line(2, tls="plaintext", destination_port=9090)]
    )
    pods(engine, "orders")
    strict = peers("STRICT")
    assert said(engine, policies(strict, peers("PERMISSIVE", "shop")))["r1"] == ("allow", None)
    assert said(engine, policies(strict, peers("UNSET", "shop")))["r1"] == ("deny", "istio-system/default")
    own = ", selector: {matchLabels: {app: orders}}, portLevelMtls: {9090: {mode: PERMISSIVE}}"
    ports = policies(strict, peers("STRICT", "shop", own))
    assert said(engine, ports) == {"r1": ("deny", "shop/default"), "r2": ("allow", None)}
    other = own.replace("app: orders", "app: cart")
    assert said(engine, policies(strict, peers("PERMISSIVE", "shop", other)))["r2"] == ("deny", "istio-system/default")


def test_the_mesh_settings_are_read_from_its_config_map(engine: Engine) -> None:
    mesh = (
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: system}, "
        'data: {mesh: "rootNamespace: system\\ntrustDomain: td.example\\n"}}'
    )
    insert_calls(engine, [line(1, source_principal="spiffe://td.example/ns/shop/sa/web")])
    assert said(engine, policies(ONLY_WEB))["r1"][0] == "deny"
    assert said(engine, policies(ONLY_WEB, mesh))["r1"][0] == "allow"
    assert said(engine, policies(mesh, authorization("nobody", "{}", "system")))["r1"][0] == "deny"
    assert said(engine, policies(mesh, authorization("nobody", "{}", "istio-system")))["r1"][0] == "allow"


def test_without_a_request_authentication_there_is_no_request_principal(engine: Engine) -> None:
    asks = authorization("token", "{rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}")
    other = (
        "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: jwt, namespace: %s}, "
        "spec: {jwtRules: [{issuer: me}]}}"
    )
    insert_calls(engine, [line(1)])
    assert said(engine, policies(asks))["r1"][0] == "unknown"
    assert said(engine, policies(asks, other % "elsewhere"))["r1"][0] == "deny"
    assert said(engine, policies(asks, other % "shop"))["r1"][0] == "unknown"


def random_line(draw: random.Random, number: int) -> dict[str, Any]:
    service = draw.choice(("orders", "cart", "billing"))
    return line(
        number,
        destination_workload=service,
        destination_service=service,
        source_principal=draw.choice((WEB, WEB, "", "spiffe://cluster.local/ns/shop/sa/batch")),
        tls=draw.choice(("mtls", "mtls", "plaintext", "unknown")),
        method=draw.choice(("GET", "POST")),
        path=draw.choice(("/orders", "/orders/1?x=/admin", "/admin")),
        verdict=draw.choice(("allowed", "denied", "unknown")),
        weight=draw.choice((1, 1, 1, 3)),
        reporter=draw.choice(("destination", "destination", "unknown")),
    )


def test_counts_are_those_of_single_calls_however_they_are_grouped(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(3)
    lines = [random_line(draw, number) for number in range(400)]
    weights = {row["request_id"]: row["weight"] for row in lines}
    insert_calls(engine, lines)
    pods(engine, "orders", "cart")
    found = policies(
        ONLY_WEB,
        peers("STRICT", "shop", ", selector: {matchLabels: {app: cart}}"),
        authorization("no-admin", "{action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]}"),
    )
    expected: Counter[tuple[Any, ...]] = Counter()
    for one in each(engine, found):
        expected[one.verdict, one.policy, one.rule, tuple(one.missing), one.did] += weights[one.request_id]
    assert {key[0] for key in expected} == {"allow", "deny", "unknown"}

    def counted() -> Counter[tuple[Any, ...]]:
        return Counter(
            {
                (one.verdict, one.policy, one.rule, tuple(str(field) for field in one.missing), one.did): one.calls
                for one in check(engine, found).decided
            }
        )

    assert counted() == expected
    before = whatif(engine, found).to_document()
    for name, small in (("SHARED", 1), ("MOST_TEXT", 1), ("BITS", 3), ("MOST_BITS", 0)):
        monkeypatch.setattr(judge, name, small)
        assert counted() == expected
        after = whatif(engine, found).to_document()
        assert [{**one, "samples": []} for one in after["changes"]] == [
            {**one, "samples": []} for one in before["changes"]
        ]


def test_a_set_holds_from_its_time_until_the_next_one(engine: Engine) -> None:
    first, second = policies(ONLY_WEB), policies(NOBODY)
    assert version_at(versions(engine), at(0)) is None
    assert load_set(engine, first, at(10), at(100)).changed
    assert load_set(engine, second, at(20), at(100)).changed
    assert not load_set(engine, first, at(15), at(101)).changed  # it holds then already
    held = versions(engine)
    assert [(one.valid_from, one.valid_to > at(1e6)) for one in held] == [(at(10), False), (at(20), True)]
    insert_calls(engine, [line(5), line(10), line(19.5), line(20), line(30)])
    assert said(engine, None) == {
        "r10": ("allow", "shop/only-web"),
        "r19.5": ("allow", "shop/only-web"),
        "r20": ("deny", None),
        "r30": ("deny", None),
    }
    # Of two sets of one time the one loaded last holds; an empty one lets everybody in.
    assert load_set(engine, PolicySet(), at(20), at(102)).changed
    assert set(said(engine, None)) == {"r10", "r19.5"}
    (kept,) = stored_set(engine, held[0]).documents
    assert (kept.file, kept.line, kept.key) == ("p.yaml", 1, first.documents[0].key)
    assert kept.model == first.documents[0].model


def test_added_documents_replace_those_of_the_same_name() -> None:
    whole = policies(ONLY_WEB, NOBODY).with_documents(policies(authorization("only-web", "{rules: [{}]}")))
    assert [one.name for one in whole.documents] == ["nobody", "only-web"]
    assert whole.documents[1].model.rules[0].sources == ()


def test_a_window_is_half_open(engine: Engine) -> None:
    insert_calls(engine, [line(1), line(2), line(3)])
    found = check(engine, policies(ONLY_WEB), at(2), at(2) + timedelta(seconds=1))
    assert (found.calls, found.count("allow")) == (1, 1)
    assert check(engine, policies(ONLY_WEB), at(10), at(20)).calls == 0


def test_more_calls_than_can_be_listed_are_refused_before_they_are_read(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_calls(engine, [line(1), line(2)])
    monkeypatch.setattr(listing, "MAX_EACH", 2)
    assert len(each(engine, policies(NOBODY))) == 2
    monkeypatch.setattr(listing, "MAX_EACH", 1)
    with pytest.raises(TooMuch, match="2 calls to list, expected at most 1: narrow the window"):
        each(engine, policies(NOBODY))
    # Calls that no policy governs are not listed.
    assert len(each(engine, PolicySet())) == 0


def test_an_empty_store_has_no_verdicts(engine: Engine) -> None:
    assert check(engine, policies(ONLY_WEB)).calls == 0
    found = whatif(engine, policies(ONLY_WEB))
    assert (found.evaluated, found.coverage.first_seen, list(found.changes)) == (0, None, [])
