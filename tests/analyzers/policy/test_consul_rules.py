"""Consul's rules one by one, with outcomes written by hand from the description: for engine and reference alike."""

from __future__ import annotations

from typing import Any

import pytest

from analyzers.policy.consul.compile import program
from analyzers.policy.consul.model import Document, Peer, Settings
from analyzers.policy.consul.read import KINDS
from analyzers.policy.consul.reference import decide
from analyzers.policy.documents import read_documents
from analyzers.policy.workloads import Cluster, Workload
from storage.engine import Engine
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import computed

API = Workload("shop", name="api-v2", service="api")
TRUST = "11111111-2222-3333-4444-555555555555.consul"
WEB = f"spiffe://{TRUST}/ns/default/dc/dc1/svc/web"
CALL: dict[str, Any] = {
    "transport": "http",
    "tls": "mtls",
    "source_principal": WEB,
    "method": "GET",
    "path": "/api/v1?page=2",
    "attributes": {},
}
TCP = {**CALL, "transport": "tcp", "method": None, "path": None}
PLAINTEXT = {**CALL, "tls": "plaintext", "source_principal": None}
DENY, ALLOW = Settings(default_allow=False), Settings(default_allow=True)
BATCH = {**CALL, "source_principal": WEB.replace("/web", "/batch")}
UNLOGGED = {**CALL, "source_principal": None}


def documents(*texts: str) -> list[Document]:
    """`{Name: api, Sources: ..}`: a `service-intentions` entry unless it says another kind."""
    found: list[Document] = []
    for text in texts:
        (document,) = read_documents(
            "p.yaml", text.encode() if "ind: " in text else f"Kind: service-intentions\n{text}".encode()
        )
        kind = document.get("Kind")
        group = "" if kind else "consul.hashicorp.com"
        kind = kind or document.get("kind")
        assert kind is not None
        found.append(KINDS[group, kind.text()](document, "shop"))
    return found


def judged(
    engine: Engine, given: list[Document], call: dict[str, Any], settings: Settings = DENY, at: Workload = API
) -> tuple[str, str | None]:
    """What both say of `call`: the verdict, and policy and rule."""
    expected = decide(given, at, settings, call)
    insert_calls(engine, [call])
    (found,) = computed(engine, program(given, at, Cluster(), settings, call["transport"])).values()
    engine.execute("TRUNCATE TABLE calls")
    assert found == expected
    return found.verdict, f"{found.policy} {found.rule}" if found.policy else None


def entry(sources: str, name: str = "api", **fields: str) -> str:
    """An entry from its sources in YAML."""
    return "\n".join([f'Name: "{name}"', *(f'{key}: "{text}"' for key, text in fields.items()), f"Sources: {sources}"])


def permissions(*texts: str) -> str:
    """An entry for web with permissions in YAML."""
    return entry(f"[{{Name: web, Permissions: [{', '.join(texts)}]}}]")


ALLOW_WEB = "[{Name: web, Action: allow}]"
FIRST, SECOND = "default/api sources[0]", "default/api sources[1]"


