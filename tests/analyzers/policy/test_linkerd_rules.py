"""Linkerd's rules one by one, with outcomes written by hand from the description: for engine and reference alike."""

from __future__ import annotations

from typing import Any

import pytest

from analyzers.policy.linkerd.model import Settings
from analyzers.policy.workloads import Cluster, Workload
from storage.engine import Engine
from tests.analyzers.policy.linkerd_documents import (
    ALLOWED,
    BY_URI,
    BY_WEB,
    CALL,
    DEFAULT,
    DENIED,
    DENYING,
    ID,
    IDENTITY_PORTS,
    NO_PORT,
    PLAINTEXT,
    SERVER,
    SPIFFE,
    STRANGER,
    WEB,
    WEB_CLIENTS,
    WEB_ONLY,
    authorization,
    clients,
    document,
    judged,
    networks,
    policy,
    read,
    server,
)

BY_WEB_IN_PODS = "\n---\n".join(
    [
        policy("let-web", "Server api", "MeshTLSAuthentication web", "NetworkAuthentication pods"),
        WEB_CLIENTS,
    ]
)

# Which policy governs a port.


@pytest.mark.parametrize(
    ("texts", "call", "expected"),
    [
        # No Server: the default policy, which lets everybody in.
        ([], PLAINTEXT, "allow"),
        # A Server alone denies, on its port.
        ([SERVER], CALL, DENIED),
        ([SERVER], {**CALL, "destination_port": 9990}, "allow"),
        ([server(spec="podSelector: {}, port: http")], CALL, DENIED),
        ([server(spec="podSelector: {}, port: admin")], CALL, "allow"),
        ([server(spec="podSelector: {}, port: metrics")], CALL, "allow"),
        ([server(spec='podSelector: {}, port: "8080"')], CALL, "allow"),
        ([server(spec="podSelector: {matchLabels: {app: other}}, port: 8080")], CALL, "allow"),
        ([server(spec="externalWorkloadSelector: {}, port: 8080")], CALL, "allow"),
        ([server(namespace="bank")], CALL, "allow"),
        # accessPolicy lets in beside the authorizations.
        (
            [server(spec="podSelector: {}, port: 8080, accessPolicy: audit")],
            STRANGER,
            "allow shop/api: accessPolicy audit",
        ),
        (
            [server(spec="podSelector: {}, port: 8080, accessPolicy: all-authenticated")],
            CALL,
            "allow shop/api: accessPolicy all-authenticated",
        ),
        ([server(spec="podSelector: {}, port: 8080, accessPolicy: all-authenticated")], PLAINTEXT, DENIED),
        ([server(spec="podSelector: {}, port: 8080, accessPolicy: all-authenticated")], BY_URI, DENIED),
        (
            [server(spec="podSelector: {}, port: 8080, accessPolicy: cluster-unauthenticated")],
            PLAINTEXT,
            "allow shop/api: accessPolicy cluster-unauthenticated",
        ),
        ([server(spec="podSelector: {}, port: 8080, accessPolicy: cluster-unauthenticated")], STRANGER, DENIED),
        # The pod itself is always let in.
        ([SERVER], {**PLAINTEXT, "source_ip": "127.0.0.1"}, "allow"),
        ([SERVER], {**PLAINTEXT, "source_ip": "127.0.0.2"}, DENIED),
        ([SERVER], {**PLAINTEXT, "source_ip": None}, "unknown"),
    ],
)
def test_what_governs_a_port(engine: Engine, texts: list[str], call: dict[str, Any], expected: str) -> None:
    assert judged(engine, read(*texts), call) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"name": "a"}, {"name": "b"}, "deny shop/a: no authorization"),
        (
            {"name": "a", "creationTimestamp": "2026-02-01T00:00:00Z"},
            {"name": "b", "creationTimestamp": "2026-01-01T00:00:00+00:00"},
            "deny shop/b: no authorization",
        ),
        ({"name": "a"}, {"name": "b", "creationTimestamp": "2026-01-01T00:00:00Z"}, "deny shop/b: no authorization"),
    ],
)
def test_of_overlapping_servers_the_oldest_governs(
    engine: Engine, first: dict[str, str], second: dict[str, str], expected: str
) -> None:
    documents = read(*(server(**one) for one in (first, second)))
    assert judged(engine, documents, CALL) == expected
    assert judged(engine, documents[::-1], CALL) == expected


