"""SMI's rules one by one, with outcomes written by hand from the description: for engine and reference alike."""

from __future__ import annotations

from typing import Any

import pytest

from analyzers.policy.documents import read_documents
from analyzers.policy.smi.compile import program
from analyzers.policy.smi.model import Document, Settings
from analyzers.policy.smi.read import KINDS
from analyzers.policy.smi.reference import decide
from analyzers.policy.workloads import Cluster, Workload
from storage.engine import Engine
from tests.analyzers.policy.calls import insert_calls
from tests.analyzers.policy.computed import computed

ORDERS = Workload("shop", "orders", accounts=("orders",))
WEB = Workload("front", "web", accounts=("web",))
BATCH = Workload("front", "batch", accounts=("batch",))
MIXED = Workload("front", "mixed", accounts=("batch", "web"))
CLUSTER = Cluster({(one.namespace, one.name): one for one in (WEB, BATCH, MIXED, Workload("front", "new"))})
CALL: dict[str, Any] = {
    "transport": "http",
    "tls": "mtls",
    "source_principal": "web.front.cluster.local",
    "destination_port": 8080,
    "method": "GET",
    "path": "/orders/17?x=1",
    "authority": "orders.shop",
    "attributes": {},
}
TCP = {**CALL, "transport": "tcp", "method": None, "path": None, "authority": None}
OTHER = {**CALL, "source_principal": "batch.front.cluster.local"}
PLAINTEXT = {**CALL, "tls": "plaintext", "source_principal": None}
STRICT, PERMISSIVE = Settings(permissive=False), Settings(permissive=True)


def documents(text: str) -> list[Document]:
    """Documents of YAML, of the namespace `shop` where they name none."""
    found: list[Document] = []
    for document in read_documents("p.yaml", text.encode()):
        kind = document.get("kind")
        assert kind is not None
        (read,) = (reader for (_, name), reader in KINDS.items() if name == kind.text())
        found.append(read(document, "shop"))
    return found


def judged(
    engine: Engine, given: list[Document], call: dict[str, Any], settings: Settings = STRICT, at: Workload = ORDERS
) -> tuple[str, str | None]:
    """What both say of `call`: the verdict, and policy and rule."""
    expected = decide(given, at, CLUSTER, settings, call)
    insert_calls(engine, [call])
    (found,) = computed(engine, program(given, at, CLUSTER, settings, call["transport"])).values()
    engine.execute("TRUNCATE TABLE calls")
    assert found == expected
    return found.verdict, f"{found.policy} {found.rule}".strip() if found.policy else None


def target(rules: str, sources: str = "[web]", name: str = "t", account: str = "orders") -> str:
    """A target from its rules in YAML and the names of its sources' accounts in `front`."""
    named = ", ".join(
        f"{{kind: ServiceAccount, name: {one}, namespace: front}}" for one in sources[1:-1].split(",") if one
    )
    return f"""
kind: TrafficTarget
metadata: {{name: {name}}}
spec:
  destination: {{kind: ServiceAccount, name: {account}, namespace: shop}}
  sources: [{named}]
  rules: {rules}
---"""


ROUTES = """
kind: HTTPRouteGroup
metadata: {name: routes}
spec:
  matches:
    - {name: read, pathRegex: /orders/.*, methods: [GET]}
    - {name: write, pathRegex: /orders/.*, methods: [POST, PUT]}
    - {name: all}
    - {name: head, pathRegex: /orders}
    - {name: red, headers: [{X-Team: red|rot}]}
    - {name: team, headers: [{X-Team: .*}]}
    - {name: host, headers: [{host: 'Orders\\..*'}]}
    - {name: same, methods: [GET], pathRegex: /orders/.*}
---
kind: TCPRoute
metadata: {name: tcp}
spec: {matches: {ports: [8080, 9090]}}
---
kind: TCPRoute
metadata: {name: other}
spec: {matches: {ports: [1]}}
---
kind: TCPRoute
metadata: {name: any}
spec: {matches: {ports: []}}
---"""


def http(*names: str) -> str:
    return f"{{kind: HTTPRouteGroup, name: routes, matches: [{', '.join(names)}]}}"


def tcp(name: str) -> str:
    return f"{{kind: TCPRoute, name: {name}}}"


def team(name: str) -> dict[str, Any]:
    """The call with this header."""
    return {**CALL, "attributes": {"request.headers.x-team": name}}


READ, ALL = target(f"[{http('read')}]"), target(f"[{http('all')}]")


