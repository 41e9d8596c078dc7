"""MeshSettings: what no document of a mesh says reaches the verdicts, is stored with the set, refused where wrong."""

from __future__ import annotations

import pytest

from analyzers.policy.consul.model import Peer
from analyzers.policy.each import each
from analyzers.policy.errors import BadPolicy
from analyzers.policy.fields import switch_on
from analyzers.policy.formula import Field
from analyzers.policy.lint.run import lint
from analyzers.policy.policy_set import PolicySet, read_set
from analyzers.policy.store import load_set, stored_set, stored_settings, versions
from storage.engine import Engine
from tests.analyzers.policy.test_check import line, pods, policies
from tests.analyzers.records import at, insert_calls

OURS, THEIRS = "1111-2222.consul", "3333.consul"
INTENTIONS = "{Kind: service-intentions, Name: orders, Sources: [{Name: web, Action: allow}]}"
TARGET = (
    "{apiVersion: access.smi-spec.io/v1alpha3, kind: TrafficTarget, metadata: {name: t, namespace: shop}, spec: {"
    "destination: {kind: ServiceAccount, name: orders, namespace: shop}, rules: [{kind: TCPRoute, name: any}],"
    " sources: [{kind: ServiceAccount, name: web, namespace: shop}]}}"
)
ROUTE = (
    "{apiVersion: specs.smi-spec.io/v1alpha4, kind: TCPRoute, metadata: {name: any, namespace: shop}, "
    "spec: {matches: {ports: [8080]}}}"
)
CONFIG = (
    "{apiVersion: config.openservicemesh.io/v1alpha2, kind: MeshConfig, metadata: {name: m}, "
    "spec: {traffic: {enablePermissiveTrafficPolicyMode: false}}}"
)


def told(text: str) -> str:
    return f"{{apiVersion: eastwatch/v1, kind: MeshSettings, {text}}}"


def consul(service: str, domain: str = OURS, partition: str = "") -> str:
    return f"spiffe://{domain}{partition}/ns/default/dc/dc1/svc/{service}"


def verdict(engine: Engine, found: PolicySet | None) -> tuple[str, list[str]]:
    (one,) = each(engine, found)
    return one.verdict, list(one.missing)


@pytest.mark.parametrize(
    ("settings", "principal", "expected"),
    [
        (None, consul("cron"), ("unknown", ["controller"])),
        ("consul: {}", consul("cron"), ("unknown", ["controller"])),
        ("consul: {default: deny}", consul("cron"), ("deny", [])),
        ("consul: {default: allow}", consul("cron"), ("allow", [])),
        ("consul: {default: deny}", consul("web"), ("allow", [])),
        # Whose certificate it is.
        ("consul: {default: deny}", consul("web", THEIRS), ("allow", [])),
        (f"consul: {{default: deny, trust_domain: {OURS}}}", consul("web", THEIRS), ("deny", [])),
        (
            f"consul: {{default: deny, peers: {{west: {{trust_domain: {THEIRS}}}}}}}",
            consul("web", THEIRS),
            ("deny", []),
        ),
        # Intentions of another partition are not of this one's services.
        ("consul: {default: deny, partition: billing}", consul("web"), ("deny", [])),
        # Services are in `shop`, the intention is for `default`.
        ("consul: {default: deny, namespaces: true}", consul("web"), ("deny", [])),
    ],
)
def test_what_consul_is_set_to(
    engine: Engine, settings: str | None, principal: str, expected: tuple[str, list[str]]
) -> None:
    insert_calls(engine, [line(1, mesh="consul", source_principal=principal)])
    found = policies(INTENTIONS, *([told(settings)] if settings else []))
    assert verdict(engine, found) == expected
    # A stored set is judged by the settings that it was stored with.
    load_set(engine, found, at(0), at(10))
    assert verdict(engine, None) == expected


def test_peers_have_names_and_partitions(engine: Engine) -> None:
    source = "{Name: web, Peer: west, Action: allow}"
    intentions = f"{{Kind: service-intentions, Name: orders, Sources: [{source}]}}"
    peers = f"peers: {{west: {{trust_domain: {THEIRS}, partition: far}}}}"
    found = policies(intentions, told(f"consul: {{default: deny, {peers}}}"))
    assert found.settings.consul.peers == {"west": Peer(THEIRS, "far")}
    columns = {"mesh": "consul", "protocol": "tcp"}
    insert_calls(
        engine,
        [
            line(1, source_principal=consul("web", THEIRS, "/ap/far"), **columns),
            line(2, source_principal=consul("web", THEIRS), **columns),
        ],
    )
    assert [one.verdict for one in each(engine, found)] == ["allow", "deny"]