@pytest.mark.parametrize(
    ("pod", "namespace", "setting", "call", "expected"),
    [
        ({}, {}, "deny", CALL, "deny"),
        ({}, {DEFAULT: "deny"}, "audit", CALL, "deny"),
        ({DEFAULT: "all-unauthenticated"}, {DEFAULT: "deny"}, "deny", STRANGER, "allow"),
        ({DEFAULT: "all-authenticated"}, {}, "deny", CALL, "allow"),
        ({DEFAULT: "all-authenticated"}, {}, "deny", PLAINTEXT, "deny"),
        ({DEFAULT: "all-authenticated"}, {}, "deny", BY_URI, "deny"),
        ({DEFAULT: "cluster-authenticated"}, {}, "deny", CALL, "allow"),
        ({DEFAULT: "cluster-authenticated"}, {}, "deny", {**CALL, "source_ip": "203.0.113.9"}, "deny"),
        ({DEFAULT: "cluster-unauthenticated"}, {}, "deny", {**PLAINTEXT, "source_ip": "fd12::1"}, "allow"),
        ({DEFAULT: "cluster-unauthenticated"}, {}, "deny", {**PLAINTEXT, "source_ip": "2001:db8::1"}, "deny"),
        ({DEFAULT: "audit"}, {}, "deny", STRANGER, "allow"),
        # What the controller cannot read is the cluster's setting.
        ({DEFAULT: "Deny"}, {DEFAULT: "deny"}, "all-unauthenticated", STRANGER, "allow"),
        # Ports that ask for an identity.
        ({IDENTITY_PORTS: "80,8000-9000"}, {}, "all-unauthenticated", PLAINTEXT, "deny"),
        ({IDENTITY_PORTS: "80,8000-9000"}, {}, "all-unauthenticated", CALL, "allow"),
        ({IDENTITY_PORTS: "80,90"}, {}, "all-unauthenticated", PLAINTEXT, "allow"),
        ({IDENTITY_PORTS: "8080"}, {}, "audit", PLAINTEXT, "allow"),
        ({IDENTITY_PORTS: "8080"}, {}, "all-unauthenticated", NO_PORT, "allow"),
        ({IDENTITY_PORTS: "8080"}, {}, "all-unauthenticated", {**PLAINTEXT, "destination_port": None}, "unknown"),
    ],
)
def test_the_default_policy(
    engine: Engine,
    pod: dict[str, str],
    namespace: dict[str, str],
    setting: Any,
    call: dict[str, Any],
    expected: str,
) -> None:
    workload = Workload("shop", labels=({},), annotations=(pod,))
    cluster = Cluster(namespace_annotations={"shop": namespace})
    assert judged(engine, [], call, workload, cluster, Settings(setting)) == expected


def test_pods_that_differ_and_pods_that_nobody_knows(engine: Engine) -> None:
    differ = Workload("shop", labels=({},), annotations=({DEFAULT: "deny"}, {DEFAULT: "all-authenticated"}))
    assert judged(engine, [], CALL, differ) == "unknown"
    assert judged(engine, [], PLAINTEXT, differ) == "deny"
    assert judged(engine, [], CALL, Workload("shop")) == "unknown"
    # A Server of all pods, or of none of this namespace, is known all the same.
    unknown_ports = Workload("shop", labels=({},), annotations=({},))
    assert judged(engine, read(server(spec="podSelector: {}, port: http")), CALL, unknown_ports) == "unknown"


# Who is let in.


