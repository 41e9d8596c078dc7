"""AuthorizationPolicies of strangers: whatever a text holds it is that text, for the engine as for the evaluator."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from analyzers.policy.errors import BadPolicy
from analyzers.policy.formula import Transport
from analyzers.policy.istio.compile import program
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh
from analyzers.policy.istio.reference import decide
from analyzers.policy.policy_set import read_set
from analyzers.policy.workloads import Workload
from storage.engine import Engine
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import computed

TEXTS = {
    "single quote": "it's",
    "double quote": 'a"b',
    "backslashes": "a\\b\\",
    "NUL": "a\0b",
    "placeholder": "{p0:String}",
    "other placeholders": "{{p0}} ${p0} :p0",
    "percent": "%s%d%%",
    "question mark": "a?b=c",
    "line breaks": "a\nb\r\nc\u2028d",
    "unicode": "ä\u0301Ⅷ\u202eß\U0001f600",
    "expression": "^(.+)*$|[a-z]{2,}\\Q\\E",
    "statement": "') OR 1=1; DROP TABLE calls; -- /*",
    "percent code": "%27%00%2F",
    "long": "'\\x{0}" * 1_500,
}
FIELDS = {
    "principals": "source_principal",
    "namespaces": "source_principal",
    "serviceAccounts": "source_principal",
    "trustDomains": "source_principal",
    "requestPrincipals": "request.auth.principal",
    "ipBlocks": "source_ip",
    "remoteIpBlocks": "source_remote_ip",
    "hosts": "authority",
    "methods": "method",
    "paths": "path",
    "ports": "destination_port",
}
SOURCE = (
    "principals",
    "namespaces",
    "serviceAccounts",
    "trustDomains",
    "requestPrincipals",
    "ipBlocks",
    "remoteIpBlocks",
)
KEYS = (
    *("source.ip", "remote.ip", "source.namespace", "source.principal", "source.serviceAccount", "source.trustDomain"),
    *("request.headers[x-team]", "request.auth.principal", "request.auth.audiences", "request.auth.presenter"),
    *("request.auth.claims[group]", "destination.ip", "destination.port", "connection.sni"),
    "experimental.envoy.filters.x[key]",
)
TRANSPORTS: tuple[tuple[Transport, str], ...] = (("http", "protocol != 'tcp'"), ("tcp", "protocol = 'tcp'"))
KEYS_OF_TEXT = ("request.headers[x-{0}]", "request.auth.claims[{0}]", "experimental.envoy.filters.{0}[key]")
FORMS = ("{0}", "{0}*", "*{0}")
CALL: dict[str, Any] = {
    "transport": "http",
    "tls": "mtls",
    "source_principal": "spiffe://cluster.local/ns/shop/sa/web",
    "source_ip": "10.1.2.3",
    "source_remote_ip": "10.1.2.3",
    "destination_ip": "10.9.9.9",
    "destination_port": 8080,
    "method": "GET",
    "path": "/orders",
    "authority": "orders.shop",
    "sni": "outbound",
    "attributes": {
        "request.headers.x-team": "red",
        "request.auth.principal": "https://id.example/ann",
        "request.auth.audiences": "shop",
        "request.auth.presenter": "web",
        "experimental.envoy.filters.x[key]": "on",
    },
}


def calls(text: str) -> Iterator[dict[str, Any]]:
    """Calls that bear the text somewhere: whole, at the beginning and at the end of what is there."""
    yield CALL
    yield {**CALL, "transport": "tcp", "method": None, "path": None, "authority": None, "attributes": {}}
    for found in (text, f"{text}x") if len(text) > 1_000 else (text, f"{text}/more", f"more/{text}", f"{text}x"):
        for principal in (f"spiffe://{found}", f"spiffe://td/ns/{found}/sa/web", f"spiffe://td/ns/shop/sa/{found}"):
            yield {**CALL, "source_principal": principal}
        yield {**CALL, "source_principal": f"spiffe://{found}/ns/shop/sa/web"}
        yield {**CALL, "method": found}
        yield {**CALL, "authority": found}
        # Envoy makes small letters of server names before it compares and logs them.
        yield {**CALL, "sni": found.lower(), "transport": "tcp", "method": None, "path": None, "authority": None}
        yield {**CALL, "path": f"/{found}"}
        yield {**CALL, "path": found}
        for name in CALL["attributes"]:
            yield {**CALL, "attributes": {**CALL["attributes"], name: found}}
        yield {**CALL, "attributes": {**CALL["attributes"], f"request.headers.x-{found}".lower(): "red"}}
        yield {**CALL, "attributes": {**CALL["attributes"], f"experimental.envoy.filters.{found}[key]": "on"}}


def rules(text: str) -> Iterator[tuple[str, list[Any]]]:
    """By the field that bears the text: rules that have it there, in every form that the field knows."""
    for field in FIELDS:
        of, clause = ("from", "source") if field in SOURCE else ("to", "operation")
        for said in (text, f"/{text}") if field == "paths" else (text,):
            values = [form.replace("{0}", said) for form in FORMS]
            if field in ("serviceAccounts", "ipBlocks", "remoteIpBlocks", "ports"):
                values = values[:1]
            negated = f"not{field[0].upper()}{field[1:]}"
            yield (
                field,
                [
                    *({of: [{clause: {field: [value]}}]} for value in values),
                    {of: [{clause: {negated: values}}], "when": [{"key": "source.ip", "values": ["10.1.2.3"]}]},
                ],
            )
    for key in KEYS:
        values = [form.replace("{0}", text) for form in FORMS]
        yield f"values of {key}", [{"when": [{"key": key, "values": [value]}]} for value in values]
        yield f"notValues of {key}", [{"when": [{"key": key, "notValues": values}]}]
    for key in KEYS_OF_TEXT:
        yield f"key {key}", [{"when": [{"key": key.replace("{0}", text), "values": ["red", "on"]}]}]


def document(name: str, namespace: str, action: str, given: list[Any]) -> AuthorizationPolicy:
    """A policy as it comes in a file.

    Raises:
        BadPolicy: Istio would refuse it.
    """
    text = json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"action": action, "rules": given},
        },
        ensure_ascii=False,
    )
    (found,) = read_set({"p.json": text.replace("\u2028", "\\u2028").encode()}).documents
    return found.model


MAY_BE_REFUSED = frozenset(
    {
        *("ipBlocks", "remoteIpBlocks", "ports", "paths", "serviceAccounts", "trustDomains"),
        *(
            f"{values} of {key}"
            for values in ("values", "notValues")
            for key in KEYS
            if key.endswith((".ip", ".port", ".trustDomain"))
        ),
        *(f"key {key}" for key in KEYS_OF_TEXT),
    }
)
"""Where not every text has a meaning."""


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_whatever_a_text_holds_it_is_that_text(engine: Engine, text: str) -> None:
    given = [*calls(text)]
    insert_calls(engine, given)
    workload, mesh = Workload(f"ns {text}", f"w {text}", labels=({"app": text},)), Mesh()
    said: Counter[str] = Counter()
    matched: set[str] = set()
    refused: set[str] = set()
    for field, found in rules(text):
        try:
            policies = [
                document(f"allow {text}", f"ns {text}", "ALLOW", found),
                document(f"deny {text}", f"ns {text}", "DENY", found[:1]),
            ]
        except BadPolicy as error:
            assert "\n" not in str(error) and len(str(error)) < 1_000
            refused.add(field)
            continue
        # The long text is judged once: what takes time there is its length.
        for some in (policies,) if len(text) > 1_000 else (policies[:1], policies):
            for transport, where in TRANSPORTS:
                built = program(some, workload, mesh, transport)
                for number, decision in computed(engine, built, where).items():
                    expected = decide(some, workload, mesh, given[number])
                    assert decision == expected, f"{field}: {decision}, expected {expected}: {given[number]}"
                    said[decision.verdict] += 1
                    if decision.policy is not None:
                        assert decision.policy in (f"ns {text}/allow {text}", f"ns {text}/deny {text}")
                        matched.add(field)
    assert refused <= MAY_BE_REFUSED
    assert {"principals", "hosts", "methods", "values of request.headers[x-team]"} <= matched
    assert min(said[one] for one in ("allow", "deny")) > 100, said
    assert engine.query("SELECT count() AS n FROM calls")["n"].to_pylist() == [len(given)]
