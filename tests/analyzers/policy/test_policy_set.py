"""Sets of policies: which documents are one and the same, and which stand beside each other."""

from __future__ import annotations

import pytest

from analyzers.policy.engines import ENGINES
from analyzers.policy.errors import BadPolicy
from analyzers.policy.policy_set import PolicySet, read_set
from analyzers.policy.settings_document import KINDS as SETTINGS_KINDS
from analyzers.policy.versions import VERSIONS

GATEWAY, LINKERD = "gateway.networking.k8s.io", "policy.linkerd.io"


def route(group: str, version: str, path: str = "/") -> str:
    return (
        f"apiVersion: {group}/{version}\nkind: HTTPRoute\nmetadata: {{name: r, namespace: shop}}\n"
        f"spec: {{parentRefs: [{{group: {LINKERD}, kind: Server, name: api}}],"
        f" rules: [{{matches: [{{path: {{value: {path}}}}}]}}]}}\n"
    )


def peers(spec: str) -> str:
    return f"apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p}}\nspec: {spec}\n"


def policies(*texts: str) -> PolicySet:
    return read_set({"p.yaml": "---\n".join(texts).encode()})


def test_documents_of_two_groups_are_two() -> None:
    found = policies(route(GATEWAY, "v1"), route(LINKERD, "v1beta3"))
    assert [(one.engine, *one.key) for one in found.documents] == [
        ("linkerd", "linkerd", group, "HTTPRoute", "shop", "r") for group in (GATEWAY, LINKERD)
    ]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_versions_of_one_document_are_one(version: str) -> None:
    with pytest.raises(BadPolicy, match=r"p.yaml: line 6: HTTPRoute shop/r again, first in p.yaml: line 1$"):
        policies(route(GATEWAY, "v1"), route(GATEWAY, version))


def test_documents_that_are_added_replace_those_of_their_group() -> None:
    before = policies(route(GATEWAY, "v1", "/a"), route(LINKERD, "v1beta3", "/b"))
    after = before.with_documents(policies(route(GATEWAY, "v1beta1", "/c")))
    assert [one.model for one in after.documents] == [
        before.documents[1].model,
        policies(route(GATEWAY, "v1", "/c")).documents[0].model,
    ]


@pytest.mark.parametrize("port", ["010", "0x50", "08", "'080'", "'٨٠'", "8_0"])
def test_ports_of_peer_authentications_are_plain_digits(port: str) -> None:
    with pytest.raises(BadPolicy, match=r"line 4: spec.portLevelMtls"):
        policies(peers(f"{{selector: {{matchLabels: {{a: b}}}}, portLevelMtls: {{{port}: {{mode: STRICT}}}}}}"))


@pytest.mark.parametrize(
    "spec", ["{selector: {matchLabels: {a: }}}", "{selector: {matchLabels: {a: b}}, portLevelMtls: {80: }}"]
)
def test_what_is_null_in_a_peer_authentication_is_not_left_out(spec: str) -> None:
    with pytest.raises(BadPolicy, match=r"line 4: spec.* null, expected"):
        policies(peers(spec))


def test_kinds_of_all_engines_have_their_versions() -> None:
    kinds = {kind for engine in ENGINES for kind in engine.kinds}
    of_consul = {("", name) for name in ("service-intentions", "service-defaults", "proxy-defaults")}
    assert (kinds - of_consul) | set(SETTINGS_KINDS) == set(VERSIONS)


@pytest.mark.parametrize(
    ("version", "kind", "expected"),
    [
        ("security.istio.io/v9", "PeerAuthentication", "'security.istio.io/v9', expected security.istio.io/v1 or "),
        ("policy.linkerd.io/v1", "Server", "'policy.linkerd.io/v1', expected policy.linkerd.io/v1beta3, "),
        ("v2", "ConfigMap", "'v2', expected v1"),
        ("v1", "service-intentions", "'v1', expected none: service-intentions is no resource of Kubernetes"),
    ],
)
def test_versions_that_the_api_server_does_not_know_are_refused(version: str, kind: str, expected: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        policies(f"kind: {kind}\napiVersion: {version}\nmetadata: {{name: p}}\nspec: {{}}\ndata: {{mesh: ''}}\n")
    assert str(refused.value).startswith(f"p.yaml: line 2: apiVersion: {expected}")