@pytest.mark.parametrize(
    ("given", "call", "expected"),
    [
        # Nobody is let in whom no target names.
        ("", CALL, ("deny", None)),
        ("", TCP, ("deny", None)),
        (READ, CALL, ("allow", "shop/t routes/read")),
        (READ, OTHER, ("deny", None)),
        (READ, PLAINTEXT, ("deny", None)),
        (READ, {**CALL, "method": "POST"}, ("deny", None)),
        (READ, {**CALL, "method": None}, ("unknown", None)),
        (target(f"[{http('read')}]", account="other"), CALL, ("deny", None)),
        # A path is matched whole, without its query.
        (target(f"[{http('head')}]"), CALL, ("deny", None)),
        (target(f"[{http('head')}]"), {**CALL, "path": "/orders?x=1"}, ("allow", "shop/t routes/head")),
        # Nothing given = everything, of a match; none named = nothing, of a group.
        (ALL, {**CALL, "method": "PATCH", "path": "/x"}, ("allow", "shop/t routes/all")),
        (target("[{kind: HTTPRouteGroup, name: routes}]"), CALL, ("deny", None)),
        (target("[{kind: HTTPRouteGroup, name: routes}]"), TCP, ("allow", "shop/t")),
        (target(f"[{http('missing')}]"), CALL, ("deny", None)),
        (target("[{kind: HTTPRouteGroup, name: missing, matches: [read]}]"), CALL, ("deny", None)),
        # Headers.
        (target(f"[{http('red')}]"), CALL, ("unknown", None)),
        (target(f"[{http('red')}]"), team(""), ("deny", None)),
        (
            target(f"[{http('red')}]"),
            team("red"),
            ("allow", "shop/t routes/red"),
        ),
        (target(f"[{http('red')}]"), team("redder"), ("deny", None)),
        (target(f"[{http('team')}]"), team("red"), ("allow", "shop/t routes/team")),
        (target(f"[{http('team')}]"), team(""), ("deny", None)),
        (target(f"[{http('host')}]"), CALL, ("deny", None)),
        (target(f"[{http('host')}]"), {**CALL, "authority": "Orders.shop"}, ("allow", "shop/t routes/host")),
        # Ports: any of all TCPRoutes; independent of the routes of requests.
        (target(f"[{tcp('tcp')}]"), TCP, ("allow", "shop/t tcp")),
        (target(f"[{tcp('other')}]"), TCP, ("deny", None)),
        (target(f"[{tcp('other')}, {tcp('tcp')}]"), TCP, ("allow", "shop/t tcp")),
        (target(f"[{tcp('any')}]"), TCP, ("allow", "shop/t")),
        (target(f"[{tcp('any')}, {tcp('other')}]"), TCP, ("deny", None)),
        (target(f"[{tcp('tcp')}]"), {**TCP, "destination_port": None}, ("unknown", None)),
        (target(f"[{tcp('tcp')}]"), CALL, ("deny", None)),
        (target(f"[{tcp('tcp')}, {http('read')}]"), CALL, ("allow", "shop/t routes/read")),
        (target(f"[{tcp('other')}, {http('read')}]"), CALL, ("deny", None)),
        (
            target(f"[{tcp('tcp')}]", name="a") + target(f"[{tcp('other')}, {http('read')}]"),
            CALL,
            ("allow", "shop/t routes/read"),
        ),
        # A TCPRoute that is not there takes the target's connections away, but not its routes.
        (target(f"[{tcp('missing')}, {http('read')}]"), CALL, ("deny", None)),
        (
            target(f"[{tcp('missing')}, {http('read')}]") + target(f"[{tcp('tcp')}]", name="u"),
            CALL,
            ("allow", "shop/t routes/read"),
        ),
        # A kind that OSM does not know takes away the whole target; so do no rules.
        (target(f"[{http('read')}, {{kind: UDPRoute, name: x}}]"), CALL, ("deny", None)),
        (target("[]"), TCP, ("deny", None)),
        # Equal routes of several targets are one, whatever their names.
        (READ + target(f"[{http('same')}]", "[batch]", "u"), OTHER, ("allow", "shop/u routes/same")),
        (READ + target(f"[{http('same')}]", "[batch]", "u"), CALL, ("allow", "shop/t routes/read")),
        # Different routes that match, of which one refuses: which one is first is not known.
        (READ + target(f"[{http('all')}]", "[batch]", "u"), OTHER, ("unknown", None)),
        (READ + target(f"[{http('all')}]", "[batch]", "u"), {**OTHER, "path": "/x"}, ("allow", "shop/u routes/all")),
        (READ + target(f"[{http('all')}]", "[batch,web]", "u"), CALL, ("allow", "shop/t routes/read")),
        # No sources: whoever, until another target with the route names some.
        (target(f"[{http('read')}]", "[]"), OTHER, ("allow", "shop/t routes/read")),
        (target(f"[{http('read')}]", "[]", "u") + READ, OTHER, ("deny", None)),
        (target(f"[{tcp('tcp')}]", "[]", "u") + READ, {**OTHER, "transport": "tcp"}, ("allow", "shop/u tcp")),
    ],
)
def test_a_rule(engine: Engine, given: str, call: dict[str, Any], expected: tuple[str, str | None]) -> None:
    assert judged(engine, documents(given + ROUTES), call) == expected