@pytest.mark.parametrize(
    ("given", "call", "settings", "expected"),
    [
        # Nothing there: the default policy, where it is told; default_intention_policy counts first.
        ([], CALL, DENY, ("deny", None)),
        ([], CALL, ALLOW, ("allow", None)),
        ([], CALL, Settings(), ("unknown", None)),
        ([], CALL, Settings(default_allow=True, default_intention_policy="deny"), ("deny", None)),
        ([], CALL, Settings(default_intention_policy="allow"), ("allow", None)),
        # An action is about the certificate alone.
        ([entry(ALLOW_WEB)], CALL, DENY, ("allow", FIRST)),
        ([entry(ALLOW_WEB)], TCP, DENY, ("allow", FIRST)),
        ([entry(ALLOW_WEB)], CALL, Settings(), ("allow", FIRST)),
        ([entry(ALLOW_WEB)], BATCH, DENY, ("deny", None)),
        ([entry(ALLOW_WEB)], UNLOGGED, DENY, ("unknown", None)),
        ([entry("[{Name: web, Action: deny}]")], UNLOGGED, DENY, ("deny", None)),
        ([entry("[{Name: web, Action: deny}]")], CALL, ALLOW, ("deny", FIRST)),
        ([entry(ALLOW_WEB, name="other")], CALL, DENY, ("deny", None)),
        # Without a client's certificate nobody passes, whatever the default.
        ([], PLAINTEXT, ALLOW, ("deny", None)),
        ([entry('[{Name: "*", Action: allow}]')], PLAINTEXT, ALLOW, ("deny", None)),
        ([], {**CALL, "tls": "tls", "source_principal": ""}, ALLOW, ("deny", None)),
        ([], {**CALL, "tls": "unknown", "source_principal": None}, ALLOW, ("unknown", None)),
        # One intention decides: a precise source before *, and *'s deny is not looked at.
        (
            [entry('[{Name: "*", Action: deny}, {Name: web, Action: allow}]')],
            CALL,
            DENY,
            ("allow", SECOND),
        ),
        (
            [entry('[{Name: "*", Action: allow}, {Name: web, Action: deny}]')],
            CALL,
            DENY,
            ("deny", SECOND),
        ),
        ([entry('[{Name: "*", Action: allow}, {Name: web, Action: deny}]')], BATCH, DENY, ("allow", FIRST)),
        # A precise destination before *, even with * for the source (8 before 6).
        (
            [entry(ALLOW_WEB, name="*"), entry('[{Name: "*", Action: deny}]')],
            CALL,
            ALLOW,
            ("deny", FIRST),
        ),
        ([entry(ALLOW_WEB, name="*")], CALL, DENY, ("allow", "default/* sources[0]")),
        # 6 before 5.
        (
            [entry('[{Name: "*", Action: deny}, {Name: web, Action: allow}]', name="*")],
            CALL,
            DENY,
            ("allow", "default/* sources[1]"),
        ),
        # Permissions: the first that is of the request is final; if none is, the default, not the next intention.
        ([permissions("{Action: allow, HTTP: {PathPrefix: /api}}")], CALL, DENY, ("allow", f"{FIRST}.permissions[0]")),
        (
            [permissions("{Action: deny, HTTP: {PathPrefix: /api/v1}}", "{Action: allow, HTTP: {PathPrefix: /}}")],
            CALL,
            ALLOW,
            ("deny", f"{FIRST}.permissions[0]"),
        ),
        (
            [permissions("{Action: allow, HTTP: {PathPrefix: /x}}"), entry('[{Name: "*", Action: allow}]', name="*")],
            CALL,
            DENY,
            ("deny", FIRST),
        ),
        ([permissions("{Action: deny, HTTP: {PathPrefix: /x}}")], CALL, ALLOW, ("allow", FIRST)),
        ([permissions("{Action: deny, HTTP: {PathPrefix: /x}}")], CALL, Settings(), ("unknown", None)),
        # On a listener of connections they deny.
        ([permissions("{Action: allow, HTTP: {PathPrefix: /}}")], TCP, ALLOW, ("deny", FIRST)),
        (
            [permissions("{Action: allow, HTTP: {PathPrefix: /}}"), "Kind: service-defaults\nName: api\nProtocol: tcp"],
            CALL,
            ALLOW,
            ("deny", FIRST),
        ),
        (
            [
                permissions("{Action: allow, HTTP: {PathPrefix: /}}"),
                "Kind: service-defaults\nName: api\nProtocol: GRPC",
                "Kind: proxy-defaults\nName: global\nConfig: {protocol: tcp}",
            ],
            CALL,
            DENY,
            ("allow", f"{FIRST}.permissions[0]"),
        ),
        # Paths: without the query; a prefix is one of the text, a regular expression must match all of it.
        (
            [permissions("{Action: allow, HTTP: {PathExact: /api/v1}}")],
            CALL,
            DENY,
            ("allow", f"{FIRST}.permissions[0]"),
        ),
        (
            [permissions("{Action: allow, HTTP: {PathPrefix: /api}}")],
            {**CALL, "path": "/apix"},
            DENY,
            ("allow", f"{FIRST}.permissions[0]"),
        ),
        ([permissions("{Action: allow, HTTP: {PathRegex: /api}}")], CALL, DENY, ("deny", FIRST)),
        ([permissions("{Action: allow, HTTP: {PathRegex: '/api|/x'}}")], CALL, DENY, ("deny", FIRST)),
        ([permissions("{Action: allow, HTTP: {PathPrefix: /api}}")], {**CALL, "path": None}, DENY, ("unknown", None)),
        # Methods are put into capitals; all parts must hold.
        ([permissions("{Action: allow, HTTP: {Methods: [get]}}")], CALL, DENY, ("allow", f"{FIRST}.permissions[0]")),
        ([permissions("{Action: allow, HTTP: {Methods: [GET], PathExact: /x}}")], CALL, DENY, ("deny", FIRST)),
        # A token is in no line.
        ([entry(ALLOW_WEB) + "\nJWT: {Providers: [{Name: okta}]}"], CALL, DENY, ("unknown", None)),
        ([entry(ALLOW_WEB) + "\nJWT: {Providers: [{Name: okta}]}"], BATCH, DENY, ("deny", None)),
        ([entry(ALLOW_WEB) + "\nJWT: {Providers: [{Name: okta}]}"], CALL, ALLOW, ("allow", FIRST)),
        ([entry(ALLOW_WEB) + "\nJWT: {Providers: [{Name: okta}]}"], TCP, DENY, ("allow", FIRST)),
        ([entry("[{Name: web, Action: deny}]") + "\nJWT: {Providers: [{Name: okta}]}"], CALL, DENY, ("deny", FIRST)),
        (
            [
                permissions(
                    "{Action: allow, HTTP: {PathPrefix: /api}, JWT: {Providers: [{Name: okta}]}}",
                    "{Action: allow, HTTP: {PathPrefix: /}}",
                )
            ],
            CALL,
            DENY,
            ("unknown", None),
        ),
        # Mutual TLS that is not insisted on lets plaintext past the intentions.
        (
            ["Kind: proxy-defaults\nName: global\nMutualTLSMode: permissive"],
            PLAINTEXT,
            DENY,
            ("allow", "default/global mutualTLSMode"),
        ),
        (
            [
                "Kind: proxy-defaults\nName: global\nMutualTLSMode: permissive",
                "Kind: service-defaults\nName: api\nMutualTLSMode: strict",
            ],
            PLAINTEXT,
            ALLOW,
            ("deny", None),
        ),
        (
            ["Kind: service-defaults\nName: api\nExpose: {Paths: [{Path: /api/v1, ListenerPort: 21500}]}"],
            PLAINTEXT,
            DENY,
            ("allow", "default/api expose.paths"),
        ),
        (["Kind: service-defaults\nName: api\nExpose: {Checks: true}"], PLAINTEXT, DENY, ("unknown", None)),
        (["Kind: service-defaults\nName: api\nExpose: {Checks: true}"], CALL, DENY, ("deny", None)),
    ],
)
def test_a_rule(
    engine: Engine, given: list[str], call: dict[str, Any], settings: Settings, expected: tuple[str, str | None]
) -> None:
    assert judged(engine, documents(*given), call, settings) == expected


