"""Consul's documents: what is read in each of its spellings, and what is refused as Consul refuses it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from analyzers.policy.consul.model import Defaults, Document, Header, Permission, ServiceIntentions, Source
from analyzers.policy.consul.read import KINDS
from analyzers.policy.documents import read_documents
from analyzers.policy.errors import BadPolicy

GROUP = "consul.hashicorp.com"


def read(text: str, kind: tuple[str, str] = ("", "service-intentions")) -> Document:
    (document,) = read_documents("p.yaml", text.encode())
    return KINDS[kind](document, "shop")


PRINTED = {
    "Kind": "service-intentions",
    "Name": "api",
    "Sources": [
        {
            "Name": "web",
            "Permissions": [
                {
                    "Action": "allow",
                    "HTTP": {
                        "PathRegex": "/orders/[0-9]+",
                        "Header": [
                            {"Name": "X-Team", "Prefix": "re", "IgnoreCase": True},
                            {"Name": "x-debug", "Present": True, "Invert": True},
                        ],
                        "Methods": ["get", "HEAD"],
                    },
                },
                {"Action": "deny", "HTTP": {"PathExact": "/admin"}, "JWT": {"Providers": [{"Name": "okta"}]}},
            ],
            "Precedence": 9,
            "Type": "consul",
            "Description": "the shop's front",
        },
        {"Name": "*", "Action": "deny", "Precedence": 8, "Type": "consul"},
    ],
    "Meta": {"owner": "shop"},
    "Hash": 123456789012345,
    "CreateIndex": 12,
    "ModifyIndex": 34,
}
SOURCES = (
    Source(
        "web",
        permissions=(
            Permission(
                True,
                "regex",
                "/orders/[0-9]+",
                (Header("x-team", "prefix", "re", ignore_case=True), Header("x-debug", "present", invert=True)),
                ("GET", "HEAD"),
            ),
            Permission(False, "exact", "/admin", providers=("okta",)),
        ),
    ),
    Source("*", allows=False),
)


def _renamed(value: Any, rename: Any) -> Any:
    if isinstance(value, dict):
        return {rename(key): _renamed(item, rename) for key, item in value.items()}
    return [_renamed(item, rename) for item in value] if isinstance(value, list) else value


def _snake(name: str) -> str:
    named = {"JWT": "jwt", "HTTP": "http"}
    return named.get(name) or "".join(f"_{one.lower()}" if one.isupper() else one for one in name).lstrip("_")


def test_what_the_command_line_prints() -> None:
    expected = ServiceIntentions("default", "api", "api", SOURCES)
    assert read(json.dumps(PRINTED)) == expected
    assert read(json.dumps(_renamed(PRINTED, _snake))) == expected
    assert read(json.dumps({**PRINTED, "Namespace": "", "Partition": ""})) == expected
    assert expected.id == "default/api"


def test_what_enterprise_prints() -> None:
    sources = [
        {"Name": "web", "Namespace": "front", "Partition": "default", "Action": "allow"},
        {"Name": "web", "Namespace": "front", "Peer": "east", "Action": "allow"},
        {"Name": "*", "Namespace": "*", "SamenessGroup": "all", "Action": "deny"},
    ]
    entry = {**PRINTED, "Namespace": "shop", "Partition": "retail", "Sources": sources}
    assert read(json.dumps({**entry, "JWT": {"Providers": [{"Name": "okta", "VerifyClaims": [{"Path": ["a"]}]}]}})) == (
        ServiceIntentions(
            "shop",
            "api",
            "api",
            (
                Source("web", "front", "default", allows=True),
                Source("web", "front", peer="east", allows=True),
                Source("*", "*", group="all", allows=False),
            ),
            "shop",
            "retail",
            ("okta",),
        )
    )


def test_a_resource_of_kubernetes() -> None:
    def camel(name: str) -> str:
        return {"JWT": "jwt", "HTTP": "http"}.get(name) or name[0].lower() + name[1:]

    computed = ("Precedence", "Type")
    sources = [{key: value for key, value in one.items() if key not in computed} for one in PRINTED["Sources"]]  # type: ignore[index]
    resource = {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "ServiceIntentions",
        "metadata": {"name": "api-callers"},
        "spec": {"destination": {"name": "api"}, "sources": _renamed(sources, camel)},
        "status": {"conditions": []},
    }
    kind = (GROUP, "ServiceIntentions")
    assert read(json.dumps(resource), kind) == ServiceIntentions("shop", "api-callers", "api", SOURCES)
    resource["metadata"] = {"name": "api-callers", "namespace": "bank"}
    found = read(json.dumps(resource), kind)
    assert isinstance(found, ServiceIntentions)
    assert (found.id, found.destination_namespace) == ("bank/api-callers", "default")


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("Name: api\nProtocol: HTTP2", ("", "service-defaults"), Defaults("default", "api", protocol="http2")),
        (
            "Name: api\nNamespace: shop\nExpose: {Checks: true, Paths: [{Path: /metrics, LocalPathPort: 9}]}",
            ("", "service-defaults"),
            Defaults("shop", "api", exposed_paths=("/metrics",), exposes_checks=True),
        ),
        (
            "Name: global\nConfig: {protocol: grpc, local_connect_timeout_ms: 5}\nMutualTLSMode: permissive",
            ("", "proxy-defaults"),
            Defaults("default", "global", True, "grpc", "permissive"),
        ),
        (
            "metadata: {name: api}\nspec: {protocol: http, mutualTLSMode: strict, meshGateway: {mode: local}}",
            (GROUP, "ServiceDefaults"),
            Defaults("shop", "api", protocol="http", mutual_tls="strict"),
        ),
        ("metadata: {name: global}", (GROUP, "ProxyDefaults"), Defaults("shop", "global", True)),
    ],
)
def test_defaults(text: str, kind: tuple[str, str], expected: Defaults) -> None:
    assert read(text, kind) == expected


WEB = "Sources: [{Name: web, Action: allow}]"
ONE = "{Action: allow, HTTP: {PathExact: /x}}"


def permission(text: str) -> str:
    return f"Name: api\nSources: [{{Name: web, Permissions: [{text}]}}]"


def header(text: str) -> str:
    return permission(f"{{Action: allow, HTTP: {{Header: [{text}]}}}}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (WEB, "no Name, expected the destination's, or *"),
        ("Name: api", "no Sources, expected at least one"),
        ("Name: api\nSources: []", "line 2: Sources: no Sources"),
        ("Name: api\nSources: {}", "Sources: an object, expected a list"),
        ("Name: web-*\n" + WEB, "Name: 'web-*', expected all of it to be *, or none"),
        ("Name: api\nNamespace: a*\n" + WEB, "Namespace: 'a*', expected all"),
        ('Name: api\nNamespace: "*"\n' + WEB, "Name: 'api' in any namespace, expected Name: *"),
        ('Name: api\nPartition: "*"\n' + WEB, "Partition: '*', expected no *"),
        ("Name: api\nname: api\n" + WEB, "Name again, expected it once"),
        ("Name: api\nSurces: []\n" + WEB, "Surces: unknown field, expected Kind, Name, Namespace"),
        ("Name: 5\n" + WEB, "line 1: Name: 5, expected text"),
        ("Name: api\nSources: [{Action: allow}]", "Sources[0]: no Name, expected the caller's"),
        ("Name: api\nSources: [{Name: web}]", "Sources[0]: no Action, expected allow or deny"),
        ("Name: api\nSources: [{Name: web, Action: Allow}]", "'Allow', expected allow or deny"),
        ("Name: api\nSources: [{Name: w*, Action: allow}]", "Sources[0].Name: 'w*', expected all"),
        ('Name: api\nSources: [{Name: web, Namespace: "*", Action: allow}]', "'web' in any namespace"),
        ('Name: api\nSources: [{Name: web, Peer: "*", Action: allow}]', "Peer: '*', expected no *"),
        ("Name: api\nSources: [{Name: web, Peer: a, Partition: b, Action: allow}]", "Peer and Partition, expected one"),
        ("Name: api\nSources: [{Name: web, Peer: a, SamenessGroup: b, Action: deny}]", "Peer and SamenessGroup"),
        ("Name: api\nSources: [{Name: web, Type: other, Action: allow}]", "Type: 'other', expected consul"),
        ("Name: api\nSources: [{Name: a, Action: deny}, {Name: a, Namespace: default, Action: deny}]", "a again"),
        (f"Name: api\nSources: [{{Name: web, Action: allow, Description: {'x' * 513}}}]", "too long, expected at most"),
        (f'Name: "*"\nSources: [{{Name: web, Permissions: [{ONE}]}}]', "permissions of destination *"),
        (f"Name: api\nSources: [{{Name: web, Action: allow, Permissions: [{ONE}]}}]", "beside Permissions"),
        (permission("{HTTP: {PathExact: /x}}"), "Permissions[0]: no Action"),
        (permission("{Action: allow}"), "Permissions[0]: no condition, expected HTTP"),
        (permission("{Action: allow, HTTP: {}}"), "HTTP: no condition"),
        (permission("{Action: allow, HTTP: {PathExact: x}}"), "'x', expected a path that begins with /"),
        (permission("{Action: allow, HTTP: {PathPrefix: x}}"), "'x', expected a path that begins with /"),
        (permission("{Action: allow, HTTP: {PathPrefix: /, PathRegex: .}}"), "PathPrefix and PathRegex, expected one"),
        (permission("{Action: allow, HTTP: {PathRegex: '('}}"), "PathRegex: '(': missing ): (, expected a regular"),
        (permission("{Action: allow, HTTP: {PathRegex: '(?=x)'}}"), "expected a regular expression of RE2"),
        (permission(f"{{Action: allow, HTTP: {{PathRegex: {'x' * 20_000}}}}}"), "of 20,000 bytes, expected at most"),
        (permission("{Action: allow, HTTP: {Methods: [GTE]}}"), "'GTE', expected GET, HEAD"),
        (permission("{Action: allow, HTTP: {Methods: [GET, get]}}"), "GET again"),
        (permission("{Action: allow, HTTP: {Path: /x}}"), "HTTP.Path: unknown field, expected PathExact"),
        (header("{Exact: a}"), "Header[0]: no Name"),
        (header("{Name: a}"), "0 conditions, expected one of Present: true, Exact"),
        (header("{Name: a, Present: false}"), "0 conditions"),
        (header("{Name: a, Exact: a, Prefix: b}"), "2 conditions"),
        (header("{Name: a, Present: true, Exact: b}"), "expected one of Present: true"),
        (header("{Name: a, Regex: '['}"), "expected a regular expression of RE2"),
        (header("{Name: a, Regex: a, IgnoreCase: true}"), "IgnoreCase, expected one with Exact"),
        (header("{Name: a, Present: yes please}"), "'yes please', expected true or false"),
        (permission("{Action: deny, JWT: {Providers: [{}]}}"), "Providers[0]: no Name, expected a jwt-provider's"),
        ("Name: api\nJWT: {Provider: []}\n" + WEB, "JWT.Provider: unknown field, expected Providers"),
    ],
)
def test_what_consul_refuses_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        read(text)
    message = str(refused.value)
    assert message.startswith("p.yaml: line ") and why in message and "\n" not in message


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("metadata: {}\nspec: {}", "ServiceIntentions", "metadata: no name, expected one"),
        ("metadata: {name: a}", "ServiceIntentions", "no spec, expected destination and sources"),
        ("metadata: {name: a}\nspec: {sources: [{name: web, action: allow}]}", "ServiceIntentions", "no destination"),
        ("metadata: {name: a}\nspec: {destination: {}, sources: []}", "ServiceIntentions", "no Name, expected the"),
        ("metadata: {name: a}\nspec: {mutualTLSMode: loose}", "ServiceDefaults", "'loose', expected strict or"),
        ("metadata: {name: a}\nspec: {protocol: 7}", "ServiceDefaults", "protocol: 7, expected text"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused(text: str, kind: str, why: str) -> None:
    with pytest.raises(BadPolicy) as refused:
        read(text, (GROUP, kind))
    assert why in str(refused.value)


def test_a_permission_of_a_token_alone_is_legal() -> None:
    found = read(permission("{Action: allow, JWT: {Providers: [{Name: okta}]}}"))
    assert isinstance(found, ServiceIntentions)
    assert found.sources[0].permissions == (Permission(True, providers=("okta",)),)