@pytest.mark.parametrize(
    ("call", "settings", "verdict"),
    [
        ({}, STRICT, "allow"),
        ({"source_principal": "web.front.other.local"}, STRICT, "deny"),
        ({"source_principal": "web.front.other.local"}, Settings(False, "other.local"), "allow"),
        ({"source_principal": "web.shop.cluster.local"}, STRICT, "deny"),
        ({"source_principal": "spiffe://cluster.local/ns/front/sa/web"}, STRICT, "deny"),
        # OSM's certificates bear no URI: a line that shows none says nothing about the caller.
        ({"source_principal": None}, STRICT, "unknown"),
        ({"source_principal": ""}, STRICT, "unknown"),
        ({"source_principal": "", "tls": "tls"}, STRICT, "unknown"),
        # Then the inventory knows as which account the caller's pods run, if it knows the caller.
        ({"source_principal": None, "source_namespace": "front", "source_workload": "web"}, STRICT, "allow"),
        ({"source_principal": None, "source_namespace": "front", "source_workload": "batch"}, STRICT, "deny"),
        ({"source_principal": None, "source_namespace": "front", "source_workload": "mixed"}, STRICT, "unknown"),
        ({"source_principal": None, "source_namespace": "front", "source_workload": "new"}, STRICT, "unknown"),
        ({"source_principal": None, "source_namespace": "front", "source_workload": "never-seen"}, STRICT, "unknown"),
        ({"source_principal": None, "source_namespace": "front"}, STRICT, "unknown"),
        # The certificate counts before the inventory.
        ({**OTHER, "source_namespace": "front", "source_workload": "web"}, STRICT, "deny"),
        ({**PLAINTEXT, "source_namespace": "front", "source_workload": "web"}, STRICT, "deny"),
    ],
)
def test_a_caller(engine: Engine, call: dict[str, Any], settings: Settings, verdict: str) -> None:
    assert judged(engine, documents(READ + ROUTES), {**CALL, **call}, settings)[0] == verdict


@pytest.mark.parametrize(
    ("accounts", "verdicts"),
    [
        (("orders",), ("allow", "deny")),
        (("other",), ("deny", "deny")),
        # Not known, or some of the pods only: whoever no target at all names is denied all the same.
        ((), ("unknown", "deny")),
        (("orders", "other"), ("unknown", "deny")),
    ],
)
def test_the_account_of_the_destination(engine: Engine, accounts: tuple[str, ...], verdicts: tuple[str, str]) -> None:
    at = Workload("shop", "orders", accounts=accounts)
    given = documents(READ + ROUTES)
    assert tuple(judged(engine, given, call, STRICT, at)[0] for call in (CALL, OTHER)) == verdicts
    assert judged(engine, given, CALL, STRICT, Workload("bank", "orders", accounts=accounts))[0] == "deny"


def test_permissive_mode(engine: Engine) -> None:
    def config(mode: str) -> list[Document]:
        spec = f"{{traffic: {{enablePermissiveTrafficPolicyMode: {mode}}}}}"
        return documents(f"kind: MeshConfig\nmetadata: {{name: osm-mesh-config}}\nspec: {spec}\n---{READ}{ROUTES}")

    for given, settings, verdicts in (
        (documents(READ + ROUTES), PERMISSIVE, ("allow", "allow")),
        (config("true"), STRICT, ("allow", "allow")),
        (config("false"), PERMISSIVE, ("allow", "deny")),
        (config("null"), PERMISSIVE, ("allow", "deny")),
        # Not told: whoever a target names is let in in any case.
        (documents(READ + ROUTES), Settings(), ("allow", "unknown")),
    ):
        assert (judged(engine, given, CALL, settings)[0], judged(engine, given, OTHER, settings)[0]) == verdicts


def test_whatever_names_hold_they_are_texts(engine: Engine) -> None:
    names = ("it's", "a\\\\b", "{p0:String}", "%s", "a|b", ".*", "ä")
    named = ", ".join(f'{{kind: ServiceAccount, name: "{name}", namespace: front}}' for name in names)
    text = READ.replace("sources: [", f"sources: [{named}, ") + ROUTES
    for name, verdict in (
        ("it's", "allow"),
        ("a\\b", "allow"),
        ("{p0:String}", "allow"),
        ("a", "deny"),
        ("ä", "allow"),
    ):
        caller = f"{name}.front.cluster.local"
        assert judged(engine, documents(text), {**CALL, "source_principal": caller})[0] == verdict


def test_a_thousand_targets() -> None:
    text = "\n".join(target(f"[{http('read')}]", f"[s{number}]", f"t{number}") for number in range(1_000))
    assert len(program(documents(text + ROUTES), ORDERS, CLUSTER, STRICT, "http").steps) == 1_001