@pytest.mark.parametrize(
    ("client", "call", "allowed"),
    [
        ("unauthenticated: true", PLAINTEXT, True),
        # Without networks: the cluster's.
        ("unauthenticated: true", STRANGER, False),
        ("unauthenticated: true, networks: [{cidr: 0.0.0.0/0}]", STRANGER, True),
        ("unauthenticated: true, networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]", PLAINTEXT, False),
        (
            "unauthenticated: true, networks: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}, {cidr: 10.1.2.3}]",
            PLAINTEXT,
            True,
        ),
        ("meshTLS: {unauthenticatedTLS: true}", CALL, True),
        ("meshTLS: {unauthenticatedTLS: true}", PLAINTEXT, False),
        ("meshTLS: {unauthenticatedTLS: true}", {**CALL, "tls": "unknown"}, True),
        ("meshTLS: {unauthenticatedTLS: true}", {**CALL, "tls": "tls", "source_principal": ""}, None),
        ("meshTLS: {identities: ['*']}", CALL, True),
        ("meshTLS: {identities: ['*']}", BY_URI, False),
        (f"meshTLS: {{identities: ['*.shop.{ID}']}}", CALL, True),
        (f"meshTLS: {{identities: ['*.bank.{ID}']}}", CALL, False),
        ("meshTLS: {serviceAccounts: [{name: web}]}", CALL, True),
        ("meshTLS: {serviceAccounts: [{name: web, namespace: bank}]}", CALL, False),
        # Linkerd ignores one that says nothing of clients.
        ("networks: [{cidr: 0.0.0.0/0}]", CALL, False),
        ("meshTLS: {}", CALL, False),
    ],
)
def test_a_server_authorization(engine: Engine, client: str, call: dict[str, Any], allowed: bool | None) -> None:
    expected = {
        True: "allow shop/let: ServerAuthorization at Server api",
        False: DENIED,
        None: "unknown",
    }[allowed]
    assert judged(engine, read(SERVER, authorization("let", client)), call) == expected


def test_a_server_authorization_selects_servers_by_label(engine: Engine) -> None:
    labelled = server(labels={"tier": "front"})
    for selector, verdict in (("{matchLabels: {tier: front}}", "allow"), ("{matchLabels: {tier: back}}", "deny")):
        documents = read(labelled, authorization("let", "unauthenticated: true", f"selector: {selector}"))
        assert judged(engine, documents, CALL).split()[0] == verdict


@pytest.mark.parametrize(
    ("identities", "principal", "matches"),
    [
        (["*"], WEB, True),
        (["*"], SPIFFE, False),
        (["*.b.c"], "a.b.c", True),
        (["*.b.c"], "b.c", False),
        (["*.b.c"], "x.a.b.c", True),
        (["*.b.c"], "spiffe://td/x.b.c", False),
        (["**.c"], "a.c", False),
        (["**.c"], "**.c", True),
        (["a.*.c"], "a.b.c", False),
        (["*.*.c"], "a.b.c", False),
        (["*.*.c"], "a.*.c", True),
        ([SPIFFE], SPIFFE, True),
        ([SPIFFE], f"{SPIFFE}/x", False),
        (["a.b", "c.d"], "c.d", True),
    ],
)
def test_an_identity(engine: Engine, identities: list[str], principal: str, matches: bool) -> None:
    documents = read(SERVER, WEB_ONLY, clients("web", *identities))
    assert judged(engine, documents, {**CALL, "source_principal": principal}) == (ALLOWED if matches else DENIED)


def test_a_peer_whose_line_does_not_show_it_is_unknown(engine: Engine) -> None:
    documents = read(SERVER, BY_WEB)
    for fields in ({"source_principal": None}, {"source_principal": ""}, {"source_principal": None, "tls": "unknown"}):
        assert judged(engine, documents, {**CALL, **fields}) == "unknown"
    assert judged(engine, documents, {**PLAINTEXT, "source_principal": None}) == DENIED