@pytest.mark.parametrize(
    ("condition", "matches", "misses"),
    [
        ("Exact: red", ["red"], ["Red", "redd", ""]),
        ("Exact: red, IgnoreCase: true", ["Red"], ["redd", ""]),
        ("Prefix: re", ["red"], ["bred", ""]),
        ("Suffix: ed", ["red"], ["redd", ""]),
        ("Contains: e", ["red", "e"], ["x", ""]),
        ("Contains: E, IgnoreCase: true", ["red"], ["x", ""]),
        ("Regex: 'r.?d'", ["red", "rd"], ["redd", "bred", ""]),
        ("Regex: '.*'", ["red"], [""]),
        ("Present: true", ["red"], [""]),
        ("Present: true, Invert: true", [""], ["red"]),
        # Seen in Envoy's source: of a header that is not there neither a value nor its inverse holds.
        ("Exact: red, Invert: true", ["blue"], ["red", ""]),
        ("Regex: 'r.*', Invert: true", ["blue"], ["red", ""]),
    ],
)
def test_a_header(engine: Engine, condition: str, matches: list[str], misses: list[str]) -> None:
    given = documents(permissions(f"{{Action: allow, HTTP: {{Header: [{{Name: X-Team, {condition}}}]}}}}"))
    verdicts = {
        value: judged(engine, given, {**CALL, "attributes": {"request.headers.x-team": value}})[0]
        for value in (*matches, *misses)
    }
    assert verdicts == {value: "allow" if value in matches else "deny" for value in verdicts}
    assert judged(engine, given, CALL) == ("unknown", None)


def test_the_host_is_a_header_with_its_capitals(engine: Engine) -> None:
    for name in (":authority", "Host"):
        header = f'Header: [{{Name: "{name}", Exact: Api.shop}}]'
        given = documents(permissions(f"{{Action: allow, HTTP: {{{header}}}}}"))
        for authority, verdict in (("Api.shop", "allow"), ("api.shop", "deny"), (None, "unknown")):
            assert judged(engine, given, {**CALL, "authority": authority})[0] == verdict