@pytest.mark.parametrize(
    ("more", "caller", "expected"),
    [
        ([], "cron", ("unknown", ["controller"])),
        (["smi: {permissive: true}"], "cron", ("allow", [])),
        (["smi: {permissive: false}"], "cron", ("deny", [])),
        (["smi: {permissive: false}"], "web", ("allow", [])),
        (["smi: {permissive: false, trust_domain: other.local}"], "web", ("deny", [])),
        # The mesh's own document outranks what is told.
        (["smi: {permissive: true}", CONFIG], "cron", ("deny", [])),
    ],
)
def test_what_open_service_mesh_is_set_to(
    engine: Engine, more: list[str], caller: str, expected: tuple[str, list[str]]
) -> None:
    pods(engine, "orders", "web", "cron")
    columns = {"mesh": "osm", "protocol": "tcp", "source_principal": f"{caller}.shop.cluster.local"}
    insert_calls(engine, [line(1, **columns)])
    texts = [one if one == CONFIG else told(one) for one in more]
    assert verdict(engine, policies(TARGET, ROUTE, *texts)) == expected


def test_settings_alone_judge_nobody(engine: Engine) -> None:
    insert_calls(engine, [line(1, mesh="consul", source_principal=consul("web"))])
    assert len(each(engine, policies(told("consul: {default: deny}")))) == 0


def test_they_are_stored_with_the_set(engine: Engine) -> None:
    plain, with_settings = policies(INTENTIONS), policies(INTENTIONS, told("consul: {default: deny}"))
    assert load_set(engine, plain, at(0), at(10)).changed
    # The same documents under other settings are another set.
    assert load_set(engine, with_settings, at(20), at(30)).changed
    assert not load_set(engine, with_settings, at(40), at(50)).changed
    first, second = versions(engine)
    assert (stored_set(engine, first).settings, stored_set(engine, second).settings) == (
        PolicySet().settings,
        with_settings.settings,
    )
    assert stored_settings(engine, second).documents == with_settings.documents[1:]
    assert stored_settings(engine, first).documents == ()


def test_they_are_one_document_of_a_set() -> None:
    with pytest.raises(BadPolicy, match=r"^p.yaml: line 3: MeshSettings again, first in p.yaml: line 1$"):
        policies(told("consul: {default: deny}"), told("metadata: {name: b, namespace: c}"))
    before = policies(INTENTIONS, told("consul: {default: deny}"))
    after = before.with_documents(policies(told("metadata: {name: b, namespace: c}, consul: {default: allow}")))
    assert [one.kind for one in after.documents] == ["service-intentions", "MeshSettings"]
    assert after.settings.consul.allows is True
    # Those of the set itself outrank those of others.
    assert before.with_settings(policies(told("consul: {default: allow}"))) == before
    assert policies(INTENTIONS).with_settings(before).settings.consul.allows is False


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("consul: {default: maybe}", "consul.default: 'maybe', expected allow or deny"),
        ("consul: {acl: deny}", "consul.acl: unknown field, expected default, trust_domain, partition, "),
        ("istio: {}", "istio: unknown field, expected apiVersion, kind, metadata, consul or smi"),
        ("consul: {trust_domain: 'spiffe://a.consul'}", "consul.trust_domain: 'spiffe://a.consul', expected a trust"),
        ("consul: {trust_domain: A.consul}", "consul.trust_domain: 'A.consul', expected a trust domain"),
        ("consul: {partition: a/b}", "consul.partition: 'a/b', expected an admin partition's name"),
        ("consul: {peers: {west: }}", "consul.peers.west: null, expected an object"),
        ("consul: {peers: {west: {}}}", "consul.peers.west: no trust_domain, expected"),
        ("consul: {namespaces: 'true'}", "consul.namespaces: 'true', expected true or false"),
        ("smi: {permissive: 0}", "smi.permissive: 0, expected true or false"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        policies(told(text))
    assert str(refused.value).startswith(f"p.yaml: line 1: {why}")


def test_another_version_is_refused() -> None:
    with pytest.raises(BadPolicy, match=r"line 1: apiVersion: 'eastwatch/v2', expected eastwatch/v1$"):
        read_set({"p.yaml": b"{apiVersion: eastwatch/v2, kind: MeshSettings}"})


def test_what_is_missing_names_them() -> None:
    hint = switch_on(Field.CONTROLLER)
    assert all(name in hint for name in ("MeshSettings", "[policies.consul]", "[policies.smi]", "eastwatch.toml"))
    assert len(hint) <= 160  # what tables print of it


def test_lint_says_that_permissive_mode_makes_targets_void() -> None:
    for more, expected in (
        (["smi: {permissive: true}"], ["permissive-mode"]),
        (["smi: {permissive: false}"], []),
    ):
        found = lint(policies(TARGET, ROUTE, *map(told, more)))
        assert [one.check for one in found.remarks if one.check == "permissive-mode"] == expected