@pytest.mark.parametrize(
    ("texts", "call", "expected"),
    [
        ([WEB_ONLY, WEB_CLIENTS], CALL, ALLOWED),
        ([WEB_ONLY, WEB_CLIENTS], PLAINTEXT, DENIED),
        # No authentication at all lets everybody in, from anywhere.
        ([policy("let-web", "Server api")], STRANGER, ALLOWED),
        # Without a NetworkAuthentication: from anywhere.
        ([WEB_ONLY, WEB_CLIENTS], {**CALL, "source_ip": "203.0.113.9"}, ALLOWED),
        # Authentications are required together.
        (
            [BY_WEB_IN_PODS, networks("pods", "10.1.0.0/16")],
            CALL,
            ALLOWED,
        ),
        (
            [BY_WEB_IN_PODS, networks("pods", "10.2.0.0/16")],
            CALL,
            DENIED,
        ),
        # One that does not exist voids the policy, even beside one that matches.
        (
            [policy("let-web", "Server api", "MeshTLSAuthentication web", "NetworkAuthentication pods"), WEB_CLIENTS],
            CALL,
            DENIED,
        ),
        ([WEB_ONLY], CALL, DENIED),
        ([policy("let-web", "Server api", "ServiceAccount web")], CALL, ALLOWED),
        ([policy("let-web", "Server api", "ServiceAccount report")], CALL, DENIED),
        # Targets.
        ([policy("let-web", "Namespace shop")], CALL, ALLOWED),
        ([policy("let-web", "Server other")], CALL, DENIED),
        ([policy("let-web", "HTTPRoute api")], CALL, DENIED),
        # Authorizations are ORed.
        ([policy("a", "Server api", "ServiceAccount report"), WEB_ONLY, WEB_CLIENTS], CALL, ALLOWED),
        # Unknown only where it matters.
        ([policy("let-web", "Server api", "ServiceAccount web")], {**CALL, "source_principal": None}, "unknown"),
        (
            [policy("let-web", "Server api", "ServiceAccount web"), authorization("let", "unauthenticated: true")],
            {**CALL, "source_principal": None},
            "allow shop/let: ServerAuthorization at Server api",
        ),
    ],
)
def test_an_authorization_policy(engine: Engine, texts: list[str], call: dict[str, Any], expected: str) -> None:
    assert judged(engine, read(SERVER, *texts), call) == expected


def test_a_namespace_policy_is_about_its_servers_and_not_about_other_ports(engine: Engine) -> None:
    documents = read(SERVER, policy("let-web", "Namespace shop"))
    assert judged(engine, documents, {**CALL, "destination_port": 9990}, cluster=DENYING) == "deny"


def test_namespaces_and_accounts_of_an_authentication(engine: Engine) -> None:
    refs = "{identityRefs: [{kind: Namespace, name: batch}, {kind: ServiceAccount, name: report, namespace: ops}]}"
    documents = read(SERVER, WEB_ONLY, document("MeshTLSAuthentication", "web", refs))
    for principal, expected in (
        (f"any.batch.{ID}", ALLOWED),
        (f"report.ops.{ID}", ALLOWED),
        (f"report.shop.{ID}", DENIED),
        (f"batch.{ID}", DENIED),
        ("any.batch.serviceaccount.identity.mesh.prod.example", DENIED),
    ):
        assert judged(engine, documents, {**CALL, "source_principal": principal}) == expected
    other = Settings(control_plane_namespace="mesh", trust_domain="prod.example")
    principal = "any.batch.serviceaccount.identity.mesh.prod.example"
    assert judged(engine, documents, {**CALL, "source_principal": principal}, settings=other) == ALLOWED


# Lines that do not tell the port.


def test_without_a_port_what_all_agree_on_is_known(engine: Engine) -> None:
    documents = read(SERVER, BY_WEB)
    # The Server lets web in and so does the default policy; but who it was is not known.
    assert judged(engine, documents, NO_PORT) == "allow"
    assert judged(engine, documents, {**NO_PORT, "tls": "plaintext"}) == "unknown"
    assert judged(engine, documents, NO_PORT, cluster=DENYING) == "unknown"
    assert judged(engine, documents, {**NO_PORT, "tls": "plaintext"}, cluster=DENYING) == "deny"
    two = read(SERVER, BY_WEB, server("admin", "podSelector: {}, port: 9990"))
    assert judged(engine, two, NO_PORT) == "unknown"