@pytest.mark.parametrize(
    ("principal", "settings", "verdict"),
    [
        (WEB.replace("/dc1/", "/dc7/"), Settings(False, trust_domain=TRUST), "allow"),
        (WEB.replace(TRUST, "other.consul"), Settings(False, trust_domain=TRUST), "deny"),
        # Without a trust domain in the settings any but a known peer's is our own.
        (WEB.replace(TRUST, "other.consul"), DENY, "allow"),
        (WEB.replace(TRUST, "other.consul"), Settings(False, peers={"east": Peer("other.consul")}), "deny"),
        (WEB.replace("/ns/", "/ap/retail/ns/"), DENY, "deny"),
        (WEB.replace("/default/", "/shop/"), DENY, "deny"),
        (WEB + "x", DENY, "deny"),
        (WEB + "/x", DENY, "deny"),
        (WEB.replace("/web", "/WEB"), DENY, "deny"),
        ("web.default.serviceaccount.identity.linkerd.cluster.local", DENY, "deny"),
    ],
)
def test_an_identity(engine: Engine, principal: str, settings: Settings, verdict: str) -> None:
    given = documents(entry(ALLOW_WEB))
    assert judged(engine, given, {**CALL, "source_principal": principal}, settings)[0] == verdict


def test_a_name_with_a_dot_is_that_name(engine: Engine) -> None:
    given = documents(entry("[{Name: we.b, Action: allow}]"))
    for name, verdict in (("we.b", "allow"), ("weXb", "deny")):
        assert judged(engine, given, {**CALL, "source_principal": WEB.replace("/web", f"/{name}")})[0] == verdict


def test_all_nine_precedences(engine: Engine) -> None:
    """Enterprise: each intention denies alone, and is overruled by the next."""
    settings = Settings(default_allow=True, trust_domain=TRUST, namespaces=True)
    call = {**CALL, "source_principal": WEB.replace("/default/", "/front/")}
    rising = [
        (destination, source)
        for destination in (("*", "*"), ("shop", "*"), ("shop", "api"))
        for source in (("*", "*"), ("front", "*"), ("front", "web"))
    ]
    given: list[Document] = []
    for number, (destination, source) in enumerate(rising):
        action = "deny" if number % 2 == 0 else "allow"
        sources = f'[{{Name: "{source[1]}", Namespace: "{source[0]}", Action: {action}}}]'
        given += documents(entry(sources, name=destination[1], Namespace=destination[0]))
        decided = f"{destination[0]}/{destination[1]} sources[0]"
        assert judged(engine, given, call, settings) == (action, decided)
        assert judged(engine, given[::-1], call, settings) == (action, decided)


def test_namespaces_are_kubernetes_only_if_so_set(engine: Engine) -> None:
    given = documents(entry("[{Name: web, Namespace: default, Action: allow}]", Namespace="shop"))
    assert judged(engine, given, CALL, Settings(False))[0] == "deny"
    assert judged(engine, given, CALL, Settings(False, namespaces=True))[0] == "allow"
    # A destination that calls know by no namespace is in Consul's default one.
    nameless = Workload("", service="api")
    assert judged(engine, documents(entry(ALLOW_WEB)), CALL, Settings(False, namespaces=True), nameless)[0] == "allow"


def test_partitions(engine: Engine) -> None:
    retail = WEB.replace("/ns/", "/ap/retail/ns/")
    given = documents(entry("[{Name: web, Partition: retail, Action: allow}]"))
    assert judged(engine, given, {**CALL, "source_principal": retail})[0] == "allow"
    assert judged(engine, given, CALL)[0] == "deny"
    own = documents(entry(ALLOW_WEB, Partition="retail"))
    assert judged(engine, own, {**CALL, "source_principal": retail})[0] == "deny"
    assert judged(engine, own, {**CALL, "source_principal": retail}, Settings(False, partition="retail"))[0] == "allow"


def test_peers(engine: Engine) -> None:
    settings = Settings(False, trust_domain=TRUST, peers={"east": Peer("east.consul", "retail")})
    given = documents(entry("[{Name: web, Peer: east, Action: allow}]"))
    identity = "spiffe://east.consul/ap/retail/ns/default/dc/dc9/svc/web"
    gateway = f"spiffe://{TRUST}/gateway/mesh/dc/dc1"
    header = {"request.headers.x-forwarded-client-cert": f"By={gateway};Hash=aa;URI={identity},By=x;URI={gateway}"}
    # Connections come with the caller's certificate, requests with the gateway's and a header.
    assert judged(engine, given, {**TCP, "source_principal": identity}, settings)[0] == "allow"
    assert judged(engine, given, {**CALL, "source_principal": identity}, settings)[0] == "deny"
    assert judged(engine, given, {**CALL, "source_principal": gateway}, settings)[0] == "unknown"
    assert judged(engine, given, {**CALL, "source_principal": gateway, "attributes": header}, settings)[0] == "allow"
    assert judged(engine, given, {**CALL, "source_principal": WEB, "attributes": header}, settings)[0] == "deny"
    # A peer that the settings do not know: whoever is a stranger may be it.
    unknown = Settings(False, trust_domain=TRUST)
    assert judged(engine, given, {**TCP, "source_principal": identity}, unknown)[0] == "unknown"
    assert judged(engine, given, {**TCP, "source_principal": WEB}, unknown)[0] == "deny"


def test_the_namespace_of_a_source_that_names_none(engine: Engine) -> None:
    """The destination's, but `default` where that is none in particular, and for those of other clusters."""
    settings = Settings(False, trust_domain=TRUST, namespaces=True, peers={"east": Peer("east.consul")})
    of_peer = WEB.replace(TRUST, "east.consul")
    for source, namespace, principal in (
        ("Name: web", "shop", WEB.replace("/default/", "/shop/")),
        ("Name: web", "*", WEB),
        ("Name: web, Peer: east", "shop", of_peer),
    ):
        name = "*" if namespace == "*" else "api"
        given = documents(entry(f"[{{{source}, Action: allow}}]", name=name, Namespace=namespace))
        other = (
            principal.replace("/shop/", "/x/") if "/shop/" in principal else principal.replace("/default/", "/shop/")
        )
        for caller, verdict in ((principal, "allow"), (other, "deny")):
            assert judged(engine, given, {**TCP, "source_principal": caller}, settings)[0] == verdict
    group = documents(entry("[{Name: web, SamenessGroup: all, Action: allow}]", Namespace="shop"))
    assert judged(engine, group, CALL, settings)[0] == "unknown"
    in_shop = {**CALL, "source_principal": WEB.replace("/default/", "/shop/")}
    assert judged(engine, group, {**in_shop, "transport": "tcp"}, settings)[0] == "deny"


def test_a_sameness_group_is_not_known(engine: Engine) -> None:
    given = documents(entry("[{Name: web, SamenessGroup: everywhere, Action: allow}]"))
    assert judged(engine, given, CALL)[0] == "unknown"
    assert judged(engine, given, BATCH)[0] == "deny"


def test_a_resource_of_kubernetes(engine: Engine) -> None:
    (given,) = documents(
        """
        apiVersion: consul.hashicorp.com/v1alpha1
        kind: ServiceIntentions
        metadata: {name: web-to-api}
        spec:
          destination: {name: api}
          sources:
            - {name: batch, action: deny}
            - name: web
              permissions:
                - action: allow
                  http: {pathPrefix: /api, methods: [GET], header: [{name: X-Debug, present: true, invert: true}]}
        """
    )
    call = {**CALL, "attributes": {"request.headers.x-debug": ""}}
    assert judged(engine, [given], call) == ("allow", "shop/web-to-api sources[1].permissions[0]")
    assert judged(engine, [given], BATCH, ALLOW) == ("deny", "shop/web-to-api sources[0]")


def test_whatever_names_hold_they_are_texts(engine: Engine) -> None:
    names = ("it's", "a\\\\b", "a\\0b", "{p0:String}", "%s", "a|b", "(", ".+", "ä")
    sources = ", ".join(f'{{Name: "{name}", Action: deny}}' for name in names)
    given = documents(entry(f"[{sources}, {{Name: web, Action: allow}}]"))
    assert judged(engine, given, CALL) == ("allow", "default/api sources[9]")
    for name, verdict in (
        ("it's", "deny"),
        ("a\\b", "deny"),
        ("a\0b", "deny"),
        ("ä", "deny"),
        ("a", "allow"),
        ("(", "deny"),
    ):
        assert judged(engine, given, {**CALL, "source_principal": WEB.replace("/web", f"/{name}")}, ALLOW)[0] == verdict


def test_ten_thousand_sources() -> None:
    lines = ["Name: api", "Sources:", *(f"- {{Name: s{number}, Action: allow}}" for number in range(10_000))]
    assert len(program(documents("\n".join(lines)), API, Cluster(), DENY, "http").steps) == 10_002
